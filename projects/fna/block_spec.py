"""Stems and blocks as plain data, and their dilation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers import make_divisible

from fbnetv5.archs.dilation import dilate
from fbnetv5.base.errors import nearest

MOBILE_KINDS = ("separable", "mbconv")
RESIDUAL_KINDS = ("basic", "bottleneck")
KINDS = MOBILE_KINDS + RESIDUAL_KINDS
DEFAULT_EXPANSIONS = {"separable": 1.0, "mbconv": 6.0, "basic": 1.0, "bottleneck": 0.25}


@dataclass(frozen=True)
class BlockSpec:
    """One block, apart from the channels of its input.

    The *searched convolution* is the depthwise one of ``separable`` and ``mbconv``, the first one of ``basic`` and the
    middle one of ``bottleneck`` (FNA++, Fig. 3).

    Attributes:
        kind: ``separable`` (depthwise and pointwise convolution), ``mbconv`` (inverted residual), ``basic`` or
            ``bottleneck`` (of a ResNet).
        channels: of the output.
        kernel: side of the searched convolution's kernel, odd.
        expansion: inner channels as a multiple of the input's (``mbconv``) or the output's (``basic``, ``bottleneck``);
            None: 6 for ``mbconv``, 1 for ``basic`` and ``separable``, 0.25 for ``bottleneck``.
        stride: 1 or 2.
        dilation: of the searched convolution.
        second_dilation: of the second convolution of ``basic``; 0 means ``dilation``.
        groups: of the searched convolution of ``basic`` and ``bottleneck``.

    Raises:
        ValueError: a value that no such block can have; the message starts with the attribute.
    """

    kind: str
    channels: int
    kernel: int = 3
    expansion: float | None = None
    stride: int = 1
    dilation: int = 1
    second_dilation: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: unknown kind '{self.kind}'{nearest(str(self.kind), KINDS)} ({', '.join(KINDS)})")
        if self.expansion is None:
            object.__setattr__(self, "expansion", self.ratio)
        lowest = {"channels": 1, "kernel": 1, "stride": 1, "dilation": 1, "second_dilation": 0, "groups": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
        if not isinstance(self.expansion, (int, float)) or isinstance(self.expansion, bool) or self.expansion <= 0:
            raise ValueError(f"expansion: expected a number above 0, got {self.expansion!r}")
        if self.kind == "separable" and self.expansion != 1:
            raise ValueError(f"expansion: a separable block has none, got {self.expansion}; its kind may be mbconv")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, got {self.kernel}")
        if self.stride > 2:
            raise ValueError(f"stride: expected 1 or 2, got {self.stride}")
        if self.kind in MOBILE_KINDS and self.groups != 1:
            raise ValueError(f"groups: a {self.kind} block has a depthwise convolution; leave groups out")

    @property
    def ratio(self) -> float:
        """The expansion, with its default."""
        return DEFAULT_EXPANSIONS[self.kind] if self.expansion is None else self.expansion

    def inner_channels(self, in_channels: int) -> int:
        """Return the width between the block's convolutions, for an input of ``in_channels``."""
        if self.kind == "separable":
            return in_channels
        if self.kind == "mbconv":
            return int(make_divisible(in_channels * self.ratio))
        return max(1, round(self.channels * self.ratio))

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults, as plain data."""
        document: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            default = DEFAULT_EXPANSIONS[self.kind] if field.name == "expansion" else field.default
            if value != default:
                document[field.name] = int(value) if field.name == "expansion" and value == int(value) else value
        return document


@dataclass(frozen=True)
class Stem:
    """The first convolution, of stride 2, and perhaps a 3x3 max pooling of stride 2 after it.

    Attributes:
        channels: of the output.
        kernel: side of the kernel, odd.
        pool: whether there is a pooling, as in a ResNet.

    Raises:
        ValueError: a value that no stem can have; the message starts with the attribute.
    """

    channels: int
    kernel: int = 3
    pool: bool = False

    def __post_init__(self) -> None:
        for name in ("channels", "kernel"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, got {self.kernel}")
        if not isinstance(self.pool, bool):
            raise ValueError(f"pool: expected true or false, got {self.pool!r}")

    @property
    def stride(self) -> int:
        """Stride of the output: 2 or, with the pooling, 4."""
        return 4 if self.pool else 2


def dilate_layers(
    stages: Sequence[Sequence[Sequence[BlockSpec | None]]], stride: int, output_stride: int
) -> tuple[tuple[tuple[BlockSpec | None, ...], ...], ...]:
    """Return stages of layers, of each its candidates, whose strides beyond an output stride are dilations.

    Args:
        stages: candidates of one layer have one stride; None is the identity.
        stride: of the input.
        output_stride: beyond which strides become dilations.
    """
    dilation = 1
    changed: list[list[tuple[BlockSpec | None, ...]]] = []
    for layers in stages:
        changed.append([])
        for candidates in layers:
            first = next(block for block in candidates if block is not None)
            kept, after = dilate(first.stride, stride, dilation, output_stride)
            changed[-1].append(tuple(block and _dilated(block, kept, dilation, after) for block in candidates))
            stride, dilation = stride * kept, after
    return tuple(map(tuple, changed))


def _dilated(spec: BlockSpec, stride: int, dilation: int, after: int) -> BlockSpec:
    """Return a block with another stride, on an input of ``dilation``; ``after`` is that of its output."""
    second = (spec.second_dilation or spec.dilation) * after if spec.kind == "basic" else 0
    return dataclasses.replace(
        spec,
        stride=stride,
        dilation=spec.dilation * dilation,
        second_dilation=0 if second == spec.dilation * dilation else second,
    )
