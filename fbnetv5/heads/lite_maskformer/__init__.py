"""Lite MaskFormer: its layers, losses, cost, and what it becomes on a device."""

from fbnetv5.heads.lite_maskformer.head import LiteMaskFormer

__all__ = ["LiteMaskFormer"]
