"""Networks of timm's with random weights and statistics, for tests of what is read off them."""

from __future__ import annotations

import timm
import torch
from torch import nn

EPSILON = {"fbnetc_100": 1e-3}  # as timm sets it with its pretrained weights


def random_model(name: str, **options: bool) -> nn.Module:
    """timm's network in evaluation mode, whose BN statistics and scales are random too; it keeps features in range."""
    torch.manual_seed(0)
    epsilon = {"bn_eps": EPSILON[name]} if name in EPSILON else {}
    model = timm.create_model(name, **epsilon, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model
