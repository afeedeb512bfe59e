"""The classifier of the final models: MobileNetV2's, with labels and teachers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.projects.fpnas.heads.classifier import PooledClassifier

CHANNELS = (0, 4, 6, 8)


def test_a_class_is_the_likeliest_of_the_averaged_feature():
    torch.manual_seed(0)
    head = PooledClassifier(CHANNELS, 3, hidden_channels=16).eval()
    feature = torch.randn(2, 8, 4, 5)
    expected = head.classify(head.expand(feature).mean(dim=(2, 3))).softmax(dim=1)
    assert torch.equal(torch.stack(head({3: feature}, (32, 40))), expected)
    torch.testing.assert_close(head.deployed((32, 40), ())({3: feature[:1]}, None)["scores"], expected[0])


def test_labels_and_a_teacher_weigh_half_each_and_labels_are_smoothed():
    head = PooledClassifier(CHANNELS, 3, hidden_channels=16, label_smoothing=0.1)
    feature = torch.randn(2, 8, 4, 4)
    losses = head({3: feature}, (32, 32), [{"label": 0, "teacher_label": 1}, {"label": 2, "teacher_label": 2}])
    logits = head.classify(head.expand(feature).mean(dim=(2, 3)))
    torch.testing.assert_close(
        losses["loss_label"], 0.5 * F.cross_entropy(logits, torch.tensor([0, 2]), label_smoothing=0.1)
    )
    torch.testing.assert_close(losses["loss_teacher"], 0.5 * F.cross_entropy(logits, torch.tensor([1, 2])))


def test_macs_agree_with_fvcore():
    head = PooledClassifier(CHANNELS, 3, path=2, hidden_channels=16).eval()
    sizes = [(0, 0), (12, 10), (6, 5), (3, 3)]

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, feature: torch.Tensor) -> list[torch.Tensor]:
            return self.head({2: feature}, (24, 20))

    assert head.macs(sizes) == measured_macs(Alone(), torch.zeros(1, 6, 6, 5)) == 6 * 16 * 30 + 16 * 3


def test_wrong_options_are_said():
    with pytest.raises(InputError, match=r"label_smoothing=1\.0 is not in"):
        PooledClassifier(CHANNELS, 3, label_smoothing=1.0)
    with pytest.raises(ValueError, match="training needs targets"):
        PooledClassifier(CHANNELS, 3)({3: torch.zeros(2, 8, 2, 2)}, (8, 8))
