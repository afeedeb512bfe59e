"""Architectures: the blocks of a backbone, stage by stage, and the small YAML file they are kept in.

A backbone is a stem of stride 2 (4 with its pooling) and stages of blocks. It returns up to four features, one a path:
path p is the output of the last block whose stride is 4 * 2**p. What a search skips is a block that is absent.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fbnetv5.archs.families import NUM_PATHS, STRIDES
from fbnetv5.base.documents import check_keys, read_document
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.projects.fna.block_spec import MOBILE_KINDS, RESIDUAL_KINDS, BlockSpec, Stem, dilate_layers

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class PlacedBlock:
    """A block at its place in a network.

    Attributes:
        spec: of the block.
        in_channels: of its input.
        stage, index: its place.
        stride: of its output, nominal.
        name: prefix of its parameters, timm's, without a dot at its end.
    """

    spec: BlockSpec
    in_channels: int
    stage: int
    index: int
    stride: int
    name: str

    @property
    def path(self) -> int:
        """The path of its stride; -1 where there is none, as for stride 2."""
        return STRIDES.index(self.stride) if self.stride in STRIDES else -1


@dataclass(frozen=True)
class Architecture:
    """A backbone as data.

    Attributes:
        stem: the first convolution.
        stages: of each stage its blocks, in order.
        activation: ``relu`` or ``relu6``.
        bn_epsilon: of every batch normalisation.

    Raises:
        ValueError: the parts do not fit each other; the message starts with the part.
    """

    stem: Stem
    stages: tuple[tuple[BlockSpec, ...], ...]
    activation: str = "relu"
    bn_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.activation not in ("relu", "relu6"):
            raise ValueError(f"activation: expected relu or relu6, got {self.activation!r}")
        if not isinstance(self.bn_epsilon, float) or not 0 < self.bn_epsilon < 1:
            raise ValueError(f"bn_epsilon: expected a number between 0 and 1, such as 1.0e-3, got {self.bn_epsilon!r}")
        if not any(self.stages):
            raise ValueError("stages: there is no block")
        families = {spec.kind in RESIDUAL_KINDS for stage in self.stages for spec in stage}
        if len(families) > 1:
            raise ValueError(f"stages: {' and '.join(MOBILE_KINDS)} blocks cannot be mixed with those of a ResNet")
        for block in self.blocks():
            check_block(block)

    @property
    def is_residual(self) -> bool:
        """Whether the blocks are those of a ResNet, and so timm's names."""
        return any(spec.kind in RESIDUAL_KINDS for stage in self.stages for spec in stage)

    def blocks(self) -> Iterator[PlacedBlock]:
        """Yield the blocks in order, each at its place."""
        in_channels, stride = self.stem.channels, self.stem.stride
        for stage, specs in enumerate(self.stages):
            for index, spec in enumerate(specs):
                stride *= spec.stride
                name = block_name(stage, index, residual=self.is_residual)
                yield PlacedBlock(spec, in_channels, stage, index, stride, name)
                in_channels = spec.channels

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the feature of each of the four paths; 0 where no block has its stride."""
        channels = [0] * NUM_PATHS
        for block in self.blocks():
            if block.path >= 0:
                channels[block.path] = block.spec.channels
        return tuple(channels)

    def dilated(self, output_stride: int) -> Architecture:
        """Return the architecture whose strides beyond ``output_stride`` (8, 16 or 32) are dilations, as in DeepLab.

        As in timm, the searched convolution of the block that loses its stride keeps the dilation from before it.

        Raises:
            InputError: another output stride.
        """
        if output_stride not in OUTPUT_STRIDES:
            raise InputError(f"output_stride={output_stride} is none of {', '.join(map(str, OUTPUT_STRIDES))}")
        stages = dilate_layers([[(spec,) for spec in stage] for stage in self.stages], self.stem.stride, output_stride)
        kept = tuple(tuple(spec for layer in stage for spec in layer if spec) for stage in stages)
        return dataclasses.replace(self, stages=kept)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as plain data, which :meth:`from_dict` reads."""
        return {
            "stem": dataclasses.asdict(self.stem),
            "activation": self.activation,
            "bn_epsilon": self.bn_epsilon,
            "stages": [[spec.to_dict() for spec in stage] for stage in self.stages],
        }

    @classmethod
    def from_dict(cls, document: object) -> Architecture:
        """Check plain data and return the architecture that it describes.

        Raises:
            InputError: it does not describe one; the message names the key.
        """
        try:
            return _parse(document)
        except ValueError as error:
            raise InputError(str(error)) from error

    def save(self, path: str | os.PathLike[str], info: Mapping[str, Any] | None = None) -> None:
        """Write the architecture as YAML, atomically, with free-form ``info`` (plain data) for the people who read it.

        Raises:
            InputError: the file cannot be written.
        """
        document = self.to_dict() | ({"info": dict(info)} if info else {})
        header = "# A backbone: its stem, and of each stage its blocks in order. A skipped block is absent.\n"
        write_text(path, header + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Architecture:
        """Read an architecture that ``save`` or a person wrote; ``info`` is ignored.

        Raises:
            InputError: the file cannot be read or does not describe an architecture; the message says what is wrong.
        """
        return read_document(path, "architecture", _parse)


def block_name(stage: int, index: int, *, residual: bool) -> str:
    """Return timm's name of a block: ``layer1.0`` in a ResNet, ``blocks.0.0`` in a mobile network."""
    return f"layer{stage + 1}.{index}" if residual else f"blocks.{stage}.{index}"


def check_block(block: PlacedBlock) -> None:
    """Raise ValueError if a block's stride grows beyond 32, or its groups do not divide its channels."""
    where, spec = f"stages[{block.stage}][{block.index}]", block.spec
    if block.stride > STRIDES[-1]:
        raise ValueError(f"{where}.stride: the network's grows to {block.stride}; it may be {STRIDES[-1]} at most")
    inner = spec.inner_channels(block.in_channels)
    widths = (block.in_channels, inner) if spec.kind == "basic" else (inner,)
    if any(width % spec.groups for width in widths):
        raise ValueError(
            f"{where}.groups: {spec.groups} groups do not divide {' and '.join(map(str, widths))} channels"
        )


def _parse(document: object) -> Architecture:
    """Check a document, key by key. Raises ValueError."""
    checked = check_keys(document, ("stem", "stages"), ("activation", "bn_epsilon", "info"))
    stages = checked["stages"]
    if not isinstance(stages, list) or not all(isinstance(stage, list) for stage in stages):
        raise ValueError("stages: expected a list of stages, each a list of blocks")
    return Architecture(
        stem=_parse_part(Stem, checked["stem"], ("channels",), "stem"),
        stages=tuple(
            tuple(parse_block(block, f"stages[{stage}][{index}]") for index, block in enumerate(blocks))
            for stage, blocks in enumerate(stages)
        ),
        activation=checked.get("activation", "relu"),
        bn_epsilon=checked.get("bn_epsilon", 1e-5),
    )


def parse_block(document: object, where: str) -> BlockSpec:
    """Return the block that a mapping describes. Raises ValueError that starts with ``where``."""
    spec: BlockSpec = _parse_part(BlockSpec, document, ("kind", "channels"), where)
    return spec


def _parse_part(part: type, document: object, required: tuple[str, ...], where: str) -> Any:
    checked = check_keys(document, required, [field.name for field in dataclasses.fields(part)], where)
    try:
        return part(**checked)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error
