"""Sensitivity of a model's parts to int8: each is put into int8 alone, and the outputs are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fbnetv5.export.deployed import DeployedModel
from fbnetv5.export.executorch import quantised_pt2e
from fbnetv5.export.parts import candidate_parts
from fbnetv5.export.progress import ExportProgress


@torch.no_grad()
def rank_parts(model: DeployedModel, images: Sequence[Tensor], progress: ExportProgress) -> list[tuple[str, float]]:
    """Return the parts of a model with the error that int8 brings to each alone, the worst first.

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
    return sorted(((part, _error(model, part, parts, images)) for part in counted), key=lambda row: -row[1])


def _error(model: DeployedModel, part: str, parts: Sequence[str], images: Sequence[Tensor]) -> float:
    quantised = quantised_pt2e(model, images, [other for other in parts if other != part])
    noise = signal = 0.0
    for expected, found in _outputs(model, quantised, images):
        noise += float((expected - found).square().sum())
        signal += float(expected.square().sum())
    return noise / max(signal, 1e-12)


def _outputs(model: nn.Module, other: nn.Module, images: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the real outputs of two models for the same images."""
    for image in images:
        for expected, found in zip(model(image).values(), other(image).values(), strict=True):
            if expected.is_floating_point():
                yield expected, found
