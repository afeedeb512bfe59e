"""SimpleBaseline: keypoints from a few deconvolutions (Xiao et al., 1804.06208), the pose framework of FNA++."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fbnetv5.archs.cost import conv_cost
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import KEYPOINTS, Features, Size, Target, TargetDict
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.simple_baseline.heatmaps import SIGMA, decode, decode_covered, heatmap_loss
from fbnetv5.heads.sizes import stored_sizes, unpadded_sizes

KERNEL = 4  # of a deconvolution of stride 2


class SimpleBaseline(nn.Module):
    """Keypoints: deconvolutions that double the resolution, and a 1x1 convolution to a heatmap a keypoint.

    On path 3, of stride 32, the three of the paper lead to heatmaps of stride 4, where the family's features cover the
    image, as those of A_C, D and G do: heatmaps stand for the whole image. Those of A lack the last columns on path 3.

    Args:
        channels: of the features, one number a path.
        num_classes: number of keypoints, K.
        path: the path read.
        num_deconvs: each doubles height and width.
        hidden_channels: of every deconvolution.
        sigma: of the gaussians that are learnt, in cells of the heatmaps.

    Raises:
        InputError: an option is out of range.
    """

    target: Target = KEYPOINTS

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        num_deconvs: int = 3,
        hidden_channels: int = 256,
        sigma: float = SIGMA,
    ) -> None:
        super().__init__()
        if num_deconvs < 0 or hidden_channels < 1 or sigma <= 0:
            raise InputError(
                f"num_deconvs={num_deconvs}, hidden_channels={hidden_channels} and sigma={sigma} should be at least 0, "
                "at least 1 and above 0"
            )
        self.paths = ascending_paths(path)
        self.sigma = sigma
        widths = [channels[path], *[hidden_channels] * num_deconvs]
        self.deconvs = nn.Sequential(*map(_deconv, widths[:-1], widths[1:]))
        self.heatmaps = nn.Conv2d(widths[-1], num_classes, 1)
        for module in self.modules():
            if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d)):
                nn.init.normal_(module.weight, std=0.001)
        if self.heatmaps.bias is not None:
            nn.init.zeros_(self.heatmaps.bias)

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Tensor]:
        """Return the loss (training), or keypoints [K, 3] an image: x, y in pixels, score in 0..1 (evaluation).

        The arguments are those of :class:`~fbnetv5.heads.head.Head`; targets hold ``keypoints`` [K, 3]. Keypoints lie
        within the true sizes.

        Raises:
            ValueError: the sizes do not fit the images, or targets are missing in training.
        """
        (path,) = self.paths
        maps = self.heatmaps(self.deconvs(features[path]))  # [n, K, h 2^num_deconvs, w 2^num_deconvs]
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            return {"loss_heatmap": heatmap_loss(maps, targets, self.target.name, image_size, sigma=self.sigma)}
        sizes = unpadded_sizes(true_sizes, image_size, len(maps))
        outputs = stored_sizes(output_sizes, sizes)
        return [decode(one, image_size, *pair) for one, *pair in zip(maps, sizes, outputs, strict=True)]

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what finds one image's keypoints; see :class:`fbnetv5.heads.head.DeployableHead`."""
        return DeployedBaseline(self, image_size)

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width).

        A deconvolution has KERNEL^2 products a pair of channels for each cell of its input, a quarter of its output's.
        (FNA++'s tables count the output's: 4 times as many.)
        """
        (path,) = self.paths
        (height, width), total, maps = sizes[path], 0, self.heatmaps
        for deconv in (module for module in self.deconvs.modules() if isinstance(module, nn.ConvTranspose2d)):
            ends = deconv.in_channels, deconv.out_channels
            total += conv_cost(in_channels=ends[0], out_channels=ends[1], size=(height, width), kernel=KERNEL).macs
            height, width = 2 * height, 2 * width
        last = conv_cost(in_channels=maps.in_channels, out_channels=maps.out_channels, size=(height, width))
        return total + last.macs


class DeployedBaseline(nn.Module):
    """SimpleBaseline's inference for one image.

    Args:
        head: in evaluation mode; its modules are shared.
        image_size: (height, width) in pixels.
    """

    def __init__(self, head: SimpleBaseline, image_size: Size) -> None:
        super().__init__()
        (self.path,) = head.paths
        self.image_size = image_size
        self.deconvs, self.heatmaps = head.deconvs, head.heatmaps

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Return ``keypoints`` [K, 3]: x, y in pixels of the input, and the score.

        Args:
            features: of one image, ``features[path]`` [1, C, h, w].
            covered: (height, width) of the input that the image covers, float [2]; keypoints lie in it.
        """
        maps = self.heatmaps(self.deconvs(features[self.path]))[0]
        return {"keypoints": decode_covered(maps, self.image_size, covered)}


def _deconv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, KERNEL, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
