"""Lite MaskFormer as it runs on a device: one image of a fixed size to a map of class ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fbnetv5.base.types import Features, Size
from fbnetv5.heads.lite_maskformer.layers import PixelDecoder, SegmentationModule, TransformerDecoder
from fbnetv5.heads.lite_maskformer.semantic import semantic_map
from fbnetv5.heads.lite_maskformer.transformer import sine_positions


class DeployedMaskFormer(nn.Module):
    """Lite MaskFormer's inference for one image; the positions' encoding is a constant.

    Args:
        pixel_decoder, transformer_decoder, segmentation_module: of the head, in evaluation mode; they are shared.
        paths: that the two decoders read.
        image_size: (height, width) in pixels.
        segment_size: (height, width) of the feature that the transformer reads.
    """

    def __init__(
        self,
        pixel_decoder: PixelDecoder,
        transformer_decoder: TransformerDecoder,
        segmentation_module: SegmentationModule,
        *,
        paths: tuple[int, int],
        image_size: Size,
        segment_size: Size,
    ) -> None:
        super().__init__()
        self.pixel_path, self.segment_path = paths
        self.pixel_decoder, self.transformer_decoder = pixel_decoder, transformer_decoder
        self.segmentation_module = segmentation_module
        self.image_size = image_size
        channels = transformer_decoder.query_positions.shape[1]
        self.register_buffer("positions", sine_positions(*segment_size, channels), persistent=False)
        self.positions: Tensor

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Return ``segmentation`` uint8 [H, W], the likeliest class of each pixel, and ``confidence`` [H, W], how
        probable it is.

        Args:
            features: of one image, ``features[path]`` [1, C, h, w] for both paths.
            covered: not read; all of the input is segmented.
        """
        pixels = self.pixel_decoder(features[self.pixel_path])
        segments = self.transformer_decoder(features[self.segment_path], self.positions)
        class_logits, mask_logits = self.segmentation_module(segments, pixels)
        classes, confidence = semantic_map(
            class_logits[0],
            mask_logits[0],
            image_size=self.image_size,
            true_size=self.image_size,
            output_size=self.image_size,
        )
        return {"segmentation": classes.to(torch.uint8), "confidence": confidence}
