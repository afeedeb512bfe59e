"""Which exported files lie beside a trained model, and of which weights they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.documents import read_json
from fbnetv5.base.files import reported, write_text
from fbnetv5.base.weights import WEIGHTS, digest_of

EXPORTS = "export"  # where `fbnetv5 export` writes below the folder of a training
EXPORTED = "exported.json"  # what it has written there and of which weights, once all that was asked for is there
EXPORTING = "exporting.json"  # the same until then


def files_of(folder: Path, weights: Path) -> list[str] | None:
    """Return the names of the files in a folder of exports that are of ``weights``; None where nothing says so."""
    said = read_json(folder / EXPORTED) or read_json(folder / EXPORTING)
    if not isinstance(said.get("files"), list) or not weights.is_file():
        return None
    return list(map(str, said["files"])) if said.get("weights") == digest_of(weights) else []


def sidecars_in(folder: Path) -> list[Path]:
    """Return the sidecars of the exported files in a folder; beside a trained model, but for those of other weights.

    That of ``model_fp32.onnx`` is ``model_fp32.onnx.json``.
    """
    found, place = sorted(folder.glob("*.*.json")), folder.absolute()
    known = files_of(place, place.parent / WEIGHTS) if place.name == EXPORTS else None
    return found if known is None else [sidecar for sidecar in found if sidecar.stem in known]


def keep_files(folder: Path, weights: Path | None, names: Sequence[str], *, finished: bool) -> None:
    """Write which files there are of ``weights``, so that an export that ends early leaves none of others in the list.

    Args:
        folder: of the exports.
        weights: of the model; None where it has no folder.
        names: of the files; those that are not there are left out.
        finished: whether all that was asked for is there.
    """
    there = [name for name in dict.fromkeys(names) if (folder / name).is_file()]
    made_of = "" if weights is None else digest_of(weights)
    now, before = (EXPORTED, EXPORTING) if finished else (EXPORTING, EXPORTED)
    write_text(folder / now, json.dumps({"weights": made_of, "files": there}, indent=1) + "\n")
    with reported(folder / before):
        (folder / before).unlink(missing_ok=True)
