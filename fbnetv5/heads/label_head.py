"""Base of heads that give an image one class: the losses, and the probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL, Features, Size, Target, TargetDict

TEACHER_LABEL = "teacher_label"  # int: the class that a teacher sees in the image


class LabelHead(nn.Module, ABC):
    """Classification: a class an image. A head of this kind says how it comes from features to :meth:`logits`.

    Args:
        label_smoothing: share of a label that is spread over all classes, below 1.
    """

    target: Target = LABEL
    paths: tuple[int, ...]

    def __init__(self, label_smoothing: float) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing} is not in [0, 1)")
        self.label_smoothing = label_smoothing

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Tensor]:
        """Return the losses (training), or the probabilities of the classes, float [K], an image (evaluation).

        Where the targets hold ``teacher_label``, label and teacher weigh half each (hard distillation; DeiT,
        2012.12877, with one classifier for both), and labels alone are smoothed.

        Args:
            features: as in :class:`~fbnetv5.heads.head.Head`.
            targets: n dicts with ``label``, and all or none with ``teacher_label``; both int, 0..K-1.
            image_size, true_sizes, output_sizes: not read; a class has no size.

        Raises:
            ValueError: targets are missing in training.
        """
        logits = self.logits(features)
        if not self.training:
            return list(logits.softmax(dim=1))
        if targets is None:
            raise ValueError("training needs targets")
        labels = class_ids(targets, LABEL.name, logits.device)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if TEACHER_LABEL not in targets[0]:
            return {"loss_label": loss}
        teacher = F.cross_entropy(logits, class_ids(targets, TEACHER_LABEL, logits.device))
        return {"loss_label": 0.5 * loss, "loss_teacher": 0.5 * teacher}

    @abstractmethod
    def logits(self, features: Features) -> Tensor:
        """Return the classes' logits, [n, K], for features of which ``features[path]`` is [n, channels[path], h, w]."""

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()


def class_ids(targets: list[TargetDict], name: str, device: torch.device) -> Tensor:
    """Return what stands under ``name`` in n targets, int64 [n], on a device that is not waited for."""
    return torch.tensor([target[name] for target in targets]).to(device, non_blocking=True)
