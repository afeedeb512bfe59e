from __future__ import annotations

import torch
from torch.nn import functional as F

from fbnetv5.heads.classifier import MBPoolClassifier


def test_classifier_against_its_definition():
    """Expand, average, hidden layer, scores: written out with torch's functions (BN at its initial statistics)."""
    torch.manual_seed(0)
    head = MBPoolClassifier(in_channels=6, num_classes=5, expansion=3, hidden_channels=7).eval()
    feature = torch.randn(2, 6, 4, 3)
    expanded = F.hardswish(F.conv2d(feature, head.expand.conv.weight) / (1 + 1e-5) ** 0.5)
    hidden = F.hardswish(expanded.mean((2, 3)) @ head.hidden.weight[:, :, 0, 0].T)
    logits = hidden @ head.classify.weight.T + head.classify.bias
    assert head.expand.conv.out_channels == 18
    assert head(feature).shape == (2, 5)
    assert torch.allclose(head(feature), logits, atol=1e-5)
