"""Base of heads that find boxes: targets, losses and detections, in torchvision's terms and in ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torchvision.ops.boxes import clip_boxes_to_image

from fbnetv5.base.types import BOXES, Features, Size, Target, TargetDict
from fbnetv5.heads.sizes import stored_sizes, unpadded_sizes


class DetectionHead(nn.Module, ABC):
    """Detection, of torchvision's parts. A head of this kind has :meth:`losses` and :meth:`detections`."""

    target: Target = BOXES
    paths: tuple[int, ...]
    first_label: ClassVar[int] = 1
    """Torchvision's label of class 0: 1 where label 0 is the background."""

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Return the losses, by name (training), or a dict an image (evaluation).

        The arguments are those of :class:`~fbnetv5.heads.head.Head`; targets hold ``boxes`` [m, 4] (xyxy pixels) and
        ``box_labels`` int64 [m] (0..K-1). Boxes are clipped to the true sizes.

        Returns:
            the losses; or for each image ``boxes`` [m, 4] (xyxy pixels), ``box_labels`` int64 [m] and ``scores`` [m]
            (0..1), the best first.

        Raises:
            InputError: as :meth:`losses` and :meth:`detections`.
            ValueError: the sizes do not fit the images, or targets are missing in training.
        """
        sizes = unpadded_sizes(true_sizes, image_size, len(features[self.paths[0]]))
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            return self.losses(features, image_size, sizes, [self._truth(target) for target in targets])
        found = self.detections(features, image_size, sizes)
        return [
            {
                "boxes": _resized(detected["boxes"], size, stored),
                "box_labels": detected["labels"] - self.first_label,
                "scores": detected["scores"],
            }
            for detected, size, stored in zip(found, sizes, stored_sizes(output_sizes, sizes), strict=True)
        ]

    @abstractmethod
    def losses(
        self, features: Features, image_size: Size, sizes: list[Size], truth: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the losses, by name.

        Args:
            features, image_size: as in :meth:`forward`.
            sizes: (height, width) of each image before it was padded.
            truth: an image each: ``boxes`` float [m, 4] (xyxy pixels) and torchvision's ``labels`` int64 [m].
        """

    @abstractmethod
    def detections(self, features: Features, image_size: Size, sizes: list[Size]) -> list[dict[str, Tensor]]:
        """Return an image each: ``boxes`` [m, 4] (xyxy pixels), torchvision's ``labels`` int64 [m], ``scores`` [m].

        The best comes first; boxes lie within the image's size. The arguments are those of :meth:`losses`.
        """

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()

    def _truth(self, target: TargetDict) -> dict[str, Tensor]:
        return {"boxes": target["boxes"].float(), "labels": target["box_labels"] + self.first_label}


def _resized(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """Scale boxes [m, 4] (xyxy pixels) of an image of ``size`` (height, width) to ``new_size``, and clip them to it."""
    factors = [new_size[1] / size[1], new_size[0] / size[0]]
    resized: Tensor = clip_boxes_to_image(boxes * boxes.new_tensor(factors * 2), new_size)
    return resized
