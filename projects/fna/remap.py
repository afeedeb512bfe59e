"""Parameter remapping of whole networks (FNA++, Sec. 3.1 and 3.2): seed to target, to super network, and from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fbnetv5.archs.remap import first_channels, remap_outputs
from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.architecture import Architecture, PlacedBlock, block_name
from fbnetv5.projects.fna.block_spec import Stem
from fbnetv5.projects.fna.blocks import has_shortcut
from fbnetv5.projects.fna.network import stem_conv_name
from fbnetv5.projects.fna.remap_blocks import Shaped, Strategy, identity_block, remap_block, remap_bn
from fbnetv5.projects.fna.remap_tensors import remap_kernel
from fbnetv5.projects.fna.space import Space
from fbnetv5.projects.fna.weights import block_shapes, network_shapes, select_weights

__all__ = [
    "Strategy",
    "candidate_prefix",
    "collect_from_super_network",
    "remap_network",
    "remap_to_super_network",
    "source_index",
]


def remap_network(
    weights: Mapping[str, Tensor], seed: Architecture, target: Architecture, strategy: Strategy | None = None
) -> dict[str, Tensor]:
    """Return the state dict of ``FNANetwork(target)`` from that of the seed (eq. 1 to 6); the tensors are copies.

    Args:
        weights: of the seed, by name; others may be among them.
        seed, target: the architectures.
        strategy: how; by default FNA++'s.

    Raises:
        InputError: blocks of the two cannot be matched, or entries of the seed are missing or misshapen.
    """
    return _Remapper(weights, seed, strategy or Strategy()).network(target)


def remap_to_super_network(
    weights: Mapping[str, Tensor], seed: Architecture, space: Space, strategy: Strategy | None = None
) -> dict[str, Tensor]:
    """Return the state dict of ``SuperNetwork(space)``: all candidates of a layer come from one block of the seed.

    For arguments and errors see :func:`remap_network`.
    """
    return _Remapper(weights, seed, strategy or Strategy()).super_network(space)


def collect_from_super_network(
    weights: Mapping[str, Tensor], space: Space, choices: Sequence[int], origin: str | Path = "the super network"
) -> dict[str, Tensor]:
    """Return the state dict of ``FNANetwork(space.decode(choices))``, the chosen candidates' tensors (Sec. 3.2.3).

    Args:
        weights: of the super network, by name; others may be among them.
        space: of the super network.
        choices: of each slot its candidate.
        origin: of the weights, for messages.

    Raises:
        InputError: entries are missing or misshapen.
        ValueError: choices that there are not.
    """
    target = space.decode(choices)
    chosen = [
        (stage, layer, number)
        for stage, numbers in enumerate(space.choose(choices))
        for layer, number in enumerate(numbers)
        if space.stages[stage][layer][number] is not None
    ]
    theirs: dict[str, str] = {}
    for block, (stage, layer, number) in zip(target.blocks(), chosen, strict=True):
        prefix = candidate_prefix(stage, layer, number, residual=target.is_residual)
        theirs |= {f"{block.name}.{name}": f"{prefix}.{name}" for name in block_shapes(block.spec, block.in_channels)}
    shapes = network_shapes(target)
    needed = {theirs.get(name, name): shape for name, shape in shapes.items()}  # the stem's names are the same
    selected = select_weights(weights, needed, origin)
    return {name: selected[theirs.get(name, name)].clone() for name in shapes}


def candidate_prefix(stage: int, layer: int, candidate: int, *, residual: bool) -> str:
    """Return the prefix of a candidate's tensors in a super network, without a dot at its end."""
    return f"{block_name(stage, layer, residual=residual)}.candidates.{candidate}"


def source_index(index: int, num_source: int) -> int:
    """Return which of a stage's ``num_source`` blocks block ``index`` (both from 0) is remapped from (eq. 1)."""
    return min(index, num_source - 1)


class _Remapper:
    """A seed with its weights checked, from which networks take theirs."""

    def __init__(self, weights: Mapping[str, Tensor], seed: Architecture, strategy: Strategy) -> None:
        self.seed = seed
        self.strategy = strategy
        self.rng = torch.Generator().manual_seed(strategy.seed)
        self.weights = select_weights(weights, network_shapes(seed), "the seed")
        self.stages: list[list[PlacedBlock]] = [[] for _ in seed.stages]
        for block in seed.blocks():
            self.stages[block.stage].append(block)

    def network(self, target: Architecture) -> dict[str, Tensor]:
        self._check(target)
        remapped = self._stem(target.stem)
        for block in target.blocks():
            shaped = Shaped(block.spec, block.in_channels, block.name)
            remapped |= _under(block.name, self._block(block.stage, block.index, shaped))
        return remapped

    def super_network(self, space: Space) -> dict[str, Tensor]:
        largest = space.largest
        self._check(largest)
        remapped = self._stem(space.stem)
        for block in largest.blocks():
            for number, candidate in enumerate(space.stages[block.stage][block.index]):
                if candidate is None:
                    continue
                prefix = candidate_prefix(block.stage, block.index, number, residual=largest.is_residual)
                shaped = Shaped(candidate, block.in_channels, prefix)
                remapped |= _under(prefix, self._block(block.stage, block.index, shaped))
        return remapped

    def _check(self, target: Architecture) -> None:
        """Refuse a target that no block of the seed fits, or that computes something else with the same weights."""
        if len(target.stages) != len(self.seed.stages):
            raise InputError(
                f"the seed has {len(self.seed.stages)} stages of blocks, the target {len(target.stages)}; they are "
                "remapped stage by stage and must be as many"
            )
        if target.is_residual != self.seed.is_residual:
            kinds = ("mobile", "ResNet")
            raise InputError(
                f"the seed has {kinds[self.seed.is_residual]} blocks, the target {kinds[target.is_residual]} blocks"
            )
        for name, theirs, ours in (
            ("activation", self.seed.activation, target.activation),
            ("bn_epsilon", self.seed.bn_epsilon, target.bn_epsilon),
            ("stem.pool", self.seed.stem.pool, target.stem.pool),
        ):
            if theirs != ours:
                raise InputError(f"{name} is {theirs} in the seed and {ours} in the target; they must agree")

    def _stem(self, stem: Stem) -> dict[str, Tensor]:
        name = f"{stem_conv_name(residual=self.seed.is_residual)}.weight"
        channels = first_channels(self.seed.stem.channels, stem.channels)
        weight = remap_kernel(remap_outputs(self.weights[name], channels), stem.kernel)
        return {name: weight} | remap_bn(self.weights, "bn1", channels)

    def _block(self, stage: int, index: int, target: Shaped) -> dict[str, Tensor]:
        """Return the tensors of block ``index`` of a stage, by the names within it."""
        blocks = self.stages[stage]
        is_new = index >= len(blocks)
        if is_new and self.strategy.depth == "net2deeper" and has_shortcut(target.spec, target.in_channels):
            return identity_block(target, self.rng)
        if not blocks:
            raise InputError(f"stage {stage} of the seed has no block to remap to {target.name}")
        source = blocks[source_index(index, len(blocks))]
        self._check_repeat(source, is_new, target, len(blocks))
        local = {name: self.weights[f"{source.name}.{name}"] for name in block_shapes(source.spec, source.in_channels)}
        shaped = Shaped(source.spec, source.in_channels, source.name)
        return remap_block(local, shaped, target, self.strategy, self.rng)

    def _check_repeat(self, source: PlacedBlock, is_new: bool, target: Shaped, number: int) -> None:
        """Refuse to repeat a stage's last block where it changes channels or size: it follows nothing but itself."""
        if is_new and not has_shortcut(source.spec, source.in_channels):
            raise InputError(
                f"{target.name} is deeper than the seed's stage of {number} block{'s' if number > 1 else ''} allows: "
                f"its last, {source.name}, goes from {source.in_channels} to {source.spec.channels} channels at stride "
                f"{source.spec.stride} and cannot be repeated; take fewer blocks, or a seed with more"
            )


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in weights.items()}
