"""Writes the predictions of several tasks: a folder a task, and one file that has all of them by image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.distributed import World
from fbnetv5.base.files import write_text
from fbnetv5.base.types import Size, TargetKind
from fbnetv5.metrics.gather import gather_list
from fbnetv5.report.coco_results import detections_of, short
from fbnetv5.report.keypoint_results import points_of
from fbnetv5.report.predictions import PredictionWriter, mask_paths

FILE = "predictions.json"


class JointWriter:
    """Collects the predictions of all ranks; ``<folder>/<task>/`` holds what :class:`PredictionWriter` writes.

    ``predictions.json`` has a list of images, sorted by name: ``file_name``, ``height``, ``width``, and under
    ``tasks``, by task

    =========  ===================================================================================
    SCALAR     ``label``, ``score``
    BOXES      a list of ``label``, ``box`` (x, y, width, height in pixels) and ``score``, the best first
    MASK       ``mask``, the place of the PNG file
    KEYPOINTS  ``points``, of each x, y and score; 0, 0 is the centre of the first pixel, as in COCO's files
    =========  ===================================================================================

    Args:
        folder: for the files; all ranks see it.
        writers: by task, each for ``<folder>/<task>``.
        world: the processes.

    Raises:
        InputError: a file cannot be written.
    """

    def __init__(self, folder: Path, writers: Mapping[str, PredictionWriter], world: World) -> None:
        self.folder = folder
        self.writers = dict(writers)
        self.world = world
        self._rows: list[dict[str, Any]] = []

    def add(self, names: Sequence[str], predictions: Sequence[Mapping[str, Any]], sizes: Sequence[Size]) -> None:
        """Add images, each of them once, on one rank; a prediction a task for each. As :meth:`PredictionWriter.add`."""
        for task, writer in self.writers.items():
            writer.add(names, [prediction[task] for prediction in predictions], sizes)
        for name, prediction, (height, width) in zip(names, predictions, sizes, strict=True):
            tasks = {task: _plain(prediction[task], writer) for task, writer in self.writers.items()}
            self._rows.append({"file_name": name, "height": int(height), "width": int(width), "tasks": tasks})

    def close(self) -> None:
        """Write what the ranks hold."""
        for writer in self.writers.values():
            writer.close()
        rows = sorted(gather_list(self.world, self._rows), key=lambda row: str(row["file_name"]))
        if self.world.is_main:
            places = mask_paths([row["file_name"] for row in rows])
            for row in rows:
                for task, writer in self.writers.items():
                    if writer.kind is TargetKind.MASK:
                        row["tasks"][task] = {"mask": f"{task}/masks/{places[row['file_name']]}"}
            write_text(self.folder / FILE, json.dumps({"images": rows}, allow_nan=False, ensure_ascii=False) + "\n")
        self.world.barrier()


def _plain(prediction: Any, writer: PredictionWriter) -> Any:
    """Return a prediction of one image as JSON has it; of a mask nothing, as its place is known at the end."""
    if writer.kind is TargetKind.SCALAR:
        score, label = prediction.float().max(dim=0)
        return {"label": writer.classes[int(label)], "score": short(score.cpu().numpy())}
    if writer.kind is TargetKind.BOXES:
        found = detections_of(prediction)
        return [{"label": writer.classes[one.label], "box": one.box, "score": one.score} for one in found]
    if writer.kind is TargetKind.KEYPOINTS:
        return {"points": points_of(prediction)}
    return None
