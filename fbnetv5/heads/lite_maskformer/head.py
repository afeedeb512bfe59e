"""Lite MaskFormer: semantic segmentation by mask classification (FBNetV5, Appendix G.1; MaskFormer, 2107.06278)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fbnetv5.base.types import Features, Size
from fbnetv5.heads.head import ascending_paths
from fbnetv5.heads.lite_maskformer.cost import (
    pixel_decoder_macs,
    segmentation_module_macs,
    transformer_decoder_macs,
)
from fbnetv5.heads.lite_maskformer.deployed import DeployedMaskFormer
from fbnetv5.heads.lite_maskformer.layers import PixelDecoder, SegmentationModule, TransformerDecoder
from fbnetv5.heads.lite_maskformer.losses import MaskLossWeights, mask_losses
from fbnetv5.heads.lite_maskformer.semantic import semantic_map
from fbnetv5.heads.segmentation_head import SegmentationHead


class LiteMaskFormer(SegmentationHead):
    """Segmentation: pixels from path 1, segments from path 3.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of pixels, K, at most 255.
        pixel_path: the path that the pixel decoder reads.
        segment_path: the path that the transformer decoder reads.
        embedding_channels: width of the embeddings, a multiple of 32.
        num_queries: segments that are looked for.
        hidden_channels: width of the transformer's feed-forward part.
        dropout: of the transformer.

    Attributes:
        across_ranks: whether losses are means over the masks of all processes, each of which must then compute them.
    """

    across_ranks = True

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
        super().__init__(num_classes)
        self.paths = ascending_paths(pixel_path, segment_path)
        self.pixel_path, self.segment_path = pixel_path, segment_path
        self.pixel_decoder = PixelDecoder(channels[pixel_path], embedding_channels)
        self.transformer_decoder = TransformerDecoder(
            channels[segment_path], embedding_channels, num_queries, hidden_channels, dropout
        )
        self.segmentation_module = SegmentationModule(embedding_channels, num_classes)

    def losses(self, features: Features, image_size: Size, masks: Tensor) -> dict[str, Tensor]:
        """Return MaskFormer's three losses."""
        class_logits, mask_logits = self.segments(features)
        return mask_losses(class_logits, mask_logits, masks, MaskLossWeights(), across_ranks=self.across_ranks)

    def pixel_classes(
        self, features: Features, image_size: Size, sizes: list[Size], output_sizes: list[Size]
    ) -> list[tuple[Tensor, Tensor]]:
        found = zip(*self.segments(features), sizes, output_sizes, strict=True)
        return [
            semantic_map(classes, masks, image_size=image_size, true_size=size, output_size=wanted)
            for classes, masks, size, wanted in found
        ]

    def segments(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return float32 logits of the queries' classes [n, Q, K + 1], the last for no object, and masks [n, Q, h, w].

        The masks have the size of ``features[pixel_path]``.
        """
        pixels = self.pixel_decoder(features[self.pixel_path])
        logits: tuple[Tensor, Tensor] = self.segmentation_module(
            self.transformer_decoder(features[self.segment_path]), pixels
        )
        return logits

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what segments one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`."""
        return DeployedMaskFormer(
            self.pixel_decoder,
            self.transformer_decoder,
            self.segmentation_module,
            paths=(self.pixel_path, self.segment_path),
            image_size=image_size,
            segment_size=feature_sizes[self.segment_path],
        )

    def no_weight_decay(self) -> set[str]:
        """Return the name of the query embedding, which MaskFormer does not decay."""
        return {"transformer_decoder.query_positions"}

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width); those of :meth:`segments`."""
        pixel_conv, classify = self.pixel_decoder.conv, self.segmentation_module.classify
        num_queries, channels = self.transformer_decoder.query_positions.shape
        pixels = pixel_decoder_macs(pixel_conv.in_channels, sizes[self.pixel_path], channels=channels)
        segments = transformer_decoder_macs(
            self.transformer_decoder.project.in_channels,
            sizes[self.segment_path],
            channels=channels,
            num_queries=num_queries,
            hidden_channels=self.transformer_decoder.layer.expand.out_features,
        )
        masks = segmentation_module_macs(
            sizes[self.pixel_path],
            num_classes=classify.out_features - 1,
            channels=channels,
            num_queries=num_queries,
        )
        return pixels + segments + masks
