"""Run an exported model on images, with the runtime of its format, and draw what it predicts.

    python scripts/run_exported.py runs/bccd/export/model_int8.pte photo.jpg
    python scripts/run_exported.py runs/bccd/export/model_fp32.onnx photos --output runs/predicted

writes to the output folder ``drawn/``, one picture an image, and ``predictions/``: COCO json for boxes, PNG masks, or a
csv of classes; of a model of several tasks, a folder a task and ``predictions.json``. They take the place of those of
an earlier call. The sidecar beside the file says how images become its input.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import atomic_path, remove_folder
from fbnetv5.base.types import Target, TargetKind, UndecodableImageError
from fbnetv5.cli.arguments import parser_of
from fbnetv5.config.read import CONFIG
from fbnetv5.data.index import IndexSource
from fbnetv5.data.sources import build_folder_source
from fbnetv5.export.runtime import AnyExported, ExportedModel, load_exported
from fbnetv5.report.joint_predictions import JointWriter
from fbnetv5.report.pictures import draw_prediction, draw_predictions
from fbnetv5.report.predictions import PredictionWriter, mask_paths


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("file", type=Path, help="the exported model; its sidecar lies beside it")
    parser.add_argument("images", type=Path, help="an image, or a folder of images")
    parser.add_argument("--output", type=Path, default=Path("runs/exported"), help="folder to write to (%(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (the runtime's own choice)")
    parser.add_argument("--threshold", type=float, default=0.0, help="drop boxes of a lower score (%(default)s)")
    options = parser.parse_args(arguments)
    model = load_exported(options.file, threads=options.threads)
    predict_all(model, find_images(options.images, options.output), options.output, options.threshold)


def find_images(path: Path, output: Path) -> IndexSource:
    """Open one image, or all below a folder. Raises InputError where there is none, or ``output`` lies among them."""
    if not path.exists():
        raise InputError(f"{path}: there is no such image or folder")
    if output.resolve().is_relative_to(path.resolve()):
        raise InputError(f"{output} lies in {path}, and its pictures would be among the images: write elsewhere")
    return build_folder_source(path)


def predict_all(model: AnyExported, images: IndexSource, folder: Path, threshold: float) -> None:
    """Predict every image, draw it, and write the predictions; images that cannot be read are named and left out.

    Raises:
        InputError: no image could be read, a file cannot be written, or ``folder`` has files of something else.
    """
    _clear(folder)
    writer = _writer(model, folder / "predictions")
    places = mask_paths([images.index.value("path", row) for row in range(len(images))])
    seconds: list[float] = []
    console = Console(stderr=True)
    for row in track(range(len(images)), "predicting", console=console, disable=not console.is_terminal):
        try:
            sample = images.load(row, ())
        except UndecodableImageError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        started = time.perf_counter()
        prediction = _above(threshold, model, model.predict(sample.image))
        seconds.append(time.perf_counter() - started)
        height, width = sample.image.shape[-2:]
        writer.add([sample.name], [prediction], [(height, width)])
        drawing = _drawn(model, sample.image, prediction)
        with atomic_path(folder / "drawn" / places[sample.name]) as temporary:
            drawing.save(temporary)
    if not seconds:
        raise InputError("no image could be read")
    writer.close()
    median = 1000 * statistics.median(seconds)
    print(f"{len(seconds)} images, {median:.1f} ms each with resizing and decoding (median); written to {folder}")


def _clear(folder: Path) -> None:
    """Remove what an earlier call wrote. Raises InputError where a run, or somebody else, wrote it."""
    places = [folder / "drawn", folder / "predictions"]
    there = [place for place in places if place.is_dir()]
    if (folder / CONFIG).exists() or len(there) == 1:
        raise InputError(f"{there[0] if there else folder} is not of an earlier call: write elsewhere")
    for place in there:
        remove_folder(place)


def _writer(model: AnyExported, folder: Path) -> PredictionWriter | JointWriter:
    world = World(0, 1, torch.device("cpu"))
    if isinstance(model, ExportedModel):
        target = Target(model.sidecar.target, model.sidecar.target_kind)
        return PredictionWriter(folder, target, model.classes, world)
    classes = model.classes
    writers = {
        task: PredictionWriter(folder / task, target, classes[task], world) for task, target in model.targets.items()
    }
    return JointWriter(folder, writers, world)


def _drawn(model: AnyExported, image: Tensor, prediction: Any) -> Image.Image:
    if isinstance(model, ExportedModel):
        return draw_prediction(image, prediction, model.sidecar.target_kind, model.classes)
    return draw_predictions(image, prediction, model.targets, model.classes)


def _above(threshold: float, model: AnyExported, prediction: Any) -> Any:
    """Return a prediction, or those of several tasks, without boxes of a lower score."""
    if isinstance(model, ExportedModel):
        return _boxes_above(threshold, prediction, model.sidecar.target_kind)
    return {task: _boxes_above(threshold, prediction[task], target.kind) for task, target in model.targets.items()}


def _boxes_above(threshold: float, prediction: Any, kind: TargetKind) -> Any:
    if kind is not TargetKind.BOXES:
        return prediction
    kept = prediction["scores"] >= threshold
    return {name: values[kept] for name, values in prediction.items()}


if __name__ == "__main__":
    main()
