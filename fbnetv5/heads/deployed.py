"""What a head becomes on a device: the same predictions for one image of a fixed size, ready for export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from fbnetv5.base.types import Size


@runtime_checkable
class DeployableHead(Protocol):
    """A head that can be exported."""

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return a module ``(features, covered)`` that maps the features of one image to named tensors.

        ``covered`` is the (height, width) that the image covers of the input, float [2]; what is to its right and below
        is padding. Operations have fixed sizes, and no branch depends on a value. By the kind of the head's target the
        module returns

        =========  ===========================================================================================
        SCALAR     ``scores`` [K], the probability of each class
        BOXES      ``boxes`` [D, 4] (xyxy pixels of the input), ``box_labels`` int64 [D] and ``scores`` [D], the best
                   first; ``count`` int64 [1], how many of the D places are used
        MASK       ``segmentation`` uint8 [H, W] of the input's size, class ids; ``confidence`` [H, W], how probable
        KEYPOINTS  ``keypoints`` [K, 3]: x, y in pixels of the input, and the score
        =========  ===========================================================================================

        Args:
            image_size: (height, width) of the input in pixels.
            feature_sizes: (height, width) of the features, ``feature_sizes[path]``.
        """
