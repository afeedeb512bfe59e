"""Images as torchvision's detectors take them, and their last step in operations of fixed size."""

from __future__ import annotations

from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from fbnetv5.base.types import Size
from fbnetv5.heads.fixed_boxes import first_places


def images_of_sizes(like: Tensor, padded_size: Size, sizes: list[Size]) -> ImageList:
    """Return images as torchvision's detectors take them, whose pixels nobody reads.

    Args:
        like: a tensor of the type and device wanted.
        padded_size: (height, width) in pixels of the batch.
        sizes: (height, width) of each image in it.
    """
    return ImageList(like.new_zeros(()).expand(len(sizes), 3, *padded_size), sizes)


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
