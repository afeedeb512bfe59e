"""PSPNet with deep supervision (1612.01105), with the defaults of semantic-segmentation-pytorch (FPNAS, Sec. 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, Features, Size
from fbnetv5.heads.fixed_grids import averaging_weights, grid_averages
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.pixel_classes import likeliest_of_probabilities, likeliest_on_device
from fbnetv5.heads.segmentation_head import SegmentationHead
from fbnetv5.heads.sizes import unpadded_sizes


class ConvNormRelu(nn.Sequential):
    """A convolution that keeps the size, batch normalisation and ReLU: [N, C, H, W] to [N, out_channels, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class PyramidPooling(nn.Module):
    """A feature beside its averages over grids of several sizes, each projected and resized to it (PSPNet, Fig. 3).

    Args:
        in_channels: C.
        pooled_channels: of each projected average.
        bins: the grids are 1 x 1, 2 x 2 and so on.
    """

    def __init__(self, in_channels: int, pooled_channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.out_channels = in_channels + len(bins) * pooled_channels
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bin_), ConvNormRelu(in_channels, pooled_channels, 1)) for bin_ in bins
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, out_channels, H, W], the feature first."""
        size = feature.shape[-2:]
        pooled = [F.interpolate(level(feature), size=size, mode="bilinear") for level in self.levels]
        return torch.cat([feature, *pooled], dim=1)


class PSPNet(SegmentationHead):
    """Segmentation: a class a pixel.

    Losses are computed at the feature's size, with the labels of the nearest pixels.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of pixels, K, at most 255.
        path: the path that is classified; that of an encoder with ``output_stride: 8`` usually.
        aux_path: the path that the auxiliary classifier reads; null: no deep supervision.
        aux_weight: of its loss.
        hidden_channels: of each pooled level, and before the classes.
        bins: sides of the grids that are pooled to.
        dropout: of channels before the classes.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        aux_path: int | None = 2,
        aux_weight: float = 0.4,
        hidden_channels: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__(num_classes)
        if not bins or min(bins) < 1:
            raise InputError(f"bins={list(bins)} should be sides of grids, such as [1, 2, 3, 6]")
        self.path, self.aux_path, self.aux_weight = path, aux_path, aux_weight
        self.paths = ascending_paths(path) if aux_path is None else ascending_paths(path, aux_path)
        self.pyramid = PyramidPooling(channels[path], hidden_channels, bins)
        self.scores = _pixel_classifier(self.pyramid.out_channels, hidden_channels, num_classes, dropout)
        self.aux_scores: nn.Module | None = None
        if aux_path is not None:
            aux_channels = max(1, channels[path] // 4)
            self.aux_scores = _pixel_classifier(channels[aux_path], aux_channels, num_classes, dropout)

    def losses(self, features: Features, image_size: Size, masks: Tensor) -> dict[str, Tensor]:
        """Return the mean cross-entropy of the classes, and that of the auxiliary ones, weighted.

        Raises:
            InputError: batch normalisation would see one value, of one image averaged over all of it.
        """
        if len(masks) == 1 and not any(isinstance(m, nn.SyncBatchNorm) for m in self.modules()):
            raise InputError("PSPNet learns from two images at a time or more; raise train.batch_size")
        losses = {"loss_pixels": pixel_loss(self.logits(features), masks)}
        if self.aux_scores is not None and self.aux_path is not None:
            losses["loss_aux"] = self.aux_weight * pixel_loss(self.aux_scores(features[self.aux_path]), masks)
        return losses

    def pixel_classes(
        self, features: Features, image_size: Size, sizes: list[Size], output_sizes: list[Size]
    ) -> list[tuple[Tensor, Tensor]]:
        probabilities = self.probabilities(features, image_size, sizes)
        return list(map(likeliest_of_probabilities, probabilities, output_sizes))

    def probabilities(
        self, features: Features, image_size: Size, true_sizes: Sequence[Size] | None = None
    ) -> list[Tensor]:
        """Return the probabilities of the classes, float [K, H, W] in the pixels of the unpadded image, an image.

        Args:
            features, image_size, true_sizes: as in :meth:`forward`.

        Raises:
            ValueError: the sizes do not fit the images.
        """
        logits = self.logits(features)
        sizes = unpadded_sizes(true_sizes, image_size, len(logits))
        maps = []
        for image, (height, width) in zip(logits, sizes, strict=True):
            whole = F.interpolate(image[None], size=image_size, mode="bilinear")[0]
            maps.append(whole[:, :height, :width].softmax(dim=0))
        return maps

    def logits(self, features: Features) -> Tensor:
        """Return the logits of the classes, [n, K, h, w], at the feature's size."""
        logits: Tensor = self.scores(self.pyramid(features[self.path]))
        return logits

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what segments one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`."""
        return DeployedPSPNet(self, image_size, feature_sizes[self.path])


class DeployedPSPNet(nn.Module):
    """PSPNet's inference for one image, without what deep supervision adds.

    Args:
        head: in evaluation mode; its modules are shared.
        image_size: (height, width) in pixels.
        feature_size: (height, width) of the path that it reads.
    """

    def __init__(self, head: PSPNet, image_size: Size, feature_size: Size) -> None:
        super().__init__()
        self.path, self.image_size = head.path, image_size
        self.bins = head.pyramid.bins
        height, width = feature_size
        self.register_buffer("rows", averaging_weights(height, self.bins), persistent=False)
        self.register_buffer("columns", averaging_weights(width, self.bins), persistent=False)
        self.rows: Tensor
        self.columns: Tensor
        self.projections = nn.ModuleList(level.get_submodule("1") for level in head.pyramid.levels)
        self.scores = head.scores

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Return ``segmentation`` uint8 [H, W], the likeliest class of each pixel, and ``confidence`` [H, W], how
        probable it is.

        Args:
            features: of one image, ``features[path]`` [1, C, h, w].
            covered: not read; all of the input is segmented.
        """
        feature = features[self.path]
        averages = grid_averages(feature, self.rows, self.columns, self.bins)
        pooled = [
            F.interpolate(project(average), size=feature.shape[-2:], mode="bilinear")
            for project, average in zip(self.projections, averages, strict=True)
        ]
        return likeliest_on_device(self.scores(torch.cat([feature, *pooled], dim=1)), self.image_size)


def pixel_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [n, K, h, w] over the pixels of masks, uint8 [n, H, W], but those of 255.

    The masks are sampled at the nearest pixels. Without a pixel that has a class the loss is 0.
    """
    sampled = F.interpolate(masks[:, None].float(), size=logits.shape[-2:], mode="nearest-exact")[:, 0].long()
    loss = F.cross_entropy(logits, sampled, ignore_index=IGNORE, reduction="sum")
    return loss / (sampled != IGNORE).sum().clamp(min=1)


def _pixel_classifier(in_channels: int, hidden_channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Build the layers from a feature to the logits of its pixels."""
    return nn.Sequential(
        ConvNormRelu(in_channels, hidden_channels, 3),
        nn.Dropout2d(dropout),
        nn.Conv2d(hidden_channels, num_classes, 1),
    )
