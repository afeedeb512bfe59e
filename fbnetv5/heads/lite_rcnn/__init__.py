"""Lite R-CNN: its layers, losses, cost, and what it becomes on a device."""

from fbnetv5.heads.lite_rcnn.head import LiteRCNN

__all__ = ["LiteRCNN"]
