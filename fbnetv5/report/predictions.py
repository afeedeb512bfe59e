"""Writes predictions as files that other programs read.

=========  =====================================================================================================
kind       files
=========  =====================================================================================================
SCALAR     ``predictions.csv``: file_name, label, score, and the next likeliest classes as label_2, score_2, ...
BOXES      ``predictions.json``: a COCO file (images, categories, annotations, each of which has a ``score``);
           ``results.json``: its detections as COCO's list of results
MASK       ``masks/<name>.png``: class ids, with a palette; ``predictions.csv``: file_name, mask
KEYPOINTS  ``predictions.json``: a COCO file, with scores in the place of visibilities; ``results.json``: COCO's list
           of results, of the images that the people were cut from
=========  =====================================================================================================

Images are sorted by name, which is relative to the root of the data.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import reported, write_text
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.metrics.coco_truth import read_coco_truth
from fbnetv5.metrics.gather import gather_list
from fbnetv5.metrics.keypoint_truth import read_keypoint_truth
from fbnetv5.report.coco_results import coco_content, detections_of, results_list, short
from fbnetv5.report.colours import class_colours, palette
from fbnetv5.report.keypoint_results import keypoint_content, keypoint_results, points_of

TOP = 5  # classes of an image
MAX_NAME = 200  # characters of a file's or folder's name
Row = tuple[str, Any, tuple[int, int]]  # name, what is kept of the prediction, (height, width)


class PredictionWriter:
    """Collects the predictions of all ranks; masks go to disk at once, everything is in its place after ``close``.

    All ranks make one, and close it, at the same points; each adds its share of the images. What stood in the folder
    under the same names is replaced as a whole. ``predictions.json`` reads as a COCO file whose images are relative to
    the root of the data.

    Args:
        folder: for the files; all ranks see it.
        target: what is predicted: SCALAR, BOXES, MASK or KEYPOINTS.
        classes: its class names.
        world: the processes.
        coco_json: for BOXES, the split's own file: image and category ids are then those of that file, as COCO's
            server wants them. Otherwise images are numbered from 1 by name, and categories are class ids + 1. For
            KEYPOINTS it says which images people were cut from.

    Raises:
        InputError: targets of this kind cannot be written, ``coco_json`` is malformed, or the folder is not writable.
    """

    def __init__(
        self,
        folder: str | Path,
        target: Target,
        classes: Sequence[str],
        world: World,
        *,
        coco_json: Path | None = None,
    ) -> None:
        if target.kind is TargetKind.DENSE:
            raise InputError(f"target '{target.name}': predictions of kind '{target.kind.value}' cannot be written")
        self.folder = Path(folder)
        self.kind = target.kind
        self.classes = tuple(classes)
        self.world = world
        self._file = read_coco_truth(coco_json, classes) if coco_json and self.kind is TargetKind.BOXES else None
        is_pose = self.kind is TargetKind.KEYPOINTS
        self._people = read_keypoint_truth(coco_json, classes) if coco_json and is_pose else None
        self._rows: list[Row] = []
        self._partial = self.folder / ".masks.partial"
        if self.kind is TargetKind.MASK:
            self._clear_partial()

    def add(self, names: Sequence[str], predictions: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> None:
        """Add images, each of them once, on one rank.

        Args:
            names: relative to the root of the data.
            predictions: one an image; ``metrics.evaluator`` describes them.
            sizes: (height, width) of the stored images.

        Raises:
            InputError: a mask cannot be written.
        """
        for name, prediction, size in zip(names, predictions, sizes, strict=True):
            self._rows.append((name, self._keep(prediction), (int(size[0]), int(size[1]))))

    def close(self) -> None:
        """Merge what the ranks hold; the first writes it.

        Raises:
            InputError: a file cannot be written.
            ValueError: an image was added twice.
        """
        rows = sorted(gather_list(self.world, self._rows), key=lambda row: row[0])
        twice = [name for name, count in Counter(row[0] for row in rows).items() if count > 1]
        if twice:
            raise ValueError(f"predictions of image '{twice[0]}' were added more than once")
        if self.world.is_main:
            if self.kind is TargetKind.SCALAR:
                self._write_labels(rows)
            elif self.kind is TargetKind.BOXES:
                self._write_boxes(rows)
            elif self.kind is TargetKind.KEYPOINTS:
                self._write_keypoints(rows)
            else:
                self._place_masks(rows)
        self.world.barrier()

    def _keep(self, prediction: Any) -> Any:
        if self.kind is TargetKind.SCALAR:
            best = prediction.cpu().topk(min(TOP, len(self.classes)))
            return list(zip(best.indices.tolist(), map(short, best.values.float().numpy()), strict=True))
        if self.kind is TargetKind.BOXES:
            return detections_of(prediction)
        if self.kind is TargetKind.KEYPOINTS:
            return points_of(prediction)
        file = self._partial / f"{self.world.rank}_{len(self._rows)}.png"
        image = Image.fromarray(prediction.cpu().numpy().astype(np.uint8))
        image.putpalette(palette(class_colours(len(self.classes))))
        with reported(file):
            image.save(file)
        return file.name

    def _write_labels(self, rows: Sequence[Row]) -> None:
        places = ["", *(f"_{place}" for place in range(2, min(TOP, len(self.classes)) + 1))]
        header = ["file_name", *(f"{column}{place}" for place in places for column in ("label", "score"))]
        lines = [[name, *(value for k, score in best for value in (self.classes[k], score))] for name, best, _ in rows]
        _write_csv(self.folder / "predictions.csv", header, lines)

    def _write_boxes(self, rows: Sequence[Row]) -> None:
        content = coco_content(rows, self.classes, self._file)
        write_text(self.folder / "predictions.json", json.dumps(content, allow_nan=False))
        write_text(self.folder / "results.json", json.dumps(results_list(content), allow_nan=False))

    def _write_keypoints(self, rows: Sequence[Row]) -> None:
        content = keypoint_content(rows, self.classes)
        write_text(self.folder / "predictions.json", json.dumps(content, allow_nan=False))
        results = keypoint_results(rows, self._people)
        write_text(self.folder / "results.json", json.dumps(results, allow_nan=False))

    def _clear_partial(self) -> None:
        if self.world.is_main:
            with reported(self._partial):
                shutil.rmtree(self._partial, ignore_errors=True)
                self._partial.mkdir(parents=True)
        self.world.barrier()

    def _place_masks(self, rows: Sequence[Row]) -> None:
        places = mask_paths([name for name, _, _ in rows])
        final = self.folder / "masks"
        with reported(final):
            for name, file, _ in rows:
                place = self._partial / "named" / places[name]
                place.parent.mkdir(parents=True, exist_ok=True)
                (self._partial / file).replace(place)
            (self._partial / "named").mkdir(exist_ok=True)
            shutil.rmtree(final, ignore_errors=True)
            (self._partial / "named").replace(final)
            shutil.rmtree(self._partial)
        lines = [[name, f"masks/{places[name]}"] for name, _, _ in rows]
        _write_csv(self.folder / "predictions.csv", ["file_name", "mask"], lines)


def mask_paths(names: Sequence[str]) -> dict[str, str]:
    """Return a file for the mask of each image: distinct, relative, and below whatever folder they are put in.

    It is the image's name with the suffix ``.png``, which is where ``find_masks`` looks for it. Images whose names
    differ in the suffix alone keep it (``a.jpg.png``); parts of a name that lead out of a folder are replaced.
    """
    safe = {name: PurePosixPath(*_safe_parts(name)) for name in sorted(names)}
    plain = {name: str(path.with_suffix(".png")) for name, path in safe.items()}
    num_owners = Counter(path.casefold() for path in plain.values())  # some disks do not tell a from A
    taken = {str(folder).casefold() for path in safe.values() for folder in path.parents}
    paths = {name: path for name, path in plain.items() if num_owners[path.casefold()] == 1}
    paths = {name: path for name, path in paths.items() if path.casefold() not in taken}
    taken |= {path.casefold() for path in paths.values()}
    for name in sorted(safe.keys() - paths.keys()):
        path, number = f"{safe[name]}.png", 2
        while path.casefold() in taken:
            path, number = f"{safe[name]}_{number}.png", number + 1
        taken.add(path.casefold())
        paths[name] = path
    return paths


def _safe_parts(name: str) -> list[str]:
    parts = [re.sub(r"[\x00-\x1f\x7f\\]", "_", part) for part in name.split("/")]
    parts = [
        "__" if part == ".." else part.encode(errors="replace")[:MAX_NAME].decode(errors="ignore") for part in parts
    ]
    return [part for part in parts if part not in ("", ".")] or ["_"]


def _write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    write_text(path, text.getvalue().encode(errors="backslashreplace").decode())
