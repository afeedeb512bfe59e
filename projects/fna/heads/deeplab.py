"""DeepLabv3: semantic segmentation by atrous spatial pyramid pooling (1706.05587; FNA++, Sec. 4.1).

FNA++ prints 2.57 M parameters for it on MobileNetV2, and its code has why: the atrous convolutions are separable, and
the classifier follows the pooling at once, without the 3x3 convolution of torchvision's ``DeepLabHead``. The network
brings the output stride (its ``output_stride``: 16 or 8); at 8 the rates are doubled.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.pieces import pixel_cross_entropy
from fbnetv5.heads.pixel_classes import likeliest_of_logits, likeliest_on_device
from fbnetv5.heads.segmentation_head import SegmentationHead
from fbnetv5.projects.fna.heads.checks import at_least_float32, check_batch, consecutive_paths


class DeepLabV3(SegmentationHead):
    """Segmentation: a class for every pixel, from the network's last feature.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of pixels, K, at most 255.
        path: the path read.
        hidden_channels: width of the pyramid's branches.
        rates: dilations of the pyramid's 3x3 convolutions: 6, 12, 18 for an output stride of 16; 12, 24, 36 for 8.
        separable: whether those convolutions are depthwise, then pointwise, as FNA++ has them; else plain.
        dropout: of the pyramid's output, in training.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        hidden_channels: int = 256,
        rates: tuple[int, ...] = (6, 12, 18),
        separable: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(num_classes)
        if not rates or min(rates) < 1:
            raise InputError(f"model.head.rates={list(rates)}: DeepLabv3 needs dilations of at least 1")
        self.paths = consecutive_paths("DeepLabv3", channels, [path])
        self.pyramid = ASPP(channels[path], rates, hidden_channels)
        if separable:
            for position, rate in enumerate(rates, start=1):  # after the 1x1 branch
                self.pyramid.convs[position] = separable_conv(channels[path], hidden_channels, rate)
        self.pyramid.project[-1].p = dropout
        self.scores = nn.Conv2d(hidden_channels, num_classes, 1)
        nn.init.normal_(self.scores.weight, std=0.01)

    def losses(self, features: Features, image_size: Size, masks: Tensor) -> dict[str, Tensor]:
        """Return the mean over the images of each one's mean cross-entropy over the pixels that are not 255.

        Raises:
            InputError: a batch of one image.
        """
        return {"loss_pixel": pixel_cross_entropy(self.logits(features), masks, image_size)}

    def pixel_classes(
        self, features: Features, image_size: Size, sizes: list[Size], output_sizes: list[Size]
    ) -> list[tuple[Tensor, Tensor]]:
        return [
            likeliest_of_logits(scores, wanted, image_size=image_size, true_size=size)
            for scores, size, wanted in zip(self.logits(features), sizes, output_sizes, strict=True)
        ]

    def logits(self, features: Features) -> Tensor:
        """Return the logits of the classes, at least float32 [n, K, h, w]."""
        (path,) = self.paths
        feature = features[path]
        check_batch("DeepLabv3", self.pyramid, len(feature))
        scores: Tensor = self.scores(self.pyramid(feature))
        return scores.to(at_least_float32(scores.dtype))

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what segments one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`."""
        return DeployedDeepLabV3(self, image_size)


class DeployedDeepLabV3(nn.Module):
    """DeepLabv3's inference for one image.

    Args:
        head: in evaluation mode; its modules are shared.
        image_size: (height, width) in pixels.
    """

    def __init__(self, head: DeepLabV3, image_size: Size) -> None:
        super().__init__()
        (self.path,) = head.paths
        self.image_size = image_size
        self.pyramid, self.scores = head.pyramid, head.scores

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Return ``segmentation`` uint8 [H, W], the likeliest class of each pixel, and ``confidence`` [H, W], how
        probable it is.

        Args:
            features: of one image, ``features[path]`` [1, C, h, w].
            covered: not read; all of the input is segmented.
        """
        return likeliest_on_device(self.scores(self.pyramid(features[self.path])), self.image_size)


def separable_conv(in_channels: int, out_channels: int, rate: int) -> nn.Sequential:
    """A 3x3 convolution of dilation ``rate``, depthwise, then pointwise, each with BN and ReLU; it keeps the size."""
    return nn.Sequential(
        Conv2dNormActivation(in_channels, in_channels, 3, dilation=rate, groups=in_channels),
        Conv2dNormActivation(in_channels, out_channels, 1),
    )
