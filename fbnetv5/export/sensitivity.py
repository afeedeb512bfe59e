"""Sensitivity of a model's parts to int8: each is put into int8 alone, and the outputs are compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fbnetv5.export.executorch import quantised_pt2e
from fbnetv5.export.joint import AnyDeployed
from fbnetv5.export.parts import candidate_parts
from fbnetv5.export.progress import ExportProgress


@torch.no_grad()
def part_errors(model: AnyDeployed, images: Sequence[Tensor], progress: ExportProgress) -> dict[str, dict[str, float]]:
    """Return, for each task, the error that int8 brings to each part of a model alone.

    The error is that of the outputs that are real numbers, such as scores, boxes and confidence: noise over signal, the
    mean square of the difference over that of the output.

    Args:
        model: for one image.
        images: to calibrate and compare with, each [1, 3, H, W].
        progress: is told of each part.

    Raises:
        InputError: executorch or torchao is not installed.
    """
    parts = candidate_parts(model)
    counted = progress.over("measuring part", parts, len(parts))
    errors: dict[str, dict[str, float]] = {}
    for part in counted:
        quantised = quantised_pt2e(model, images, [other for other in parts if other != part])
        for task, error in _errors(model, quantised, images).items():
            errors.setdefault(task, {})[part] = error
    return errors


def _errors(model: AnyDeployed, quantised: nn.Module, images: Sequence[Tensor]) -> dict[str, float]:
    """Return the error of each task."""
    noise: defaultdict[str, float] = defaultdict(float)
    signal: defaultdict[str, float] = defaultdict(float)
    for task, expected, found in _outputs(model, quantised, images):
        noise[task] += float((expected - found).square().sum())
        signal[task] += float(expected.square().sum())
    return {task: noise[task] / max(signal[task], 1e-12) for task in signal}


def _outputs(model: AnyDeployed, other: nn.Module, images: Sequence[Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the real outputs of two models for the same images, with their task."""
    for image in images:
        found = iter(other(image).values())
        for task, outputs in model.by_task(image).items():
            for expected, own in zip(outputs.values(), found, strict=False):
                if expected.is_floating_point():
                    yield task, expected, own
