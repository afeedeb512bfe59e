"""SimpleBaseline: keypoints by heatmaps."""

from fbnetv5.heads.simple_baseline.head import SimpleBaseline

__all__ = ["SimpleBaseline"]
