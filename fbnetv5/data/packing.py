"""Batches as few tensors, for the way from one process to another and to a device.

Each tensor that a worker hands over is an open file of both processes, and each that goes to a GPU is a copy of its
own. So what stands under a key of all the targets of a batch travels as one tensor: maps and boxes one after another,
with their shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fbnetv5.base.types import Batch


@dataclass(frozen=True)
class Column:
    """Tensors of one type that stand under one key, of some of the images of a batch.

    Attributes:
        name: the key.
        shapes: of the tensor of each image that has one, by the image's position.
        numbers: of all of them, one after another, [total].
    """

    name: str
    shapes: Mapping[int, torch.Size]
    numbers: Tensor

    def unpack(self) -> dict[int, Tensor]:
        """Return the tensors, by the position of their image; they share the memory of ``numbers``."""
        parts = self.numbers.split([shape.numel() for shape in self.shapes.values()])
        return {row: part.view(shape) for (row, shape), part in zip(self.shapes.items(), parts, strict=True)}


def pack_column(name: str, tensors: Mapping[int, Tensor]) -> Column:
    """Return the tensors of one type that stand under ``name``, by the position of their image, as one."""
    flat = [tensor.as_subclass(Tensor).reshape(-1) for tensor in tensors.values()]
    return Column(name, {row: tensor.shape for row, tensor in tensors.items()}, torch.cat(flat))


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose targets' tensors stand apart.

    Attributes:
        batch: with None in the place of each tensor of a target.
        columns: these tensors.
    """

    batch: Batch
    columns: tuple[Column, ...]

    def pin_memory(self) -> PackedBatch:
        """Move every tensor to page-locked memory; the data loader calls this when it is told to pin."""
        return self._map(Tensor.pin_memory)

    def to(self, device: torch.device) -> PackedBatch:
        """Move every tensor to a device; from page-locked memory this process does not wait for it."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def unpack(self) -> Batch:
        """Return the batch; what stood under one key shares its memory."""
        targets = [dict(target) for target in self.batch.targets]
        for column in self.columns:
            for row, tensor in column.unpack().items():
                targets[row][column.name] = tensor
        return replace(self.batch, targets=targets)

    def _map(self, function: Callable[[Tensor], Tensor]) -> PackedBatch:
        columns = tuple(replace(column, numbers=function(column.numbers)) for column in self.columns)
        return PackedBatch(replace(self.batch, images=function(self.batch.images)), columns)


def pack(batch: Batch) -> PackedBatch:
    """Return a batch as the images and a tensor for each key of the targets; what is no tensor stays where it is."""
    found: dict[tuple[str, torch.dtype], dict[int, Tensor]] = {}
    targets: list[dict[str, Any]] = []
    for row, target in enumerate(batch.targets):
        targets.append({name: None if isinstance(value, Tensor) else value for name, value in target.items()})
        for name, value in target.items():
            if isinstance(value, Tensor):
                found.setdefault((name, value.dtype), {})[row] = value
    columns = tuple(pack_column(name, tensors) for (name, _), tensors in found.items())
    return PackedBatch(replace(batch, targets=targets), columns)
