"""The backbone of FNA++: images to features on up to four paths, with timm's names for its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from timm.layers import get_act_layer
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_builder import efficientnet_init_weights
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fbnetv5.archs.cost import Cost
from fbnetv5.archs.families import STRIDES
from fbnetv5.archs.timm_networks import PREFIX
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.types import Size
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import Stem
from fbnetv5.projects.fna.blocks import block_cost, build_block, stem_cost
from fbnetv5.projects.fna.timm_architecture import timm_architecture, timm_network

ARCHITECTURES = Path(__file__).parent / "architectures"


def get_architecture(architecture: str | Mapping[str, Any]) -> Architecture:
    """Return an architecture from its content, from a YAML file, or by name: of a file, or a network of timm's.

    Raises:
        InputError: it cannot be read or describes none, or there is no such name.
    """
    if not isinstance(architecture, str):
        return Architecture.from_dict(dict(architecture))
    if architecture.endswith((".yaml", ".yml")):
        return Architecture.load(architecture)
    if is_timm_mobile(architecture):
        return timm_architecture(timm_network(architecture))
    known = _files()
    if architecture not in known:
        raise InputError(
            f"unknown architecture '{architecture}'{nearest(architecture, known)} (known: {', '.join(known)}; or a "
            "mobile network of timm's, such as mobilenetv2_100; or give a .yaml file)"
        )
    return Architecture.load(ARCHITECTURES / f"{architecture}.yaml")


def is_timm_mobile(name: str) -> bool:
    """Whether a name is of a network of timm's, and of no file of ``architectures/``."""
    return name.startswith(PREFIX) or (timm.is_model(name) and name not in _files())


def _files() -> list[str]:
    return sorted(path.stem for path in ARCHITECTURES.glob("*.yaml"))


class FNANetwork(nn.Module):
    """Images to features on the paths that the architecture has.

    Its parameters have the names of timm's module (``conv_stem``, ``blocks.1.0.conv_pw`` or ``layer1.0.conv1``, ...).

    Args:
        architecture: a YAML file, the name of one in ``architectures/`` or of a mobile network of timm's (such as
            ``mobilenetv2_100``), or its content.
        output_stride: 8, 16 or 32: strides beyond it become dilations.
        freeze_bn: batch normalisations stay in evaluation mode, and their scales and shifts as they are (Sec. 4.4).

    Attributes:
        architecture: with its nominal strides.
        channels: of the four paths; 0 where there is no such path.
        strides: of the four paths, with the output stride: path p has ``min(4 * 2**p, output_stride)``.

    Raises:
        InputError: the architecture cannot be read, or the output stride is another.
    """

    def __init__(self, architecture: str | Mapping[str, Any], output_stride: int = 32, freeze_bn: bool = False) -> None:
        super().__init__()
        self.architecture = get_architecture(architecture)
        self.output_stride = output_stride
        self.freeze_bn = freeze_bn
        self.channels = self.architecture.channels
        self.strides = tuple(min(stride, output_stride) for stride in STRIDES)
        self.built = self.architecture.dilated(output_stride)
        self._paths = {block.name: block.path for block in self.architecture.blocks()}
        add_stem(self, self.built.stem, self.built)
        for block in self.built.blocks():
            add_module(
                self,
                block.name,
                build_block(
                    block.spec, block.in_channels, activation=self.built.activation, bn_epsilon=self.built.bn_epsilon
                ),
            )
        init_weights(self, residual=self.built.is_residual)
        self.train()

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Compute the features.

        Args:
            images: ``[N, 3, H, W]``.

        Returns:
            Path to feature, ``[N, channels[path], H / strides[path], W / strides[path]]``, rounded up.
        """
        x = run_stem(self, images)
        features = {}
        for name, path in self._paths.items():
            x = self.get_submodule(name)(x)
            if path >= 0:
                features[path] = x  # the last block of a stride is the one that stays
        return features

    def train(self, mode: bool = True) -> FNANetwork:
        """Set the mode of the network; frozen batch normalisations stay in evaluation mode."""
        super().train(mode)
        if self.freeze_bn:
            for module in self.modules():
                if isinstance(module, _BatchNorm):  # of one process or synchronised
                    module.eval()
                    module.requires_grad_(False)
        return self

    def resolved_options(self) -> dict[str, Any]:
        """Return the options that rebuild the network without any file, as plain data."""
        return {
            "architecture": self.architecture.to_dict(),
            "output_stride": self.output_stride,
            "freeze_bn": self.freeze_bn,
        }

    def macs(self, size: Size) -> int:
        """Return the MACs of one image of ``size`` (height, width) in pixels."""
        return architecture_cost(self.architecture, size, self.output_stride).macs


def network_entry(architecture: Architecture, output_stride: int) -> dict[str, Any]:
    """Return ``model.network`` of a final model."""
    return {
        "_target_": f"{FNANetwork.__module__}.{FNANetwork.__name__}",
        "architecture": architecture.to_dict(),
        "output_stride": output_stride,
    }


def architecture_cost(architecture: Architecture, size: Size, output_stride: int = 32) -> Cost:
    """MACs and parameters of ``FNANetwork(architecture, output_stride)`` for images of ``size`` (height, width)."""
    cost, size = stem_cost(architecture.stem, size)
    for block in architecture.dilated(output_stride).blocks():
        added, size = block_cost(block.spec, block.in_channels, size)
        cost += added
    return cost


def add_stem(module: nn.Module, stem: Stem, style: Architecture) -> None:
    """Give a module the stem's layers, under timm's names for a ResNet or a mobile network."""
    conv = nn.Conv2d(3, stem.channels, stem.kernel, stride=2, padding=stem.kernel // 2, bias=False)
    act_layer = get_act_layer(style.activation)
    bn = BatchNormAct2d(stem.channels, eps=style.bn_epsilon, act_layer=act_layer)
    module.add_module(stem_conv_name(residual=style.is_residual), conv)
    module.add_module("bn1", bn)
    module.add_module("maxpool", nn.MaxPool2d(3, stride=2, padding=1) if stem.pool else nn.Identity())


def stem_conv_name(*, residual: bool) -> str:
    """Return timm's name of the first convolution; its batch normalisation is ``bn1`` in either."""
    return "conv1" if residual else "conv_stem"


def run_stem(module: nn.Module, images: Tensor) -> Tensor:
    """Return the output of a stem that :func:`add_stem` made, ``[N, C, H / 2, W / 2]`` or a half of that."""
    conv = "conv1" if hasattr(module, "conv1") else "conv_stem"
    for name in (conv, "bn1", "maxpool"):
        images = module.get_submodule(name)(images)
    return images


def add_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Add a module under a name with dots; what lies between is made of ``nn.Sequential``."""
    *parents, last = name.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Sequential())
        root = root.get_submodule(parent)
    root.add_module(last, module)


def init_weights(module: nn.Module, *, residual: bool) -> None:
    """Draw initial weights as timm does for the kind of network; the last BN of a ResNet's block starts with zeros."""
    if not residual:
        efficientnet_init_weights(module)
        return
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(child, (BasicBlock, Bottleneck)):
            child.zero_init_last()
