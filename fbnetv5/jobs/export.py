"""Export: a trained model becomes files for ExecuTorch, ONNX or TorchScript, in float32 or int8."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fbnetv5 import __version__
from fbnetv5.config import RunConfig
from fbnetv5.config_file import saved_yaml
from fbnetv5.data.multitask import Source, TargetKind
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.distributed import start_world
from fbnetv5.errors import InputError
from fbnetv5.export.agreement import agreement
from fbnetv5.export.convert import PRECISIONS, SUFFIXES, convert
from fbnetv5.export.deployed import DeployedModel, deploy
from fbnetv5.export.executorch import XNNPACK
from fbnetv5.export.inputs import fitted, input_size
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.rating import main_metric, rate
from fbnetv5.export.runtime import ExportedModel, load_exported
from fbnetv5.export.sensitivity import rank_parts
from fbnetv5.export.sidecar import Sidecar, write_sidecar
from fbnetv5.files import atomic_path, write_text
from fbnetv5.heads.sizes import Size
from fbnetv5.model import TaskNet
from fbnetv5.model_folder import load

NUM_COMPARED = 16  # images that predictions are compared on
NUM_RANKED = 8  # images that parts are ranked on
LIBRARIES = ("torch", "executorch", "torchao", "onnx", "onnxscript", "onnxruntime")


def run(config: RunConfig, folder: Path) -> None:
    """Export a trained model in each of ``export.formats`` and ``export.precisions``, and compare each with it.

    Writes to ``folder``: ``model_<precision>.<suffix>`` with a JSON sidecar beside each; files of other formats stay.

    Raises:
        InputError: the configuration, the model, the data or a package is at fault; the message says which.
    """
    with start_world("cpu", config.runtime.threads) as world:
        if world.size > 1:
            raise InputError("export runs in one process")
        export = build_export(config)
        write_text(folder / "config.yaml", saved_yaml(config, f"fbnetv5 {__version__}, export"))
        for runtime in config.export.formats:
            for precision in config.export.precisions:
                export_one(export, runtime, precision, folder)


@dataclass
class Export:
    """What all files of an export have in common."""

    config: RunConfig
    model: TaskNet
    deployed: DeployedModel
    size: Size
    val_source: Source | None
    calibration: list[Tensor]
    trained_metrics: dict[str, float]

    @property
    def kind(self) -> TargetKind:
        """The form of what is predicted."""
        return self.model.head.target.kind


def build_export(config: RunConfig) -> Export:
    """Load the model, put it into a form for one image, and prepare the images that it is calibrated and compared with.

    Raises:
        InputError: something does not fit; nothing was written.
    """
    options = config.export
    if options.model is None:
        raise InputError("export.model is missing: the folder of a trained model")
    _check_choices("export.formats", options.formats, tuple(SUFFIXES))
    _check_choices("export.precisions", options.precisions, PRECISIONS)
    model = load(options.model)
    size = input_size(model.spec.input, options.size)
    deployed = deploy(model, size)
    target = model.head.target.name
    calibration = _calibration_images(config, model, size) if "int8" in options.precisions else []
    val_source = build_val_source(config.data, {target: model.spec.classes})
    if val_source is not None and (rows := list(val_source.labelled(target))):
        val_source = Subset(val_source, _spread(rows, options.num_evaluated))
    trained_metrics = {} if val_source is None else rate(model, val_source, model)
    return Export(config, model, deployed, size, val_source, calibration, trained_metrics)


def export_one(export: Export, runtime: str, precision: str, folder: Path) -> None:
    """Write one file and its sidecar; in int8, with ever more parts in float32 until the metric drops little enough.

    Raises:
        InputError: the runtime's packages are missing, or a file cannot be written.
    """
    options = export.config.export
    file = folder / f"model_{precision}{SUFFIXES[runtime]}"
    calibration = export.calibration if precision == "int8" else None
    float_parts = list(options.float_parts) if precision == "int8" else []
    ranked: list[str] | None = None
    while True:
        print(f"{runtime} {precision}: exporting ...", flush=True)
        lowered = convert(export.deployed, runtime, export.size, calibration, float_parts)
        sidecar = _write(export, runtime, precision, file, lowered, float_parts)
        drop = sidecar.metrics.get("drop_in_points", 0.0)
        _say(file, sidecar, lowered)
        if precision == "fp32" or options.max_drop is None or drop <= options.max_drop:
            return
        if ranked is None:
            print(f"  the drop is above export.max_drop={options.max_drop:g}: measuring which parts int8 hurts ...")
            ranked = [part for part, _ in rank_parts(export.deployed, export.calibration[:NUM_RANKED])]
        left = [part for part in ranked if part not in float_parts]
        if len(left) <= 1:
            print("  nothing but one part is left in int8; the drop stays")
            return
        float_parts += left[: max(1, len(float_parts))]
        print(f"  in float32 from now on: {', '.join(float_parts)}")


def _write(
    export: Export, runtime: str, precision: str, file: Path, lowered: Lowered, float_parts: Sequence[str]
) -> Sidecar:
    """Write a file with its sidecar, compare it with the trained model, and write the sidecar again with the result."""
    sidecar = _describe(export, runtime, precision, lowered, float_parts)
    with atomic_path(file) as temporary:
        temporary.write_bytes(lowered.data)
    write_sidecar(file, sidecar)
    exported = load_exported(file)
    if export.val_source is not None:
        sidecar.agreement = _agreement(export, exported)
        sidecar.metrics = _metrics(export, exported)
        write_sidecar(file, sidecar)
    return sidecar


def _agreement(export: Export, exported: ExportedModel) -> dict[str, float]:
    source = export.val_source
    assert source is not None
    images = [source.load(row, ()).image for row in _spread(range(len(source)), NUM_COMPARED)]
    expected = [_eager(export, image) for image in images]
    return agreement(export.kind, expected, [exported.predict(image) for image in images])


@torch.no_grad()
def _eager(export: Export, image: Tensor) -> Any:
    """Return the trained model's prediction for an image that is prepared as for the exported one."""
    prepared, covered = fitted(image, export.model.spec.input, export.size)
    (prediction,) = export.model(prepared, true_sizes=[covered], output_sizes=[(image.shape[1], image.shape[2])])
    return prediction


def _metrics(export: Export, exported: ExportedModel) -> dict[str, Any]:
    assert export.val_source is not None
    name = main_metric(export.model)
    found = rate(export.model, export.val_source, exported)
    return {
        "num_images": len(export.val_source),
        "main": name,
        "trained": export.trained_metrics,
        "exported": found,
        "drop_in_points": 100 * (export.trained_metrics[name] - found[name]),
    }


def _describe(export: Export, runtime: str, precision: str, lowered: Lowered, float_parts: Sequence[str]) -> Sidecar:
    spec, target, cost = export.model.spec, export.model.head.target, export.model.cost(export.size)
    with torch.no_grad():
        outputs = export.deployed(torch.zeros(1, 3, *export.size))
    quantisation = {"calibration_images": len(export.calibration), "float_parts": list(float_parts)}
    return Sidecar(
        runtime=runtime,
        precision=precision,
        target=target.name,
        kind=target.kind.value,
        classes=list(spec.classes),
        input={
            "name": "image",
            "shape": [1, 3, *export.size],
            "dtype": "float32",
            "colour": "RGB, less mean and over deviation, which are of values in 0..1",
            "resize": spec.input.to_dict(),
        },
        outputs=[
            {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)[6:], "meaning": MEANINGS[name]}
            for name, tensor in outputs.items()
        ],
        macs=cost.macs,
        params=cost.params,
        thresholds=getattr(export.deployed.head, "thresholds", {}),
        operators=lowered.operators,
        macs_by_backend=lowered.macs,
        quantisation=quantisation if precision == "int8" else {},
        versions={"fbnetv5": __version__, "python": platform.python_version(), **_versions()},
    )


MEANINGS = {
    "scores": "probabilities: of the classes, or of the detections, the best first",
    "boxes": "x1 y1 x2 y2 in pixels of the input",
    "box_labels": "class ids of the detections",
    "count": "how many detections there are; the other places are zeros",
    "segmentation": "class ids of the input's pixels",
    "confidence": "how probable the pixel's class is",
}


def _calibration_images(config: RunConfig, model: TaskNet, size: Size) -> list[Tensor]:
    """Return images of the training split, evenly spaced, as the exported model sees them."""
    source = build_source(config.data)
    target = model.head.target.name
    found = tuple(source.classes.get(target, ()))
    if found != model.spec.classes:
        raise InputError(
            f"int8 is calibrated on the training split under data, whose classes of '{target}' are not the model's "
            f"({', '.join(found[:3]) or 'none'} ... instead of {', '.join(model.spec.classes[:3])} ...): give the data "
            "that the model was trained on"
        )
    rows = _spread(range(len(source)), config.export.num_calibration)
    return [fitted(source.load(row, ()).image, model.spec.input, size)[0] for row in rows]


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` of the rows, evenly spaced."""
    count = min(count, len(rows))
    return [rows[len(rows) * i // count] for i in range(count)]


def _check_choices(key: str, values: Sequence[str], choices: Sequence[str]) -> None:
    for value in values:
        if value not in choices:
            raise InputError(f"{key}: {value} is none of {', '.join(choices)}")
    if not values:
        raise InputError(f"{key} is empty; choose from {', '.join(choices)}")


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _say(file: Path, sidecar: Sidecar, lowered: Lowered) -> None:
    """Print what was written, and how it compares."""
    print(f"{file}: {sidecar.num_bytes / 1e6:.2f} MB, input {sidecar.size[0]}x{sidecar.size[1]}")
    if lowered.macs:
        print(f"  {XNNPACK} computes {lowered.share(XNNPACK):.1%} of the multiply-adds")
    for backend, operators in lowered.operators.items():
        print(f"  {backend}: {', '.join(f'{count} {name}' for name, count in operators.items())}")
    if sidecar.agreement:
        differences = ", ".join(f"{name} {value:.3g}" for name, value in sidecar.agreement.items())
        print(f"  against the trained model: {differences}")
    if sidecar.metrics:
        name = sidecar.metrics["main"]
        trained, found = (sidecar.metrics[which][name] for which in ("trained", "exported"))
        print(
            f"  {name} {100 * trained:.2f} -> {100 * found:.2f} on {sidecar.metrics['num_images']} images, a drop of "
            f"{sidecar.metrics['drop_in_points']:.2f} points"
        )
