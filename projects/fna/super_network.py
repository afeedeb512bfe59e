"""The super network of FNA++: every layer holds all its candidates (Sec. 3.2.1)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fbnetv5.archs.families import STRIDES
from fbnetv5.projects.fna.blocks import build_block
from fbnetv5.projects.fna.network import add_module, add_stem, init_weights, run_stem
from fbnetv5.projects.fna.space import Candidate, Space


class CandidateLayer(nn.Module):
    """A layer with all its candidates; the identity has no module's parameters.

    Args:
        candidates: blocks of one shape from input to output, or None for the identity.
        in_channels: of the input.
        activation, bn_epsilon: of the blocks.
    """

    def __init__(
        self, candidates: Sequence[Candidate], in_channels: int, *, activation: str, bn_epsilon: float
    ) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(
            nn.Identity()
            if candidate is None
            else build_block(candidate, in_channels, activation=activation, bn_epsilon=bn_epsilon)
            for candidate in candidates
        )

    def forward(self, x: Tensor, choice: int | None = None, weights: Tensor | None = None) -> Tensor:
        """Return one candidate's output, or the weighted sum of all (eq. 7).

        Args:
            x: ``[N, in_channels, H, W]``.
            choice: the candidate, if one is chosen; only that is computed.
            weights: shares of the candidates, ``[len(candidates)]``.
        """
        if weights is None:
            assert choice is not None
            return self.candidates[choice](x)
        outputs = [share * candidate(x) for share, candidate in zip(weights.to(x), self.candidates, strict=True)]
        return functools.reduce(torch.add, outputs)


class SuperNetwork(nn.Module):
    """All architectures of a space in one network.

    Slots are the layers with more than one candidate, in order: B = ``len(space.num_options)``. The parameters of
    candidate c of a layer are those of timm's block, below ``<block name>.candidates.<c>``, where the name counts all
    layers of the stage.

    Args:
        space: what is searched.
        output_stride: 8, 16 or 32; None is the space's own.

    Attributes:
        space: with its nominal strides.
        output_stride: of the network.
        channels, strides: of the four paths; as those of :class:`~fbnetv5.projects.fna.network.FNANetwork`.

    Raises:
        InputError: another output stride.
    """

    def __init__(self, space: Space, output_stride: int | None = None) -> None:
        super().__init__()
        self.space = space
        self.output_stride = space.output_stride if output_stride is None else output_stride
        self.channels = space.largest.channels
        self.strides = tuple(min(stride, self.output_stride) for stride in STRIDES)
        self._paths = {block.name: block.path for block in space.largest.blocks()}
        style = space.largest
        add_stem(self, space.stem, style)
        layers = [candidates for stage in space.dilated(self.output_stride).stages for candidates in stage]
        for block, candidates in zip(style.blocks(), layers, strict=True):
            layer = CandidateLayer(
                candidates, block.in_channels, activation=space.activation, bn_epsilon=space.bn_epsilon
            )
            add_module(self, block.name, layer)
        init_weights(self, residual=style.is_residual)

    def forward(
        self, images: Tensor, choice: Sequence[int] | None = None, weights: Sequence[Tensor] | None = None
    ) -> dict[int, Tensor]:
        """Compute the features along one path, or through all candidates; exactly one of the two is given.

        Args:
            images: ``[N, 3, H, W]``.
            choice: of each slot its candidate, B integers: only these are computed.
            weights: of each slot the shares of its candidates, B tensors ``[num_options[b]]``, such as a softmax of
                architecture parameters: the output of a layer is the weighted sum of all (eq. 7).

        Returns:
            Path to feature, ``[N, channels[path], H / strides[path], W / strides[path]]``, rounded up.

        Raises:
            ValueError: both or neither are given, or not one a slot.
        """
        given = choice if weights is None else weights
        if given is None or (choice is not None and weights is not None):
            raise ValueError("give either a choice or weights")
        if len(given) != len(self.space.num_options):
            raise ValueError(f"the space has {len(self.space.num_options)} slots, got {len(given)}")
        choices, shares = iter(() if choice is None else choice), iter(() if weights is None else weights)
        x = run_stem(self, images)
        features = {}
        for name, path in self._paths.items():
            layer = self.get_submodule(name)
            assert isinstance(layer, CandidateLayer)
            if len(layer.candidates) == 1:
                x = layer(x, choice=0)
            elif weights is None:
                x = layer(x, choice=int(next(choices)))
            else:
                x = layer(x, weights=next(shares))
            if path >= 0:
                features[path] = x  # the last layer of a stride is the one that stays
        return features
