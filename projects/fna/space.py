"""Search spaces: of every layer of a backbone its candidate blocks (FNA++, Sec. 3.2.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from fbnetv5.base.types import Size
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import BlockSpec, Stem, dilate_layers
from fbnetv5.projects.fna.blocks import block_cost, has_shortcut, stem_cost

Candidate = BlockSpec | None
Layer = tuple[Candidate, ...]


@dataclass(frozen=True)
class Slot:
    """A layer that is searched: its place, and the candidates to choose from; None is the identity."""

    stage: int
    layer: int
    candidates: Layer


@dataclass(frozen=True)
class Space:
    """A search space; the layers with more than one candidate are its slots, in order.

    Attributes:
        name: of the space.
        seed: name of the architecture whose parameters it is made for.
        stem: the first convolution.
        stages: of each stage its layers, of each layer its candidates; None is the identity.
        activation, bn_epsilon: as in an architecture.
        output_stride: 8, 16 or 32, the one of its task; strides beyond it are dilations.

    Raises:
        ValueError: the candidates of a layer differ in their channels or strides, or one of them is an identity where
            the layer changes either.
    """

    name: str
    seed: str
    stem: Stem
    stages: tuple[tuple[Layer, ...], ...]
    activation: str = "relu"
    bn_epsilon: float = 1e-5
    output_stride: int = 32

    def __post_init__(self) -> None:
        in_channels = self.stem.channels
        for stage, layers in enumerate(self.stages):
            for index, candidates in enumerate(layers):
                where = f"space {self.name}: stage {stage}, layer {index}"
                block = _first_block(candidates)
                if block is None:
                    raise ValueError(f"{where} has no block among its candidates")
                for other in candidates:
                    if other is None and not has_shortcut(block, in_channels):
                        raise ValueError(f"{where} changes channels or size; it cannot be skipped")
                    if other is not None and (other.channels, other.stride) != (block.channels, block.stride):
                        raise ValueError(f"{where} has candidates of different channels or strides")
                in_channels = block.channels

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The layers with more than one candidate."""
        return tuple(
            Slot(stage, index, candidates)
            for stage, layers in enumerate(self.stages)
            for index, candidates in enumerate(layers)
            if len(candidates) > 1
        )

    @property
    def num_options(self) -> tuple[int, ...]:
        """Candidates of each slot, B numbers."""
        return tuple(len(slot.candidates) for slot in self.slots)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """A name for each slot, such as ``stage 1 / layer 0``."""
        return tuple(f"stage {slot.stage} / layer {slot.layer}" for slot in self.slots)

    @property
    def option_names(self) -> tuple[tuple[str, ...], ...]:
        """A short name for each candidate of each slot: ``k5e6``, ``k5g2`` or ``skip``."""
        return tuple(tuple(candidate_name(candidate) for candidate in slot.candidates) for slot in self.slots)

    @property
    def largest(self) -> Architecture:
        """The architecture with the first block of every layer: every layer is there."""
        return self._architecture([[_first_block(candidates) for candidates in layers] for layers in self.stages])

    def decode(self, choices: Sequence[int]) -> Architecture:
        """Return the architecture of one candidate a slot. Raises ValueError for choices that there are not."""
        chosen = zip(self.stages, self.choose(choices), strict=True)
        return self._architecture(
            [[layer[number] for layer, number in zip(layers, numbers, strict=True)] for layers, numbers in chosen]
        )

    def choose(self, choices: Sequence[int]) -> list[list[int]]:
        """Return the candidate of every layer, stage by stage. Raises ValueError for choices that there are not."""
        if len(choices) != len(self.num_options):
            raise ValueError(f"space {self.name} has {len(self.num_options)} slots, got {len(choices)} choices")
        for name, number, choice in zip(self.slot_names, self.num_options, choices, strict=True):
            if not 0 <= choice < number:
                raise ValueError(f"space {self.name}: {name} has options 0 to {number - 1}, got {choice}")
        remaining = iter(choices)
        return [[int(next(remaining)) if len(layer) > 1 else 0 for layer in layers] for layers in self.stages]

    def candidate_macs(self, size: Size, output_stride: int | None = None) -> tuple[tuple[int, ...], ...]:
        """MACs of each candidate of each slot for images of ``size`` (height, width); the identity's are 0 (eq. 9)."""
        return tuple(macs for macs in self._layer_macs(size, output_stride)[1:] if len(macs) > 1)

    def fixed_macs(self, size: Size, output_stride: int | None = None) -> int:
        """MACs of the stem and of the layers with a single candidate, for images of ``size`` (height, width)."""
        return sum(macs[0] for macs in self._layer_macs(size, output_stride) if len(macs) == 1)

    def dilated(self, output_stride: int | None = None) -> Space:
        """Return the space whose strides beyond the output stride are dilations; by default its own output stride."""
        output_stride = self.output_stride if output_stride is None else output_stride
        self.largest.dilated(output_stride)  # refuses output strides that there are not
        return dataclasses.replace(self, stages=dilate_layers(self.stages, self.stem.stride, output_stride))

    def _layer_macs(self, size: Size, output_stride: int | None) -> list[tuple[int, ...]]:
        """MACs of the stem and of every layer's candidates."""
        cost, size = stem_cost(self.stem, size)
        macs: list[tuple[int, ...]] = [(cost.macs,)]
        in_channels = self.stem.channels
        for layers in self.dilated(output_stride).stages:
            for candidates in layers:
                costs = [block_cost(block, in_channels, size) if block else None for block in candidates]
                macs.append(tuple(counted[0].macs if counted else 0 for counted in costs))
                size = next(counted[1] for counted in costs if counted)
                in_channels = next(block.channels for block in candidates if block)
        return macs

    def _architecture(self, chosen: Sequence[Sequence[Candidate]]) -> Architecture:
        stages = tuple(tuple(block for block in layers if block is not None) for layers in chosen)
        return Architecture(self.stem, stages, self.activation, self.bn_epsilon)


def _first_block(candidates: Layer) -> BlockSpec | None:
    return next((block for block in candidates if block is not None), None)


def candidate_name(candidate: Candidate) -> str:
    """Return a short name: ``k5e6`` for mobile blocks, ``k5g2`` for a ResNet's, ``skip`` for the identity."""
    if candidate is None:
        return "skip"
    if candidate.kind in ("basic", "bottleneck"):
        return f"k{candidate.kernel}g{candidate.groups}"
    return f"k{candidate.kernel}e{candidate.ratio:g}"
