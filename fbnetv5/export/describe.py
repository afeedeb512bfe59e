"""Description of an exported file before it is run, for its sidecar."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from fbnetv5.base.types import Size
from fbnetv5.base.version import __version__
from fbnetv5.export.deployed import ALONE, DeployedModel
from fbnetv5.export.joint import AnyDeployed, output_name
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.sidecar import AnySidecar, FileFacts, JointSidecar, Sidecar, TaskFacts
from fbnetv5.export.tasks import tasks_of
from fbnetv5.model.folder import FinalModel

LIBRARIES = (
    "torch",
    "executorch",
    "torchao",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "coremltools",
)
MEANINGS = {
    "scores": "probabilities: of the classes, or of the detections, the best first",
    "boxes": "x1 y1 x2 y2 in pixels of the input",
    "box_labels": "class ids of the detections",
    "count": "how many detections there are; the other places are zeros",
    "segmentation": "class ids of the input's pixels",
    "confidence": "how probable the pixel's class is",
    "keypoints": "x, y in pixels of the input, and the score, of each point; the classes are their names",
}


@torch.no_grad()
def describe(
    model: FinalModel,
    deployed: AnyDeployed,
    size: Size,
    lowered: Lowered,
    *,
    runtime: str,
    precision: str,
    num_calibration: int,
    float_parts: Sequence[str],
) -> AnySidecar:
    """Return the sidecar of a file, without what is known only once it runs.

    Args:
        model: as trained.
        deployed: what was exported.
        size: (height, width) of the input.
        lowered: the file's content.
        runtime: executorch, onnx, litert, coreml or torchscript.
        precision: fp32, fp16 or int8.
        num_calibration: int8: images that it was calibrated on.
        float_parts: int8: modules that stay in float32.
    """
    cost = model.cost(size)
    quantisation = {"calibration_images": num_calibration, "float_parts": list(float_parts)}
    facts = FileFacts(
        runtime=runtime,
        precision=precision,
        input={
            "name": "image",
            "shape": [1, 3, *size],
            "dtype": "float32",
            "colour": "RGB, less mean, over deviation, which are of values in 0..1; padding, right and below, is 0",
            "resize": model.spec.input.to_dict(),
        },
        outputs=_outputs(deployed, size, runtime),
        macs=cost.macs,
        params=cost.params,
        operators=lowered.operators,
        macs_by_backend=lowered.macs,
        quantisation=quantisation if precision == "int8" else {},
        versions={"fbnetv5": __version__, "python": platform.python_version(), **_versions()},
    )
    tasks = {
        task: TaskFacts(
            target=each.target.name,
            kind=each.target.kind.value,
            classes=list(each.classes),
            thresholds=getattr(_head(deployed, task), "thresholds", {}),
        )
        for task, each in tasks_of(model).items()
    }
    if ALONE in tasks:
        return Sidecar(**vars(facts), **vars(tasks[ALONE]))
    return JointSidecar(**vars(facts), tasks=tasks)


def _outputs(deployed: AnyDeployed, size: Size, runtime: str) -> list[dict[str, Any]]:
    """Return the description of each output, in their order."""
    narrowed = {torch.int64: torch.int32} if runtime == "litert" else {}
    return [
        {
            "name": output_name(task, name),
            **({"task": task, "output": name} if task != ALONE else {}),
            "shape": list(tensor.shape),
            "dtype": str(narrowed.get(tensor.dtype, tensor.dtype)).removeprefix("torch."),
            "meaning": MEANINGS.get(name, ""),
        }
        for task, found in deployed.by_task(torch.zeros(1, 3, *size)).items()
        for name, tensor in found.items()
    ]


def _head(deployed: AnyDeployed, task: str) -> nn.Module:
    return deployed.head if isinstance(deployed, DeployedModel) else deployed.heads[task]


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
