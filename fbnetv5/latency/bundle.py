"""A bundle: a folder of exported files with a manifest, of which any device can be asked for milliseconds.

``manifest.json`` lists for each part its file, the shape of its input (float32) and what made it. Milliseconds come
back in a table of columns ``part,ms``; several rows of a part are several rounds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from fbnetv5.base.documents import parse_json, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import append_line, atomic_path, keep_lines, reported, write_text
from fbnetv5.base.types import Size
from fbnetv5.export.formats import SUFFIXES, Converter
from fbnetv5.latency.table import Conditions

MANIFEST = "manifest.json"
TIMES = "times.csv"
COLUMNS = "part,ms"
FORMAT = 1
NUM_CALIBRATION = 2  # random features: milliseconds do not depend on what they show


class Exportable(NamedTuple):
    """What becomes a file: ``build`` returns a model of one input [1, channels, *size].

    ``describes`` says in plain data what it is, so that a file that is there already is known to be of the same.
    """

    name: str
    describes: str
    channels: int
    size: Size
    build: Callable[[], nn.Module]


@dataclass(frozen=True)
class File:
    """An exported part: its file, the shape of its input, and a digest of what it was made from."""

    path: Path
    shape: tuple[int, ...]
    digest: str = ""


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle by name, and the conditions that they are for."""

    folder: Path
    conditions: Conditions
    files: Mapping[str, File]


def write_bundle(
    parts: Iterable[Exportable], conditions: Conditions, folder: Path, say: Callable[[str], object]
) -> Bundle:
    """Export each part to ``folder``; what is there already and was made from the same stays.

    The manifest is written with each file, so that what was interrupted goes on.

    Args:
        parts: to export.
        conditions: with the runtime and the precision.
        folder: of the bundle.
        say: is told of each file.

    Raises:
        InputError: a package is not installed, or a file cannot be written.
    """
    found = _kept(folder, conditions)
    runtime = conditions.runtime_name
    for part in parts:
        digest = digest_of(part, conditions)
        path = folder / f"{part.name}{SUFFIXES[runtime]}"
        if part.name in found and found[part.name].digest == digest and path.is_file():
            continue
        _forget(folder / TIMES, part.name)
        say(f"exporting {part.name} for {runtime} in {conditions.precision}")
        generator = torch.Generator().manual_seed(0)
        shape = (1, part.channels, *part.size)
        images = [torch.randn(shape, generator=generator) for _ in range(NUM_CALIBRATION)]
        calibration = images if conditions.precision == "int8" else None
        lowered = Converter(part.build().eval(), part.size, part.channels).convert(runtime, calibration)
        with atomic_path(path) as temporary:
            temporary.write_bytes(lowered.data)
        found[part.name] = File(path, shape, digest)
        _write_manifest(folder, conditions, found)
    return Bundle(folder, conditions, found)


def digest_of(part: Exportable, conditions: Conditions) -> str:
    """Return what tells a file from one that was made of something else, or by another version."""
    return hashlib.sha256(f"{conditions.runtime} {conditions.torch} {part.describes}".encode()).hexdigest()[:16]


def read_bundle(folder: Path) -> Bundle:
    """Read the manifest of a bundle.

    Raises:
        InputError: it is missing, damaged or of another format.
    """
    file = folder / MANIFEST
    try:
        return _parse(folder, parse_json(read_text(file)))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {' '.join(str(error).split())}") from error


def read_times(file: Path, names: Iterable[str]) -> dict[str, list[float]]:
    """Return the milliseconds of each named part, row by row.

    Raises:
        InputError: the table is damaged, or names a part that there is not.
    """
    found: dict[str, list[float]] = {name: [] for name in names}
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(file))))
        for row in rows:
            name, ms = row["part"], float(row["ms"])
            if name not in found:
                raise InputError(f"{file}: '{name}' is no part of the bundle")
            if not 0 <= ms < math.inf:
                raise ValueError(f"{name} takes {ms} ms")
            found[name].append(ms)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}; its columns are {COLUMNS}") from error
    return found


def add_time(file: Path, name: str, ms: float) -> None:
    """Add a row to a table of times; the first one makes the file."""
    with reported(file):
        if not file.exists():
            write_text(file, COLUMNS + "\n")
        append_line(file, f"{name},{ms:.6g}")


def medians(times: Mapping[str, list[float]], file: Path) -> dict[str, float]:
    """Return the median of each part's milliseconds.

    Args:
        times: by part.
        file: that they are from, for messages.

    Raises:
        InputError: a part has none.
    """
    missing = [name for name, rows in times.items() if not rows]
    if missing:
        raise InputError(f"{file} has no times of {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}")
    return {name: statistics.median(rows) for name, rows in times.items()}


def _kept(folder: Path, conditions: Conditions) -> dict[str, File]:
    if not (folder / MANIFEST).exists():
        return {}
    bundle = read_bundle(folder)
    if bundle.conditions != conditions:
        there, here = asdict(bundle.conditions), asdict(conditions)
        found = next(key for key in here if there[key] != here[key])
        raise InputError(
            f"{folder} has a bundle of {found}={there[found]}, not of {here[found]}; choose another folder"
        )
    return dict(bundle.files)


def _forget(table: Path, name: str) -> None:
    """Drop the times of a file that is written anew."""
    keep_lines(table, lambda line: not line.startswith(f"{name},"))


def _write_manifest(folder: Path, conditions: Conditions, files: Mapping[str, File]) -> None:
    parts = {
        name: {"file": file.path.name, "input": list(file.shape), "made_from": file.digest}
        for name, file in files.items()
    }
    document = {"format": FORMAT, "conditions": asdict(conditions), "parts": parts}
    write_text(folder / MANIFEST, json.dumps(document, indent=2) + "\n")


def _parse(folder: Path, document: dict[str, Any]) -> Bundle:
    """Check a manifest. Raises ValueError, LookupError, TypeError or AttributeError."""
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']} is not {FORMAT}")
    return Bundle(folder, Conditions.of(document["conditions"]), dict(_files(folder, document["parts"])))


def _files(folder: Path, parts: Mapping[str, Any]) -> Iterator[tuple[str, File]]:
    for name, part in parts.items():
        if Path(part["file"]).name != part["file"]:
            raise ValueError(f"the file of {name} lies elsewhere")
        yield name, File(folder / part["file"], tuple(map(int, part["input"])), str(part["made_from"]))
