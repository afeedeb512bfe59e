"""The latency table of exported parts: what a search with ``search.latency.runtime`` asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fbnetv5.archs.families import Family
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.export.formats import check_support
from fbnetv5.latency.bundle import TIMES, Bundle, medians, write_bundle
from fbnetv5.latency.measure import device_name, layers_digest
from fbnetv5.latency.part_models import HEAD, HeadEntry, part_models, place_of
from fbnetv5.latency.rounds import measure_files
from fbnetv5.latency.table import NUM_PATHS, NUM_ROWS, TORCH, Conditions, LatencyTable
from fbnetv5.latency.timers import CommandTimer, LocalTimer, Timer

PACKAGES = {"executorch": "executorch", "onnx": "onnxruntime", "litert": "ai-edge-litert"}
COMMAND_SHARE = 10  # a command is asked so many times less often: each answer is of many calls


def file_conditions(family: Family, size: Size, options: LatencyConfig) -> Conditions:
    """Return the conditions under which ``options`` has exported parts timed.

    Raises:
        InputError: options do not fit together, or a package is not installed.
    """
    check_options(options)
    check_support(options.runtime, options.precision)
    repeats = options.repeats
    return Conditions(
        device=device_of(options),
        torch=torch.__version__,
        threads=options.threads or torch.get_num_threads(),
        precision=options.precision,
        family=family.name,
        layers=layers_digest(family),
        size=size,
        batch_size=1,
        repeats=max(1, repeats // COMMAND_SHARE) if options.command else repeats,
        runtime=f"{options.runtime} {package_version(PACKAGES[options.runtime])}",
    )


def device_of(options: LatencyConfig) -> str:
    """Return the name of what times files: this machine's CPU, or what a command asks, or the command itself."""
    if options.command is None:
        return device_name(torch.device("cpu"))
    if options.device is not None:
        return options.device
    return options.command if options.pattern is None else f"{options.command}, pattern {options.pattern}"


def timed_by(conditions: Conditions, clock: str = "wall") -> str:
    """Return what tells times of one device, its threads and its clock from others."""
    return f"{conditions.device}, {conditions.threads} thread(s), {clock} time"


def check_options(options: LatencyConfig) -> None:
    """Raise InputError unless the options of a measurement fit together."""
    if options.size is not None and (len(options.size) != 2 or min(options.size) < 32):
        raise InputError(f"search.latency.size={options.size} should be [height, width] in pixels, each at least 32")
    if options.runtime == TORCH:
        for key, usual in (("precision", "fp32"), ("threads", None), ("command", None), ("device", None)):
            if getattr(options, key) != usual:
                raise InputError(
                    f"search.latency.{key}={getattr(options, key)} is for exported files: set search.latency.runtime "
                    "to executorch, onnx or litert"
                )
    elif options.command is None and (
        options.pattern is not None or options.device is not None or options.timeout != LatencyConfig().timeout
    ):
        raise InputError(
            "search.latency.device, pattern and timeout are those of a command: set search.latency.command"
        )
    elif options.command is not None and options.threads is None:
        raise InputError("search.latency.command: give search.latency.threads, which it runs files with")
    elif options.batch_size != 1:
        raise InputError(f"search.latency.batch_size={options.batch_size}: exported files take one image")


def measure_exported(
    family: Family,
    conditions: Conditions,
    options: LatencyConfig,
    folder: Path,
    heads: Mapping[str, HeadEntry] | None = None,
    say: Callable[[str], object] = print,
) -> LatencyTable:
    """Export the parts of a family's networks to ``folder``, time them, and return the table of their medians.

    Args:
        family: of the networks.
        conditions: see :func:`file_conditions`.
        options: say what times a file.
        folder: of the bundle, and of the times; what is there already is used.
        heads: by name, to be timed as well.
        say: is told how far it is.

    Raises:
        InputError: a package is missing, or something could not be timed; what there is, is kept.
    """
    table = folder / TIMES
    steady = options.command is not None  # this machine has other work at times, which rounds share alike
    with opened_timer(
        options, conditions.runtime_name, conditions.threads
    ) as timer:  # refuses a wrong command before minutes of exporting
        bundle = write_bundle(part_models(family, conditions.size, heads or {}), conditions, folder, say)
        who = timed_by(conditions)
        times = measure_files(bundle.files, timer, conditions.repeats, table, say=say, steady=steady, timed_by=who)
    return table_of_bundle(bundle, medians(times, table))


@contextlib.contextmanager
def opened_timer(options: LatencyConfig, runtime: str, threads: int) -> Iterator[Timer]:
    """Yield what times files as ``options`` say: the command, or else ``runtime`` on this machine.

    Raises:
        InputError: the command cannot be read, or asks for threads that nobody has given: this machine's are not those
            of another.
    """
    if options.threads is None and "{threads}" in (options.command or ""):
        raise InputError("search.latency.command has {threads}: give search.latency.threads")
    if options.command is not None:
        yield CommandTimer(options.command, threads, options.timeout, options.pattern)
    else:
        with LocalTimer(runtime, threads) as timer:
            yield timer


def table_of_bundle(bundle: Bundle, ms: Mapping[str, float]) -> LatencyTable:
    """Return the table of the milliseconds of a bundle's parts; it may hold other files, such as whole networks.

    Raises:
        InputError: the bundle lacks a part of the networks.
    """
    rows = [[0.0] * NUM_PATHS for _ in range(NUM_ROWS)]
    heads = {}
    missing = NUM_PATHS * (NUM_PATHS + 1)  # partitions, blocks, and fusions but a path's own
    for name in bundle.files:
        place = place_of(name)
        if name.startswith(HEAD):
            heads[name.removeprefix(HEAD)] = ms[name]
        elif place is not None:
            rows[place[0]][place[1]] = ms[name]
            missing -= 1
    if missing:
        raise InputError(f"{bundle.folder} lacks {missing} parts of the networks; write the bundle again")
    return LatencyTable(bundle.conditions, tuple(rows[0]), tuple(rows[1]), tuple(map(tuple, rows[2:])), heads)


def package_version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "of an unknown version"
