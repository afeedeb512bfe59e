"""Base of heads that give every pixel a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, SEGMENTATION, Features, Size, Target, TargetDict
from fbnetv5.heads.sizes import stored_sizes, unpadded_sizes


class SegmentationHead(nn.Module, ABC):
    """Segmentation: a class a pixel. A head of this kind has :meth:`losses` and :meth:`pixel_classes`.

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

        The arguments are those of :class:`~fbnetv5.heads.head.Head`; targets hold ``segmentation`` uint8 of the image
        size, 255 = ignore (and in the padding). Maps are cropped to the true sizes, then resized to the output sizes.

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
        sizes = unpadded_sizes(true_sizes, image_size, len(features[self.paths[0]]))
        return self.pixel_classes(features, image_size, sizes, stored_sizes(output_sizes, sizes))

    @abstractmethod
    def pixel_classes(
        self, features: Features, image_size: Size, sizes: list[Size], output_sizes: list[Size]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return what :meth:`classify` does, for ``sizes`` of the images before they were padded."""

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()
