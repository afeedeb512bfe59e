"""Targets and predictions of torchvision's detectors in our terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.boxes import clip_boxes_to_image

from fbnetv5.heads.fixed_boxes import first_places
from fbnetv5.heads.sizes import Size, stored_sizes
from fbnetv5.tasks.task import TargetDict


def images_of_sizes(like: Tensor, padded_size: Size, sizes: list[Size]) -> ImageList:
    """Return images as torchvision's detectors take them, whose pixels nobody reads.

    Args:
        like: a tensor of the type and device wanted.
        padded_size: (height, width) in pixels of the batch.
        sizes: (height, width) of each image in it.
    """
    return ImageList(like.new_zeros(()).expand(len(sizes), 3, *padded_size), sizes)


def truth_of(targets: Sequence[TargetDict] | None, *, first_label: int) -> list[dict[str, Tensor]]:
    """Return our targets as ``boxes`` float [m, 4] (xyxy pixels) and ``labels`` int64 [m], class 0 as ``first_label``.

    Raises:
        ValueError: there are none.
    """
    if targets is None:
        raise ValueError("training needs targets")
    return [{"boxes": target["boxes"].float(), "labels": target["box_labels"] + first_label} for target in targets]


def predictions_of(
    detections: Sequence[dict[str, Tensor]],
    sizes: list[Size],
    output_sizes: Sequence[Size] | None,
    *,
    first_label: int,
) -> list[dict[str, Any]]:
    """Return torchvision's detections in the pixels of the stored images, and with class ids that count from 0.

    Args:
        detections: an image each: ``boxes`` [m, 4] (xyxy pixels), ``labels`` int64 [m] and ``scores`` [m].
        sizes: (height, width) of the images that the boxes are on.
        output_sizes: of the stored images; by default the same.
        first_label: torchvision's label of class 0.

    Raises:
        ValueError: there is not one output size an image.
    """
    return [
        {
            "boxes": _resized(found["boxes"], size, stored),
            "box_labels": found["labels"] - first_label,
            "scores": found["scores"],
        }
        for found, size, stored in zip(detections, sizes, stored_sizes(output_sizes, sizes), strict=True)
    ]


def first_detections(
    boxes: Tensor, labels: Tensor, scores: Tensor, *, score_threshold: float, overlap: float, count: int
) -> dict[str, Tensor]:
    """Return the best detections after suppression in each class, in operations of fixed size.

    They are ``boxes`` [count, 4], ``box_labels`` int64 [count] and ``scores`` [count], the best first, zeros where
    there are no more; and ``count`` int64 [1], how many there are.

    Args:
        boxes: candidates [n, 4] (xyxy pixels).
        labels: int64 [n].
        scores: [n].
        score_threshold: what is not above it is dropped.
        overlap: above which the worse of two boxes of a class is dropped.
        count: detections to return, at most n.
    """
    scores, order = scores.topk(len(scores))
    boxes, labels = boxes.index_select(0, order), labels.index_select(0, order)
    valid = (scores > score_threshold).to(scores.dtype)
    places, counts = first_places(boxes, valid, threshold=overlap, count=count, labels=labels.to(boxes.dtype))
    return {
        "boxes": boxes.index_select(0, places) * counts[:, None],
        "box_labels": labels.index_select(0, places) * (counts > 0),
        "scores": scores.index_select(0, places) * counts,
        "count": (counts > 0).sum(dim=0, keepdim=True),
    }


def _resized(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """Scale boxes [m, 4] (xyxy pixels) of an image of ``size`` (height, width) to ``new_size``, and clip them to it."""
    factors = [new_size[1] / size[1], new_size[0] / size[0]]
    resized: Tensor = clip_boxes_to_image(boxes * boxes.new_tensor(factors * 2), new_size)
    return resized
