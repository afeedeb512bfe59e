"""``fbnetv5 time``: the milliseconds of exported files, on a device; their sidecars keep them.

The files of a runtime and a precision are timed in the same rounds, by the protocol of :mod:`fbnetv5.latency.rounds`,
so that the networks of a family compare. What was timed before an interruption lies in the cache, and is used again.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import cache_folder
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.export.sidecar import AnySidecar, add_milliseconds, read_sidecar
from fbnetv5.latency.bundle import File
from fbnetv5.latency.exported import COMMAND_SHARE, PACKAGES, device_of, opened_timer, package_version
from fbnetv5.latency.rounds import measure_files
from fbnetv5.latency.timers import Timer
from fbnetv5.model.card import write_card
from fbnetv5.model.exports import EXPORTS, sidecars_in
from fbnetv5.model.folder import load
from fbnetv5.runs.gather import MS

FOLDER = "file_times"  # below the program's cache
KEPT = 24 * 3600  # seconds that answers of an interrupted call count for
Group = tuple[str, str]  # runtime and precision
Say = Callable[[str], object]


@dataclass(frozen=True)
class Exported:
    """An exported file, with its sidecar."""

    path: Path
    sidecar: AnySidecar

    @property
    def digest(self) -> str:
        """What it is known by: files of the same bytes are timed once."""
        return self.sidecar.sha256[:16]

    @property
    def owner(self) -> Path:
        """The folder of the trained model; where the file lies in none, its own."""
        folder = self.path.parent
        above = folder.absolute().parent if folder.parent == folder else folder.parent
        return above if folder.absolute().name == EXPORTS and (above / MODEL).is_file() else folder


def time_files(
    places: Sequence[Path],
    options: LatencyConfig,
    runtime: str | None = None,
    precision: str | None = None,
    say: Say = print,
) -> dict[Path, tuple[float, float]]:
    """Time exported files, and write the medians into their sidecars and the models' cards.

    Args:
        places: folders with exported files in or below them: of a training, a sweep, an export.
        options: ``repeats`` (of a command a tenth), ``threads``, ``command``, ``device``, ``pattern`` and ``timeout``.
        runtime, precision: of the files; all that there are, if not given.
        say: is told how far it is.

    Returns:
        of each file, median and deviation over rounds, in milliseconds.

    Raises:
        InputError: there are no such files, one is damaged, or one cannot be timed; what was timed is kept.
    """
    groups = _groups(places, runtime, precision, say)
    found: dict[Path, tuple[float, float]] = {}
    tables = []
    try:
        for group, files in groups.items():
            condition, table = _condition(group, options), _table(group, files, options)
            times = _measured(group, files, options, table, say)
            tables.append(table)
            for file in files:
                rounds = times[file.digest]
                found[file.path] = statistics.median(rounds), statistics.stdev(rounds) if len(rounds) > 1 else 0.0
                add_milliseconds(file.path, file.sidecar.sha256, condition, round(found[file.path][0], 4))
            say(_text(group, files, condition, found))
    finally:
        for owner in {file.owner: None for files in groups.values() for file in files if file.path in found}:
            _refresh_card(owner, say)
    for table in tables:  # of which a call that was interrupted in a later group makes use
        _forget(table)
    return found


def column_of(group: Group, options: LatencyConfig) -> str:
    """Return the column of a collected table that the times of a runtime and a precision stand in."""
    return f"{MS}{' '.join(group)}, {_condition(group, options)}"


def _groups(
    places: Sequence[Path], runtime: str | None, precision: str | None, say: Say
) -> dict[Group, list[Exported]]:
    """Return the files that can be timed, by runtime and precision."""
    sidecars, models = [], set()
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: there is no such folder")
        folders = {file.parent: None for file in sorted(place.rglob("*.*.json"))}
        sidecars += [file for folder in folders for file in sidecars_in(folder) if "sha256" in read_json(file)]
        models |= {file.parent for file in place.rglob(MODEL) if (file.parent / WEIGHTS).is_file()}
    groups: dict[Group, list[Exported]] = {}
    for sidecar in dict.fromkeys(sidecars):
        exported = Exported(sidecar.with_suffix(""), read_sidecar(sidecar.with_suffix("")))
        group = (exported.sidecar.runtime, exported.sidecar.precision)
        if runtime in (None, group[0]) and precision in (None, group[1]):
            groups.setdefault(group, []).append(exported)
    for group in [one for one in groups if one[0] not in PACKAGES]:
        say(f"files for {group[0]} are not timed: {', '.join(str(file.path) for file in groups.pop(group))}")
    if not groups:
        asked = " ".join(filter(None, (runtime, precision)))
        raise InputError(
            f"{', '.join(map(str, places))}: no exported file to time{f' for {asked}' if asked else ''}; write it: "
            f"fbnetv5 export RUN 'export.formats=[{runtime or 'onnx'}]' 'export.precisions=[{precision or 'fp32'}]'"
        )
    for group, files in groups.items():
        without = sorted(models - {file.owner for file in files})
        if without:
            say(f"not exported for {' '.join(group)}: {', '.join(map(str, without))}")
    return groups


def _measured(
    group: Group, files: Sequence[Exported], options: LatencyConfig, table: Path, say: Say
) -> Mapping[str, list[float]]:
    """Return the milliseconds of each file's rounds, by digest; the table of an interrupted call is gone on with."""
    by_digest = {file.digest: File(file.path, tuple(file.sidecar.input["shape"])) for file in files}
    rounds = max(1, options.repeats // COMMAND_SHARE) if options.command else options.repeats
    if table.exists() and time.time() - table.stat().st_mtime > KEPT:
        _forget(table)
    condition, steady = _condition(group, options), options.command is not None
    with opened_timer(options, group[0], _threads(options)) as timer:
        more = ", going on with the answers there are" if table.exists() else ""
        say(f"{len(by_digest)} file(s) for {' '.join(group)}, {rounds} rounds, on {condition}{more}")
        named = _saying_which(timer)
        return measure_files(by_digest, named, rounds, table, say=say, steady=steady, timed_by=condition)


def _saying_which(timer: Timer) -> Timer:
    """Return a timer whose errors say where the file lies: files of several models have the same name."""

    def ask(file: File) -> float:
        try:
            return timer(file)
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from error

    return ask


def _table(group: Group, files: Sequence[Exported], options: LatencyConfig) -> Path:
    """Return the file of the answers so far, which is that of these files, this device and these questions alone."""
    asked = [_condition(group, options), str(options.command), str(options.pattern)]
    key = hashlib.sha256("\n".join([*asked, *sorted(file.digest for file in files)]).encode()).hexdigest()[:16]
    return cache_folder(FOLDER) / f"{group[0]}_{group[1]}_{key}.csv"


def _forget(table: Path) -> None:
    for file in (table, table.with_suffix(".txt")):
        file.unlink(missing_ok=True)


def _threads(options: LatencyConfig) -> int:
    return options.threads or torch.get_num_threads()


def _condition(group: Group, options: LatencyConfig) -> str:
    """Return what milliseconds depend on beside the file: the device, its runtime and threads where these are known."""
    if options.command is not None and options.threads is None:
        return device_of(options)
    package = PACKAGES[group[0]]
    version = [] if options.command else [f"{package} {package_version(package)}"]
    threads = _threads(options)
    return ", ".join([device_of(options), *version, f"{threads} thread{'s' * (threads > 1)}"])


def _text(group: Group, files: Sequence[Exported], condition: str, found: Mapping[Path, tuple[float, float]]) -> str:
    width = max(len(str(file.owner)) for file in files)
    lines = [f"{' '.join(group)}, {condition}: median of rounds ± deviation, in milliseconds"]
    for file in files:
        ms, deviation = found[file.path]
        lines.append(f"{file.owner!s:<{width}}  {ms:8.2f} ± {deviation:.2f}  {file.sidecar.macs / 1e6:8.1f} M MACs")
    return "\n".join(lines)


def _refresh_card(owner: Path, say: Say) -> None:
    """Write the card of a trained model again, which shows the milliseconds."""
    if not (owner / MODEL).is_file():
        return
    try:
        write_card(load(owner), owner)
    except InputError as error:
        say(f"{owner / EXPORTS} has the milliseconds, the model's card does not: {error}")
