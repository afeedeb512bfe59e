"""Image classification: a class per image, from path 3 (FBNetV5, Appendix F.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.types import LABEL, Features, Size, Target, TargetDict
from fbnetv5.heads.classifier import MBPoolClassifier
from fbnetv5.heads.label_head import class_ids


@dataclass(frozen=True)
class Classification:
    """Classification with FBNetV3's head, cross-entropy over the classes of ``label``."""

    path: int = 3
    hidden_channels: int = 1984
    target: Target = LABEL

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        """Build the head for ``channels[path]`` input channels and the given classes."""
        return ClassificationSearchHead(self, channels[self.path], len(classes))


class ClassificationSearchHead(nn.Module):
    """MBPool + FC, and its loss."""

    def __init__(self, task: Classification, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.task = task
        self.classifier = MBPoolClassifier(in_channels, num_classes, hidden_channels=task.hidden_channels)

    def forward(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return the mean cross-entropy of the n images, for features [n, C, h, w]."""
        logits = self.classifier(features[self.task.path])  # [n, K]
        return F.cross_entropy(logits, class_ids(targets, self.task.target.name, logits.device))
