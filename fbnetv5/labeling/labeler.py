"""From images to rows of a multitask index: what the teachers say, less what they are not sure of.

FBNetV5, Section 3.2: boxes of a score below 0.5 are dropped, pixels of a probability below 0.5 are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, IGNORE, LABEL, SEGMENTATION, Size, Target
from fbnetv5.data.orientation import UPRIGHT, inverse, turn_boxes, turn_pixels, turned_size
from fbnetv5.labeling.loading import Loaded
from fbnetv5.labeling.plan import Entry
from fbnetv5.labeling.teacher import Boxes, BoxTeacher, Pixels, PixelTeacher

MAX_PIXEL_CLASSES = 255  # ids 0 to 254; 255 is ignored


class Labelled(NamedTuple):
    """The row of an image in the index, without the place of its mask; the mask, uint8 [H, W], if there is one."""

    row: dict[str, Any]
    mask: Tensor | None


@dataclass(frozen=True)
class Labeler:
    """Labels images.

    Attributes:
        box_teacher, pixel_teacher: what finds objects and classifies pixels; None leaves these labels out.
        label_classes: the names of the classes that the images' own labels are of; empty if they have none.
        box_threshold: boxes of a lower score are dropped.
        pixel_threshold: pixels whose likeliest class has a lower probability become 255.
        frame: labels are in the pixels of ``upright`` images, or of images as they are ``stored``.
    """

    box_teacher: BoxTeacher | None
    pixel_teacher: PixelTeacher | None
    label_classes: tuple[str, ...] = ()
    box_threshold: float = 0.5
    pixel_threshold: float = 0.5
    frame: str = UPRIGHT

    @property
    def classes(self) -> dict[Target, tuple[str, ...]]:
        """The targets that images get, with the names of their classes."""
        classes = {LABEL: self.label_classes} if self.label_classes else {}
        if self.box_teacher is not None:
            classes[BOXES] = tuple(self.box_teacher.classes)
        if self.pixel_teacher is not None:
            classes[SEGMENTATION] = tuple(self.pixel_teacher.classes)
        return classes

    def __call__(self, batch: Sequence[Loaded]) -> list[Labelled]:
        """Label the images of a batch that could be read.

        Raises:
            InputError: a teacher's answers do not fit its images or its classes.
        """
        readable = [(loaded.entry, loaded.image) for loaded in batch if loaded.image is not None]
        if not readable:
            return []
        found = self._label(readable)
        if self.frame == UPRIGHT:
            return found
        orientations = [loaded.orientation for loaded in batch if loaded.image is not None]
        return [_as_stored(labelled, orientation) for labelled, orientation in zip(found, orientations, strict=True)]

    def _label(self, readable: Sequence[tuple[Entry, Tensor]]) -> list[Labelled]:
        """Label images, in the upright frame, in which they are given."""
        images = [image for _, image in readable]
        rows: list[dict[str, Any]] = [
            {"path": entry.name, "width": image.shape[2], "height": image.shape[1]} for entry, image in readable
        ]
        if self.label_classes:
            for row, (entry, _) in zip(rows, readable, strict=True):
                row["label"] = None if entry.label is None else self.label_classes.index(entry.label)
        if self.box_teacher is not None:
            for row, boxes in zip(rows, self._boxes(self.box_teacher, images), strict=True):
                row["boxes"], row["box_labels"] = boxes
        if self.pixel_teacher is None:
            return [Labelled(row, None) for row in rows]
        return [Labelled(*pair) for pair in zip(rows, self._masks(self.pixel_teacher, images), strict=True)]

    def _boxes(self, teacher: BoxTeacher, images: Sequence[Tensor]) -> list[tuple[list[list[float]], list[int]]]:
        answers = teacher(images)
        _check_count("label.boxes", answers, images)
        for found in answers:
            _check_ids("label.boxes", found.labels, len(teacher.classes))
        return [
            keep_boxes(found, (image.shape[2], image.shape[1]), self.box_threshold)
            for found, image in zip(answers, images, strict=True)
        ]

    def _masks(self, teacher: PixelTeacher, images: Sequence[Tensor]) -> list[Tensor]:
        answers = teacher(images)
        _check_count("label.masks", answers, images)
        for found, image in zip(answers, images, strict=True):
            if found.labels.shape != image.shape[1:]:
                raise InputError(
                    f"label.masks: the teacher labelled {list(found.labels.shape)} pixels of an image of "
                    f"{list(image.shape[1:])}"
                )
            _check_ids("label.masks", found.labels, len(teacher.classes))
        return [keep_pixels(found, self.pixel_threshold) for found in answers]


def check_teachers(box_teacher: BoxTeacher | None, pixel_teacher: PixelTeacher | None) -> None:
    """Raise InputError unless there is a teacher and all of them have classes that can be stored."""
    if box_teacher is None and pixel_teacher is None:
        raise InputError("nothing to label with: give a teacher as label.boxes, label.masks or both")
    for key, teacher in (("label.boxes", box_teacher), ("label.masks", pixel_teacher)):
        if teacher is not None and not teacher.classes:
            raise InputError(f"{key}: the teacher has no classes")
    if pixel_teacher is not None and len(pixel_teacher.classes) > MAX_PIXEL_CLASSES:
        raise InputError(
            f"label.masks: the teacher has {len(pixel_teacher.classes)} classes; a mask holds {MAX_PIXEL_CLASSES} at "
            f"most, as {IGNORE} means ignored"
        )


def keep_boxes(found: Boxes, size: Size, threshold: float) -> tuple[list[list[float]], list[int]]:
    """Return the boxes of a score of at least ``threshold``, clipped to the image, with their class ids.

    What has no area then, or is not finite, is dropped.

    Args:
        found: what a teacher found in the image.
        size: its (width, height).
        threshold: the least score.
    """
    width, height = size
    border = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.minimum(found.boxes.float().reshape(-1, 4).clamp(min=0), border)
    finite = found.boxes.reshape(-1, 4).isfinite().all(1)
    kept = finite & (found.scores >= threshold) & (boxes[:, 2:] > boxes[:, :2]).all(1)  # not of a score that is NaN
    return boxes[kept].tolist(), found.labels[kept].tolist()


def keep_pixels(found: Pixels, threshold: float) -> Tensor:
    """Return a mask, uint8 [H, W]: 255 where the probability is 0 or below ``threshold``, else the class id."""
    kept = (found.scores >= threshold) & (found.scores > 0)  # 0: a class that the teacher was told to drop
    return torch.where(kept, found.labels, torch.tensor(IGNORE, dtype=torch.uint8))


def _as_stored(labelled: Labelled, orientation: int) -> Labelled:
    """Return labels of an upright image in its stored frame."""
    row, mask, back = dict(labelled.row), labelled.mask, inverse(orientation)
    size = row["width"], row["height"]
    row["width"], row["height"] = turned_size(size, back)
    if row.get("boxes"):
        row["boxes"] = turn_boxes(torch.tensor(row["boxes"]), size, back).tolist()
    return Labelled(row, None if mask is None else turn_pixels(mask, back))


def _check_count(key: str, answers: Sequence[Any], images: Sequence[Tensor]) -> None:
    if len(answers) != len(images):
        raise InputError(f"{key}: the teacher gave {len(answers)} answers for {len(images)} images")


def _check_ids(key: str, labels: Tensor, num_classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise InputError(
            f"{key}: the teacher gave class id {int(wrong[0])}, which is none of its 0 to {num_classes - 1}"
        )
