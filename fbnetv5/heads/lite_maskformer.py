"""Lite MaskFormer: semantic segmentation by mask classification (FBNetV5, Appendix G.1; MaskFormer, 2107.06278)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.data.multitask import SEGMENTATION
from fbnetv5.heads.mask_losses import MaskLossWeights, mask_losses
from fbnetv5.heads.sizes import Size, unpadded_sizes
from fbnetv5.heads.transformer import DecoderLayer, sine_positions
from fbnetv5.tasks.task import Features, TargetDict


class PixelDecoder(nn.Module):
    """One 3x3 convolution with group normalisation: a feature to an embedding of every pixel."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(32, channels)
        nn.init.kaiming_uniform_(self.conv.weight, a=1)

    def forward(self, feature: Tensor) -> Tensor:
        """Map [n, in_channels, h, w] to [n, channels, h, w]."""
        return F.relu(self.norm(self.conv(feature)))


class TransformerDecoder(nn.Module):
    """Learnt queries that look at the image in one layer of DETR's decoder."""

    def __init__(self, in_channels: int, channels: int, num_queries: int, hidden_channels: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, channels, 1)
        self.query_positions = nn.Parameter(torch.randn(num_queries, channels))
        self.layer = DecoderLayer(channels, 8, hidden_channels, dropout)
        self.norm = nn.LayerNorm(channels)
        for parameter in self.layer.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.kaiming_uniform_(self.project.weight, a=1)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, feature: Tensor) -> Tensor:
        """Map [n, in_channels, h, w] to embeddings of the segments, [n, Q, channels]."""
        tokens = self.project(feature)  # [n, C, h, w]
        channels, height, width = tokens.shape[1:]
        positions = sine_positions(height, width, channels, device=tokens.device)
        queries = torch.zeros_like(self.query_positions).expand(len(feature), -1, -1)
        updated = self.layer(queries, self.query_positions, tokens.flatten(2).transpose(1, 2), positions)
        embeddings: Tensor = self.norm(updated)
        return embeddings


class SegmentationModule(nn.Module):
    """Class scores of the segments, and their masks: the products of mask and pixel embeddings."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(channels, num_classes + 1)
        self.embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
        )

    def forward(self, segments: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map segments [n, Q, C] and pixels [n, C, h, w] to logits of classes [n, Q, K + 1] and masks [n, Q, h, w].

        The last class is "no object".
        """
        masks = self.embed(segments) @ pixels.flatten(2)
        return self.classify(segments).float(), masks.unflatten(2, pixels.shape[2:]).float()


class LiteMaskFormer(nn.Module):
    """Segmentation: pixels from path 1, segments from path 3.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of pixels, K.
        pixel_path: the path that the pixel decoder reads.
        segment_path: the path that the transformer decoder reads.
        embedding_channels: width of the embeddings, a multiple of 32.
        num_queries: segments that are looked for.
        hidden_channels: width of the transformer's feed-forward part.
        dropout: of the transformer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        pixel_path: int = 1,
        segment_path: int = 3,
        embedding_channels: int = 256,
        num_queries: int = 100,
        hidden_channels: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.pixel_path, self.segment_path = pixel_path, segment_path
        self.pixel_decoder = PixelDecoder(channels[pixel_path], embedding_channels)
        self.transformer_decoder = TransformerDecoder(
            channels[segment_path], embedding_channels, num_queries, hidden_channels, dropout
        )
        self.segmentation_module = SegmentationModule(embedding_channels, num_classes)

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Tensor]:
        """Return three losses (training), or a map of class ids, uint8 [H, W], an image (evaluation).

        Args:
            features: ``features[path]`` is [n, channels[path], h, w] for both paths.
            image_size: the images' common (height, width) in pixels.
            targets: n dicts with ``segmentation`` uint8 [height, width], 255 = ignore (and in the padding).
            true_sizes: what the images measured before they were padded; the maps are cropped to it.

        Raises:
            ValueError: the true sizes do not fit the images, or targets are missing in training.
        """
        pixels = self.pixel_decoder(features[self.pixel_path])
        segments = self.transformer_decoder(features[self.segment_path])
        class_logits, mask_logits = self.segmentation_module(segments, pixels)
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            segmentations = torch.stack([target[SEGMENTATION.name] for target in targets])
            return mask_losses(class_logits, mask_logits, segmentations, MaskLossWeights())
        sizes = unpadded_sizes(true_sizes, image_size, len(pixels))
        outputs = zip(class_logits, mask_logits, sizes, strict=True)
        return [_semantic_map(classes, masks, image_size, size) for classes, masks, size in outputs]


def _semantic_map(class_logits: Tensor, mask_logits: Tensor, image_size: Size, true_size: Size) -> Tensor:
    """Return the likeliest class of every pixel, uint8 [H, W] of ``true_size``, from [Q, K + 1] and [Q, h, w].

    A class has the sum over the queries of its probability times the query's mask (MaskFormer, section 3.4).
    """
    masks = F.interpolate(mask_logits[None], size=image_size, mode="bilinear", align_corners=False)[0]
    masks = masks[:, : true_size[0], : true_size[1]].sigmoid()
    scores = class_logits.softmax(dim=-1)[:, :-1].T @ masks.flatten(1)  # [K, H * W]
    return scores.argmax(dim=0).to(torch.uint8).unflatten(0, true_size)
