"""Base of heads that give an image one class: the average over the image, the losses, and the probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL, Features, Size, Target, TargetDict
from fbnetv5.heads.sizes import unpadded_sizes

TEACHER_LABEL = "teacher_label"  # int: the class that a teacher sees in the image


class LabelHead(nn.Module, ABC):
    """Classification: a class an image, from the mean of maps over the part of the input that the image covers.

    A head of this kind says how it comes from features to :meth:`maps`, and from their means to :meth:`logits`.

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
            image_size, true_sizes: as there; what is padding is not averaged.
            output_sizes: not read; a class has no size.

        Raises:
            ValueError: targets are missing in training.
        """
        maps = self.maps(features)
        sizes = unpadded_sizes(true_sizes, image_size, len(maps))
        is_padded = any(size != tuple(image_size) for size in sizes)
        logits = self.logits(covered_mean(maps, image_size, torch.tensor(sizes) if is_padded else None))
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
    def maps(self, features: Features) -> Tensor:
        """Return what is averaged, [n, C, h, w]; ``features[path]`` is [n, channels[path], h, w]."""

    @abstractmethod
    def logits(self, means: Tensor) -> Tensor:
        """Return the classes' logits, [n, K], for the means of the maps, [n, C, 1, 1]."""

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what classifies one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`."""
        return DeployedLabelHead(self, image_size)

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()


class DeployedLabelHead(nn.Module):
    """A classifier's inference for one image of ``image_size``."""

    def __init__(self, head: LabelHead, image_size: Size) -> None:
        super().__init__()
        self.classifier = head
        self.image_size = image_size

    def forward(self, features: Features, covered: Tensor | None) -> dict[str, Tensor]:
        """Map the features of one image to ``scores`` [K], the probabilities.

        Args:
            features: by path, [1, C, h, w].
            covered: (height, width) of the input that the image covers, float [2]; None where it covers all of it.
        """
        sizes = None if covered is None else covered[None]
        means = covered_mean(self.classifier.maps(features), self.image_size, sizes)
        return {"scores": self.classifier.logits(means).softmax(dim=1)[0]}


def covered_mean(maps: Tensor, image_size: Size, covered: Tensor | None) -> Tensor:
    """Return the means of maps [n, C, h, w] over the cells that images cover some of, [n, C, 1, 1].

    Args:
        maps: of images of ``image_size`` (height, width).
        covered: (height, width) of it that each image covers, [n, 2], from the upper left corner; None where all is.
    """
    if covered is None:
        return maps.mean(dim=(2, 3), keepdim=True)
    covered = covered.to(maps.device, torch.float32, non_blocking=True).clamp(min=1)  # of nothing there is no mean
    rows, columns = (
        (torch.arange(cells, device=maps.device) * side < covered[:, axis, None] * cells).to(maps.dtype)
        for axis, (cells, side) in enumerate(zip(maps.shape[-2:], image_size, strict=True))
    )  # [n, h] and [n, w], 1 or 0
    inside = rows[:, None, :, None] * columns[:, None, None, :]
    return (maps * inside).mean(dim=(2, 3), keepdim=True) / inside.mean(dim=(2, 3), keepdim=True)


def class_ids(targets: list[TargetDict], name: str, device: torch.device) -> Tensor:
    """Return what stands under ``name`` in n targets, int64 [n], on a device that is not waited for."""
    return torch.tensor([target[name] for target in targets]).to(device, non_blocking=True)
