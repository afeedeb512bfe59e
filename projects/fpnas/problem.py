"""From the config of a search to what it is about: the space with its costs, and models to train.

A search knows networks as ``Choices``, the number of a type for every block; here they become architectures and models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.paths import local_path
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.bound import BoundedSpace, Choices
from fbnetv5.projects.fpnas.images import check_data
from fbnetv5.projects.fpnas.macro import MACROS, Macro
from fbnetv5.projects.fpnas.network import FPNASNetwork
from fbnetv5.projects.fpnas.space import BlockType, valid_types

NETWORK = f"{FPNASNetwork.__module__}.{FPNASNetwork.__name__}"


@dataclass(frozen=True)
class Problem:
    """A search's space, images and classes.

    Attributes:
        macro: channels and strides of the blocks.
        head: ``_target_`` and options of the classifier.
        classes: names of the classes.
        data: of the config.
    """

    macro: Macro
    head: Mapping[str, Any]
    classes: tuple[str, ...]
    data: DataConfig

    @property
    def types(self) -> tuple[tuple[BlockType, ...], ...]:
        """The valid types of every block; a choice is a position in them."""
        return tuple(map(valid_types, self.macro.positions))

    @property
    def type_names(self) -> list[list[str]]:
        """Their names."""
        return [[kind.name for kind in kinds] for kinds in self.types]

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """Return the architecture that choices stand for."""
        return Architecture(self.macro, tuple(kinds[c] for kinds, c in zip(self.types, choices, strict=True)))

    def model(self, choices: Sequence[int]) -> TaskNet:
        """Return a network with its classifier; weights are random, from torch's global generator."""
        architecture = self.architecture(choices).as_dict()
        return build_model(model_spec({"_target_": NETWORK, "architecture": architecture}, self))

    def space(self, bound: float) -> BoundedSpace:
        """Return all networks with their MACs, that of the classifier included, below a bound.

        Raises:
            InputError: no network is below the bound, or the images are smaller than the network's stride.
        """
        size = (check_data(self.data),) * 2
        type_macs = self.macro.type_macs(size)
        first: Choices = (0,) * len(type_macs)
        fixed = model_macs(self.model(first), size[0]) - sum(macs[0] for macs in type_macs)
        return BoundedSpace(type_macs, fixed, bound)


def model_spec(network: dict[str, Any], problem: Problem) -> ModelSpec:
    """Return the description of a network with the problem's classifier, which takes crops of the problem's images."""
    return ModelSpec(
        family=None,
        topology=None,
        head=dict(problem.head),
        classes=problem.classes,
        input=InputSpec(short_side=problem.data.short_side, crop=check_data(problem.data)),
        network=network,
    )


def model_macs(model: TaskNet, side: int) -> int:
    """Return the MACs of an image of ``side`` x ``side`` pixels, counted by fvcore."""
    with torch.no_grad():
        return measured_macs(model, next(model.parameters()).new_zeros(1, 3, side, side))


def read_macro(name: str, multiplier: float) -> Macro:
    """Return a macro structure.

    Args:
        name: of ``MACROS``; or a file with an architecture, whose types do not matter.
        multiplier: all channels are times this, rounded to multiples of 8.

    Raises:
        InputError: there is neither, or the multiplier is not above 0.
    """
    if multiplier <= 0:
        raise InputError(f"project.multiplier={multiplier} is not above 0")
    if name not in MACROS and not local_path(name).is_file():
        raise InputError(
            f"project.macro={name} is none of {', '.join(MACROS)}, nor the file of an architecture"
            f"{nearest(name, MACROS)}"
        )
    macro = MACROS[name] if name in MACROS else Architecture.load(local_path(name)).macro
    return macro if multiplier == 1 else macro.scaled(multiplier)


class SharedModels(nn.Module):
    """The models of stage one: one for each type of a block; all other weights are the same tensors in all of them.

    Args:
        model: whose other blocks and classifier are shared.
        position: of the block.
        types: of it; each is made anew.
    """

    def __init__(self, model: TaskNet, position: int, types: Sequence[BlockType]) -> None:
        super().__init__()
        assert isinstance(model.network, FPNASNetwork)
        networks = [model.network.sharing(position, kind) for kind in types]
        self.models = nn.ModuleList(TaskNet(network, model.head, model.spec) for network in networks)

    def of(self, number: int) -> TaskNet:
        """Return the model of the type at that position in ``types``."""
        model = self.models[number]
        assert isinstance(model, TaskNet)
        return model

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all weights by the names that they have in a model of one type; shared ones are there once."""
        return {name: tensor for model in self.models for name, tensor in model.state_dict().items()}
