"""Layers of a network and families of them, as plain data: what modules, costs and topologies are computed from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from timm.layers import make_divisible

STRIDES = (4, 8, 16, 32)
NUM_PATHS = len(STRIDES)

Operator = Literal["conv", "ir", "expanded_ir", "edge", "universal"]
Activation = Literal["relu", "relu6", "hard_swish", "silu", "sigmoid", "hard_sigmoid"]


@dataclass(frozen=True)
class Layer:
    """One layer: a convolution or an inverted residual, each of its convolutions with BN.

    Attributes:
        operator: ``conv``, a convolution; ``ir``, an inverted residual (MBConv), without an expansion convolution at
            expansion 1; ``expanded_ir``, with one always; ``edge``, one whose expansion is the spatial convolution
            (Fused-MBConv); ``universal``, MobileNetV4's, which may have another depthwise convolution before it.
        kernel: of the spatial convolution; 0 where a ``universal`` has none after its expansion.
        in_channels, out_channels: of the layer.
        stride: of the spatial convolution.
        expansion: of the input's channels, in inverted residuals.
        squeeze_excite: whether there is one, in inverted residuals.
        padding: of the spatial (for inverted residuals the depthwise) convolution, in pixels on each side.
        start_kernel: of the depthwise convolution before a ``universal``'s expansion; 0 where there is none.
        activation: after all convolutions but an inverted residual's last.
        squeezed: width inside squeeze-excitation; None: a quarter of the layer's input, a multiple of 8 of at least
            95 % of it.
        squeeze_activation, gate: inside squeeze-excitation, and at its end.
        residual: whether the input is added to the output; None: in inverted residuals, wherever the shapes allow it.
        bn_epsilon: what BN adds to variances.
        pads_like_tensorflow: at stride 2 the spatial convolution is padded by as much as the size of the image needs,
            most of it on the right and below, in the place of ``padding``.
    """

    operator: Operator
    kernel: int
    in_channels: int
    out_channels: int
    stride: int
    expansion: float
    squeeze_excite: bool
    padding: int
    start_kernel: int = 0
    activation: Activation = "hard_swish"
    squeezed: int | None = None
    squeeze_activation: Activation = "hard_swish"
    gate: Activation = "hard_sigmoid"
    residual: bool | None = None
    bn_epsilon: float = 1e-5
    pads_like_tensorflow: bool = False

    @property
    def has_expansion(self) -> bool:
        """Whether a convolution of its own widens the input before the depthwise one."""
        return self.operator in ("expanded_ir", "universal") or (self.operator == "ir" and self.expansion != 1)

    @property
    def expanded_channels(self) -> int:
        """Width of the depthwise convolution: a multiple of 8, but the input's own width without an expansion."""
        if self.operator == "ir" and self.expansion == 1:
            return self.in_channels
        return int(make_divisible(self.in_channels * self.expansion))

    @property
    def squeezed_channels(self) -> int:
        """Width inside squeeze-excitation."""
        if self.squeezed is not None:
            return self.squeezed
        return int(make_divisible(self.in_channels / 4, round_limit=0.95))

    @property
    def spatial_kernel(self) -> int:
        """Side of the kernel that the stride and the padding belong to; 1 where no convolution is larger."""
        return self.kernel or self.start_kernel or 1

    @property
    def has_residual(self) -> bool:
        """Whether the input is added to the output."""
        if self.stride != 1 or self.in_channels != self.out_channels:
            return False
        return self.operator != "conv" if self.residual is None else self.residual

    def widened(self, channels: int) -> Layer:
        """Return the layer from and to ``channels`` at stride 1, as a block has it, its input added to its output."""
        squeezed = None if self.squeezed is None else max(1, round(self.squeezed * channels / self.in_channels))
        return dataclasses.replace(
            self,
            in_channels=channels,
            out_channels=channels,
            stride=1,
            padding=self.spatial_kernel // 2,
            squeezed=squeezed,
            residual=True if self.operator == "conv" else None,
        )


@dataclass(frozen=True)
class Family:
    """A trunk in four partitions, whose features have strides 4, 8, 16 and 32.

    Attributes:
        name: as in ``model.family``.
        input_size: side, in pixels, of the square image that the family is published for.
        partitions: the layers of each.
        timm_network: the network of timm's whose first layers the trunk has, and whose weights fit; None: none does.
    """

    name: str
    input_size: int
    partitions: tuple[tuple[Layer, ...], ...]
    timm_network: str | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the feature on each of the four paths."""
        return tuple(partition[-1].out_channels for partition in self.partitions)

    def block(self, path: int) -> tuple[Layer, ...]:
        """Return the two layers of a block of stage 1 and later on ``path`` (0..3).

        They are the last two of the partition, at stride 1, between the partition's output channels (FBNetV5,
        Listing 2).
        """
        layers = self.partitions[path]
        return tuple(layers[index].widened(self.channels[path]) for index in self.block_sources(path))

    def block_sources(self, path: int) -> tuple[int, int]:
        """Return which layers of the partition the two of a block on ``path`` are made after.

        They are the last two; or the last one twice, where there is no other or the other one reads the image.
        """
        last, first = len(self.partitions[path]) - 1, 1 if path == 0 else 0
        return max(last - 1, first), last
