"""What heads that give every pixel a class share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, SEGMENTATION, Features, Size, Target, TargetDict


class SegmentationHead(nn.Module, ABC):
    """Segmentation: a class a pixel. A head of this kind has :meth:`losses` and :meth:`classify`.

    Args:
        num_classes: classes of pixels, at most 255.
    """

    target: Target = SEGMENTATION
    paths: tuple[int, ...]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes > IGNORE:
            raise InputError(f"{num_classes} classes do not fit a map of class ids; there are at most {IGNORE}")

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Tensor]:
        """Return the losses, by name (training), or a map of class ids, uint8 [H, W], an image (evaluation).

        Args:
            features: ``features[path]`` is [n, channels[path], h, w] for all of ``paths``.
            image_size: the images' common (height, width) in pixels.
            targets: n dicts with ``segmentation`` uint8 [height, width], 255 = ignore (and in the padding).
            true_sizes: what the images measured before they were padded; the maps are cropped to it.
            output_sizes: what the stored images measure, and the maps are resized to; by default the true sizes.

        Raises:
            InputError: the head cannot learn from a batch of one image, in training.
            ValueError: the sizes do not fit the images, or targets are missing in training.
        """
        if not self.training:
            return [classes for classes, _ in self.classify(features, image_size, true_sizes, output_sizes)]
        if targets is None:
            raise ValueError("training needs targets")
        return self.losses(features, image_size, torch.stack([target[SEGMENTATION.name] for target in targets]))

    @abstractmethod
    def losses(self, features: Features, image_size: Size, masks: Tensor) -> dict[str, Tensor]:
        """Return the losses, by name; ``masks`` are uint8 [n, height, width] of ``image_size``, 255 = ignore."""

    @abstractmethod
    def classify(
        self,
        features: Features,
        image_size: Size,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the likeliest class of every pixel, uint8 [H, W], and its probability, [H, W], an image.

        The arguments are those of :meth:`forward`.

        Raises:
            ValueError: the sizes do not fit the images.
        """

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()
