"""Models of transformers, of few weights and random ones, in folders as ``save_pretrained`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import ResNetConfig, SwinConfig

from fbnetv5.base.seeding import forked

NAMES = ("person", "N/A", "dog", "cat")
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
SIDE = {"height": 64, "width": 64}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2, "image_size": 64}
WIDE = {"d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _detr() -> tuple[Any, Any]:
    config = transformers.DetrConfig(
        backbone_config=ResNetConfig(**RESNET, out_features=["stage4"]),
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        num_queries=5,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        **WIDE,
        **LABELS,
    )
    size = {"shortest_edge": 64, "longest_edge": 96}
    return transformers.DetrForObjectDetection(config), transformers.DetrImageProcessor(size=size)


def _rt_detr() -> tuple[Any, Any]:
    config = transformers.RTDetrConfig(
        backbone_config=transformers.RTDetrResNetConfig(**RESNET, out_features=STAGES[1:]),
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        encoder_ffn_dim=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        num_queries=7,
        num_denoising=0,
        **WIDE,
        **LABELS,
    )
    return transformers.RTDetrForObjectDetection(config), transformers.RTDetrImageProcessor(size=SIDE)


def _segformer() -> tuple[Any, Any]:
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        **LABELS,
    )
    return transformers.SegformerForSemanticSegmentation(config), transformers.SegformerImageProcessor(size=SIDE)


def _maskformer() -> tuple[Any, Any]:
    decoder = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone_config=ResNetConfig(**RESNET),
        num_queries=6,
        decoder_layers=1,
        decoder_ffn_dim=16,
        **WIDE,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=SwinConfig(**SWIN, out_features=STAGES),
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=32,
        **LABELS,
    )
    size = {"shortest_edge": 64, "longest_edge": 96}
    return (
        transformers.MaskFormerForInstanceSegmentation(config),
        transformers.MaskFormerImageProcessor(size=size, size_divisor=32, ignore_index=255),
    )


def _mask2former() -> tuple[Any, Any]:
    config = transformers.Mask2FormerConfig(
        backbone_config=SwinConfig(**SWIN, out_features=STAGES),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        num_attention_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        num_queries=6,
        **LABELS,
    )
    return (
        transformers.Mask2FormerForUniversalSegmentation(config),
        transformers.Mask2FormerImageProcessor(size={"height": 384, "width": 384}),
    )


BUILDERS = {
    "detr": _detr,
    "rt_detr": _rt_detr,
    "segformer": _segformer,
    "maskformer": _maskformer,
    "mask2former": _mask2former,
}


def save_tiny(folder: Path, kind: str) -> tuple[Any, Any]:
    """Write a model and its image processor to ``folder``, and return both."""
    with forked(0):
        model, processor = BUILDERS[kind]()
        for name, parameter in model.named_parameters():
            if "queries" in name or "query_position" in name:
                torch.nn.init.normal_(parameter, std=3)
            elif parameter.dim() > 1 and "relative_position" not in name:
                torch.nn.init.xavier_normal_(parameter, gain=1.5)  # scores that differ
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor
