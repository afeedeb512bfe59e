"""MobileNetV2's classifier (1801.04381, Table 2): one 1x1 convolution, the average over the image, one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.models._efficientnet_blocks import ConvBnAct
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.cost import Size, conv_cost
from fbnetv5.data.multitask import LABEL, Target
from fbnetv5.errors import InputError
from fbnetv5.heads.classifier import TEACHER_LABEL
from fbnetv5.heads.head import ascending_paths
from fbnetv5.tasks.task import Features, TargetDict

HIDDEN_CHANNELS = 1280


class PooledClassifier(nn.Module):
    """Classification: a class an image.

    Args:
        channels: of the features, one number a path.
        num_classes: K.
        path: the path read.
        hidden_channels: that the feature is averaged at.
        dropout: probability of dropping a number before the last layer.
        label_smoothing: share of a label that is spread over all classes, below 1.
    """

    target: Target = LABEL

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        path: int = 3,
        hidden_channels: int = HIDDEN_CHANNELS,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing} is not in [0, 1)")
        self.paths = ascending_paths(path)
        self.label_smoothing = label_smoothing
        self.expand = ConvBnAct(channels[path], hidden_channels, 1, act_layer=nn.ReLU6)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(hidden_channels, num_classes)
        efficientnet_init_weights(self)

    def forward(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Tensor]:
        """Return the losses (training), or the probabilities of the classes, float [K], an image (evaluation).

        Args:
            features: ``features[path]`` is [n, channels[path], h, w].
            targets: n dicts with ``label``, and all or none with ``teacher_label``; both int, 0..K-1. Label and teacher
                weigh half each.
            image_size, true_sizes, output_sizes: not read; a class has no size.

        Raises:
            ValueError: targets are missing in training.
        """
        logits = self.logits(features[self.paths[0]])
        if not self.training:
            return list(logits.softmax(dim=1))
        if targets is None:
            raise ValueError("training needs targets")
        loss = F.cross_entropy(logits, _classes(targets, LABEL.name, logits), label_smoothing=self.label_smoothing)
        if TEACHER_LABEL not in targets[0]:
            return {"loss_label": loss}
        teacher = F.cross_entropy(logits, _classes(targets, TEACHER_LABEL, logits))
        return {"loss_label": 0.5 * loss, "loss_teacher": 0.5 * teacher}

    def logits(self, feature: Tensor) -> Tensor:
        """Map [n, channels[path], h, w] to the classes' logits, [n, K]."""
        logits: Tensor = self.classify(self.dropout(self.expand(feature).mean(dim=(2, 3))))
        return logits

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what classifies one image on a device; see :class:`fbnetv5.heads.deployed.DeployableHead`."""
        return DeployedPooledClassifier(self)

    def no_weight_decay(self) -> set[str]:
        """Return no names: all weights are decayed."""
        return set()

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width)."""
        expand, classify = self.expand.conv, self.classify
        return pooled_classifier_macs(
            expand.in_channels, classify.out_features, sizes[self.paths[0]], hidden_channels=expand.out_channels
        )


class DeployedPooledClassifier(nn.Module):
    """The classifier's inference for one image."""

    def __init__(self, head: PooledClassifier) -> None:
        super().__init__()
        (self.path,) = head.paths
        self.expand, self.classify = head.expand, head.classify

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Map the features of one image, ``features[path]`` [1, C, h, w], to ``scores`` [K], the probabilities."""
        logits = self.classify(self.expand(features[self.path]).mean(dim=(2, 3)))
        return {"scores": logits.softmax(dim=1)[0]}


def pooled_classifier_macs(
    in_channels: int, num_classes: int, size: Size, *, hidden_channels: int = HIDDEN_CHANNELS
) -> int:
    """Return the MACs of a ``PooledClassifier`` on a feature of ``size`` (height, width)."""
    expand = conv_cost(in_channels=in_channels, out_channels=hidden_channels, size=size)
    return (expand + conv_cost(in_channels=hidden_channels, out_channels=num_classes, size=(1, 1))).macs


def _classes(targets: list[TargetDict], name: str, logits: Tensor) -> Tensor:
    return torch.tensor([target[name] for target in targets], device=logits.device)
