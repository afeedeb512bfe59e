"""The likeliest class of every pixel, and how probable it is, from scores that are resized a few classes at a time.

All classes of a large photograph at once would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from fbnetv5.base.types import Size

CHUNK_BYTES = 2**27  # of class scores that are held at a time


class LikeliestClasses:
    """The likeliest class of every pixel among those whose scores were added; of equals the first.

    Attributes:
        classes: uint8 [H, W], once there were scores.
        scores: of those classes, [H, W].
    """

    classes: Tensor
    scores: Tensor

    def __init__(self) -> None:
        self._count = 0

    def add(self, scores: Tensor) -> Tensor:
        """Add the classes that follow, scores [k, H, W], and return the highest of their scores, [H, W]."""
        highest, positions = scores.max(dim=0)
        first = torch.full((), self._count, dtype=torch.uint8, device=scores.device)
        positions = positions.to(torch.uint8) + first
        if self._count:
            self.classes = torch.where(highest > self.scores, positions, self.classes)
            self.scores = torch.maximum(self.scores, highest)
        else:
            self.classes, self.scores = positions, highest
        self._count += len(scores)
        return highest


def few_classes(num_classes: int, num_pixels: int, element_size: int) -> Iterator[slice]:
    """Yield parts of the classes whose scores of ``num_pixels`` can be held at once, each of ``element_size`` bytes."""
    count = max(1, CHUNK_BYTES // (num_pixels * element_size))
    for start in range(0, num_classes, count):
        yield slice(start, start + count)


def likeliest_of_logits(
    logits: Tensor, output_size: Size, *, image_size: Size | None = None, true_size: Size | None = None
) -> tuple[Tensor, Tensor]:
    """Return the likeliest class of every pixel, uint8 [H, W] of ``output_size``, and its softmax probability, [H, W].

    Logits are resized to the padded image, cropped, then resized, bilinearly and in float32 at least.

    Args:
        logits: of the classes, [K, h, w], K at most 255.
        output_size: (height, width) of the stored image.
        image_size: of the padded image, which the logits cover; by default the stored image's.
        true_size: the image's before it was padded; by default the padded image's.
    """
    image_size = image_size or output_size
    true_size = true_size or image_size
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    found = LikeliestClasses()
    total = torch.full((), -torch.inf, dtype=logits.dtype, device=logits.device)  # log of the sum of the exponentials
    num_pixels = max(image_size[0] * image_size[1], output_size[0] * output_size[1])
    for part in few_classes(len(logits), num_pixels, logits.element_size()):
        scores = _resized(logits[part], image_size)[:, : true_size[0], : true_size[1]]
        scores = _resized(scores, output_size)
        found.add(scores)
        total = torch.logaddexp(total, scores.logsumexp(dim=0))
    return found.classes, (found.scores - total).exp().clamp_max(1.0)


def likeliest_of_probabilities(probabilities: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Return the likeliest class of every pixel, uint8 [H, W] of ``size``, and its probability, [H, W].

    Args:
        probabilities: [K, h, w], K at most 255; resized bilinearly.
        size: (height, width) of the map.
    """
    found = LikeliestClasses()
    for part in few_classes(len(probabilities), size[0] * size[1], probabilities.element_size()):
        found.add(_resized(probabilities[part], size))
    return found.classes, found.scores


def likeliest_on_device(logits: Tensor, size: Size) -> dict[str, Tensor]:
    """Return the likeliest class of every pixel, ``segmentation`` uint8 [H, W], and its probability, ``confidence``.

    As :func:`likeliest_of_logits`, in operations that mobile runtimes have.

    Args:
        logits: of the classes, [1, K, h, w].
        size: (height, width) of the map.
    """
    found, highest, sums = LikeliestClasses(), [], []
    for part in few_classes(logits.shape[1], size[0] * size[1], logits.element_size()):
        scores = F.interpolate(logits[:, part], size=size, mode="bilinear")[0]  # [k, H, W]
        highest.append(found.add(scores))
        sums.append((scores - highest[-1]).exp().sum(dim=0))
    terms = [one * (most - found.scores).exp() for one, most in zip(sums, highest, strict=True)]
    return {"segmentation": found.classes, "confidence": 1 / torch.stack(terms).sum(dim=0)}


def _resized(maps: Tensor, size: Size) -> Tensor:
    """Resize maps [k, h, w] bilinearly, where they do not have the size."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
