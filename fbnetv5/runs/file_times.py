"""``fbnetv5 time``: the milliseconds of the files that runs were exported to, on a device; their sidecars keep them.

The files of a runtime and a precision are timed in the same rounds, by the protocol of :mod:`fbnetv5.latency.rounds`,
so that the networks of a family compare. What was timed before an interruption lies in the cache, and is used again.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import cache_folder
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.export.sidecar import AnySidecar, add_milliseconds, read_sidecar
from fbnetv5.latency.bundle import File
from fbnetv5.latency.exported import COMMAND_SHARE, PACKAGES, device_of, opened_timer, package_version
from fbnetv5.latency.rounds import measure_files
from fbnetv5.model.card import write_card
from fbnetv5.model.exports import EXPORTS, sidecars_of
from fbnetv5.model.folder import load
from fbnetv5.report.run_folder import MODEL
from fbnetv5.runs.gather import find_runs

FOLDER = "file_times"  # below the program's cache
Group = tuple[str, str]  # runtime and precision


@dataclass(frozen=True)
class Exported:
    """An exported file of a run, with its sidecar."""

    run: Path
    path: Path
    sidecar: AnySidecar

    @property
    def digest(self) -> str:
        """What it is known by: files of the same bytes are timed once."""
        return self.sidecar.sha256[:16]


def time_runs(
    places: Sequence[Path],
    options: LatencyConfig,
    runtime: str | None = None,
    precision: str | None = None,
    say: Callable[[str], object] = print,
) -> dict[Path, tuple[float, float]]:
    """Time the exported files of runs, and write the medians into their sidecars and the models' cards.

    Args:
        places: folders of trainings, or of sweeps.
        options: ``repeats`` (of a command a tenth), ``threads``, ``command``, ``device``, ``pattern`` and ``timeout``.
        runtime, precision: of the files; all that there are, if not given.
        say: is told how far it is.

    Returns:
        of each file, median and deviation over rounds, in milliseconds.

    Raises:
        InputError: there are no such files, one is damaged, or one cannot be timed; what was timed is kept.
    """
    groups = _groups(places, runtime, precision, say)
    threads = options.threads or torch.get_num_threads()
    found = {}
    for group, files in groups.items():
        times = _measured(group, files, options, threads, say)
        condition = _condition(group, options, threads)
        for file in files:
            rounds = times[file.digest]
            found[file.path] = statistics.median(rounds), statistics.stdev(rounds) if len(rounds) > 1 else 0.0
            add_milliseconds(file.path, condition, round(found[file.path][0], 4))
        say(_text(group, files, condition, found))
    for run in {file.run: None for files in groups.values() for file in files}:
        _refresh_card(run, say)
    return found


def _groups(
    places: Sequence[Path], runtime: str | None, precision: str | None, say: Callable[[str], object]
) -> dict[Group, list[Exported]]:
    """Return the files that can be timed, by runtime and precision, one for each run and group."""
    runs = [run for run in find_runs(places) if (run / MODEL).is_file()]
    groups: dict[Group, list[Exported]] = {}
    for run in runs:
        for path in (file.with_suffix("") for file in sidecars_of(run)):
            sidecar = read_sidecar(path)
            group = (sidecar.runtime, sidecar.precision)
            if sidecar.runtime in PACKAGES and runtime in (None, group[0]) and precision in (None, group[1]):
                groups.setdefault(group, []).append(Exported(run, path, sidecar))
    asked = " ".join(filter(None, (runtime, precision)))
    if not groups:
        raise InputError(
            f"no trained model below {', '.join(map(str, places))} was exported{f' for {asked}' if asked else ''}: "
            f"fbnetv5 export RUN 'export.formats=[{runtime or 'onnx'}]' 'export.precisions=[{precision or 'fp32'}]'"
        )
    for group, files in groups.items():
        without = [run for run in runs if run not in {file.run for file in files}]
        if without:
            say(f"not exported for {' '.join(group)}: {', '.join(map(str, without))}")
    return groups


def _measured(
    group: Group, files: Sequence[Exported], options: LatencyConfig, threads: int, say: Callable[[str], object]
) -> Mapping[str, list[float]]:
    """Return the milliseconds of each file's rounds, by digest; the table of an interrupted call is gone on with."""
    by_digest = {file.digest: File(file.path, tuple(file.sidecar.input["shape"])) for file in files}
    condition = _condition(group, options, threads)
    key = hashlib.sha256(" ".join([condition, *sorted(by_digest)]).encode()).hexdigest()[:16]
    table = cache_folder(FOLDER) / f"{group[0]}_{group[1]}_{key}.csv"
    rounds = max(1, options.repeats // COMMAND_SHARE) if options.command else options.repeats
    with opened_timer(options, group[0], threads) as timer:
        say(f"{len(by_digest)} file(s) for {' '.join(group)}, {rounds} rounds, on {condition}")
        steady = options.command is not None
        times = measure_files(by_digest, timer, rounds, table, say=say, steady=steady, timed_by=condition)
    for file in (table, table.with_suffix(".txt")):
        file.unlink(missing_ok=True)
    return times


def _condition(group: Group, options: LatencyConfig, threads: int) -> str:
    """Return what milliseconds depend on beside the file: the device, its runtime where that is known, and threads."""
    package = [] if options.command else [f"{PACKAGES[group[0]]} {package_version(PACKAGES[group[0]])}"]
    return ", ".join([device_of(options), *package, f"{threads} thread{'s' * (threads > 1)}"])


def _text(group: Group, files: Sequence[Exported], condition: str, found: Mapping[Path, tuple[float, float]]) -> str:
    width = max(len(str(file.run)) for file in files)
    lines = [f"{' '.join(group)}, {condition}: median of rounds ± deviation, in milliseconds"]
    for file in files:
        ms, deviation = found[file.path]
        lines.append(f"{file.run!s:<{width}}  {ms:8.2f} ± {deviation:.2f}  {file.sidecar.macs / 1e6:8.1f} M MACs")
    return "\n".join(lines)


def _refresh_card(run: Path, say: Callable[[str], object]) -> None:
    """Write the model's card again, which shows the files' milliseconds."""
    try:
        write_card(load(run), run)
    except InputError as error:
        say(f"{run / EXPORTS} has the milliseconds, the model's card does not: {error}")
