"""Base of all teachers: a model on a device, its precision, its classes, and images of many sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE
from fbnetv5.engine.precision import autocast
from fbnetv5.labeling.teacher import Boxes, Pixels
from fbnetv5.labeling.teachers.class_map import ClassMap

PRECISIONS = ("float32", "bfloat16")

Answer = TypeVar("Answer")


class ModelTeacher:
    """A pretrained model that labels images; a subclass says how.

    Args:
        model: is not trained.
        names: the model's classes; an id is a position in them.
        precision: float32, or bfloat16 for autocast.
        class_map, others, unused: see :class:`ClassMap`.

    Attributes:
        classes: the classes of the labels.

    Raises:
        InputError: an option is not what it should be.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        *,
        precision: str,
        class_map: Mapping[str, str | None] | None,
        others: str,
        unused: Collection[str] = (),
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"the precision of a teacher is {' or '.join(PRECISIONS)}, not '{precision}'")
        self.model = model.requires_grad_(False).eval()
        self.precision = precision
        self.mapping = ClassMap(names, class_map, others, unused)
        self.classes = self.mapping.classes
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> None:
        """Compute on ``device`` from now on."""
        self.device = torch.device(device)
        self.model.to(self.device)

    def found_boxes(self, boxes: Tensor, labels: Tensor, scores: Tensor) -> Boxes:
        """Return what the model has found in an image, [n, 4], [n] and [n], in the classes of the labels."""
        return self.mapping.boxes(Boxes(boxes.float().cpu(), labels.cpu(), scores.float().cpu()))

    def found_pixels(self, labels: Tensor, scores: Tensor) -> Pixels:
        """Return the model's classes of an image's pixels, uint8 [H, W], and their probabilities, as labels."""
        return self.mapping.pixels(Pixels(labels.cpu(), scores.float().cpu()))

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Run the model inside of this: without gradients, in the teacher's precision."""
        with torch.no_grad(), autocast(self.device, self.precision):
            yield


def label_by_size(inputs: Sequence[Tensor], label: Callable[[list[int]], list[Answer]]) -> list[Answer]:
    """Label images of equal size together, and return the answers in the order of the images.

    No image is padded to another's size: the padding would change its labels, which should not depend on the batch.

    Args:
        inputs: [3, H, W] of any sizes.
        label: answers for the images at these positions of ``inputs``.
    """
    groups: dict[torch.Size, list[int]] = {}
    for position, image in enumerate(inputs):
        groups.setdefault(image.shape, []).append(position)
    answers: dict[int, Answer] = {}
    for positions in groups.values():
        answers.update(zip(positions, label(positions), strict=True))
    return [answers[position] for position in range(len(inputs))]


def check_num_classes(names: Sequence[str]) -> None:
    """Raise InputError unless there are several classes of pixels, and no more than a mask can hold."""
    if len(names) < 2:
        raise InputError(
            "the teacher knows one class of pixels, of which it would call every pixel; it needs a background beside it"
        )
    if len(names) > IGNORE:
        raise InputError(f"the teacher knows {len(names)} classes of pixels; there are at most {IGNORE}")
