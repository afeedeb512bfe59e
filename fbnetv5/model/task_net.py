"""The final model of one task: a network, most often a searched one, and a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.archs.block_start import BlockStart, start_blocks
from fbnetv5.archs.contract import CountedNetwork, Network, build_network, resolved_entry
from fbnetv5.archs.cost import Cost, feature_sizes, measured_macs, network_cost
from fbnetv5.archs.families import STRIDES, get_family
from fbnetv5.archs.joint import Parts
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size, TargetDict, TargetKind
from fbnetv5.base.weights import load_by_name, read_weights
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.orientation import to_stored
from fbnetv5.heads.head import CountedHead, Head, head_target
from fbnetv5.model.photos import PhotoModel
from fbnetv5.model.predictions import Prediction, as_prediction

BLOCKS = "network.blocks."  # in front of a block's name, in the names of weights


@dataclass(frozen=True)
class ModelSpec:
    """Everything that rebuilds a model, but for its weights.

    Attributes:
        family: name of the family; None where there is a ``network``, as is ``topology``.
        topology: the network's blocks, as searched; what the head cannot see is not built.
        head: ``_target_``, its class, and its options; plain data.
        classes: names of the classes; a class id is a position in them.
        input: how images become the network's input.
        network: instead of family and topology: ``_target_``, the class of the network, and its options; plain data.

    Raises:
        InputError: there is not either a network, or family and topology.
    """

    family: str | None
    topology: Topology | None
    head: dict[str, Any]
    classes: tuple[str, ...]
    input: InputSpec
    network: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        searched = (self.family is not None, self.topology is not None)
        if self.network is None and not all(searched):
            raise InputError("a model has a family and a topology, or another network; there is none of the two")
        if self.network is not None and any(searched):
            raise InputError("a model has a family and a topology, or another network; give one of the two")

    @property
    def network_name(self) -> str:
        """The name of the family, or that of the class of another network."""
        return self.family or str((self.network or {}).get("_target_")).rsplit(".", 1)[-1]


class TaskNet(PhotoModel[Prediction]):
    """A network and the head of one task; :func:`build_model` makes one.

    The parameters of the network are called ``network....``, as in a supernet; those of the head ``head....``.

    Args:
        network: computes the paths that the head reads.
        head: of the task.
        spec: what the model was built from.
    """

    network: Network
    head: Head
    spec: ModelSpec

    def __init__(self, network: Network, head: Head, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.spec = spec

    def forward(
        self,
        images: Tensor,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Any]:
        """Return the losses, by name (training), or one prediction an image (evaluation).

        Under autocast the network runs in mixed precision, the head in that of the images.

        Args:
            images: [N, 3, H, W], normalised.
            targets: N target dicts that hold the head's target, for training.
            true_sizes: (height, width) of the images before they were padded on the right and below.
            output_sizes: (height, width) of the images as stored, in whose pixels predictions are; by default the true
                sizes.
        """
        features = self.network(images)
        image_size = (images.shape[-2], images.shape[-1])
        with torch.autocast(images.device.type, enabled=False):  # losses, boxes and their matching want full precision
            features = {path: feature.to(images.dtype) for path, feature in features.items()}
            return self.head(features, image_size, targets, true_sizes, output_sizes)

    def typed(self, tensors: Any) -> Prediction:
        return as_prediction(tensors, self.head.target.kind, self.spec.classes)

    def in_stored_frame(self, tensors: Any, size: tuple[int, int], orientation: int) -> Any:
        return to_stored(tensors, self.head.target.kind, size, orientation)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; a class id is a position in them."""
        return self.spec.classes

    @property
    def nominal_size(self) -> Size:
        """(height, width) that costs are stated at, as :meth:`InputSpec.cost_size` says."""
        return self.spec.input.cost_size(self.head.target.kind)

    def cost(self, size: Size | None = None) -> Cost:
        """Return the MACs and parameters of network and head for images of ``size`` (height, width) in pixels.

        By default it is the nominal size. The MACs of a head or a network that does not know its own are measured.
        """
        size = self.nominal_size if size is None else size
        num_params = sum(parameter.numel() for parameter in self.parameters())
        if isinstance(self.network, MultiPathNet) and isinstance(self.head, CountedHead):
            family = self.network.family
            network_macs = network_cost(family, self.network.topology, size).macs
            return Cost(network_macs + self.head.macs(feature_sizes(family, size)), num_params)
        images = next(self.parameters()).new_zeros(1, 3, *size)
        macs = measured_macs(self, images)
        if isinstance(self.network, CountedNetwork):
            macs += self.network.macs(size) - measured_macs(self.get_submodule("network"), images)
        return Cost(macs, num_params)


def build_model(spec: ModelSpec, *, topology_name: str = "") -> TaskNet:
    """Build the model that ``spec`` describes, with random weights.

    Args:
        spec: of the model.
        topology_name: of the topology's file, for messages.

    Raises:
        InputError: network, head and input do not fit together, or a class or an option is wrong.
    """
    if not spec.classes:
        raise InputError("there are no classes to predict: their names are missing")
    if spec.network is None:
        network, head = _build_searched(spec, topology_name)
    else:
        network, head = _build_chosen(spec)
        spec = replace(spec, network=resolved_entry(network, spec.network))
    if spec.input.crop is not None and head.target.kind is not TargetKind.SCALAR:
        name = type(head).__name__
        raise InputError(f"the head {name} predicts {head.target.name} of whole images; its input cannot be cropped")
    return TaskNet(network, head, spec)


def _build_searched(spec: ModelSpec, topology_name: str) -> tuple[Network, Head]:
    """Build a family's network, with what the head sees of its topology, and the head."""
    assert spec.family is not None
    assert spec.topology is not None
    family = get_family(spec.family)
    head = build_head(spec.head, family.channels, len(spec.classes))
    return MultiPathNet(family, pruned(spec.topology, head, topology_name)), head


def pruned(topology: Topology, head: Head, topology_name: str = "") -> Topology:
    """Return what a head sees of a topology.

    Args:
        topology: as searched.
        head: which reads some of its outputs.
        topology_name: of its file, for messages.

    Raises:
        InputError: the topology does not return a path that the head reads.
    """
    if any(path not in topology.outputs for path in head.paths):
        raise InputError(
            f"topology{' ' if topology_name else ''}{topology_name} returns {_paths(topology.outputs)}, the head "
            f"{type(head).__name__} reads {_paths(head.paths)}; choose a topology with that output, or another path "
            "for the head"
        )
    return topology.prune(head.paths)


def _build_chosen(spec: ModelSpec) -> tuple[Network, Head]:
    """Build the network that ``spec.network`` chooses, and the head."""
    assert spec.network is not None
    network = build_network(spec.network)
    returned = [path for path, channels in enumerate(network.channels) if channels]
    advice = "choose another path for the head, or another network"
    try:
        head = build_head(spec.head, network.channels, len(spec.classes))
    except InputError as error:
        if not isinstance(error.__cause__, ZeroDivisionError):  # the first weights of a layer without channels
            raise
        raise InputError(
            f"model.network {spec.network_name} returns {_paths(returned)}, the head reads another; {advice}"
        ) from error
    if any(path not in returned for path in head.paths):
        raise InputError(
            f"model.network {spec.network_name} returns {_paths(returned)}, the head {type(head).__name__} reads "
            f"{_paths(head.paths)}; {advice}"
        )
    strides = getattr(network, "strides", STRIDES)
    if getattr(head, "needs_usual_strides", False) and any(strides[path] != STRIDES[path] for path in head.paths):
        found = ", ".join(str(strides[path]) for path in head.paths)
        raise InputError(
            f"model.network {spec.network_name} has stride {found} where the head {type(head).__name__} reads; {advice}"
        )
    return network, head


def build_head(entry: dict[str, Any], channels: tuple[int, ...], num_classes: int, *, key: str = "model.head") -> Head:
    """Build the head that an entry, of ``key`` in the config, chooses, for features of ``channels``, one number a path.

    Raises:
        InputError: its class cannot be found or is no head, or an option is wrong.
    """
    head_target(entry, key)
    head: Head = build_target(key, entry, channels, num_classes)
    require_members(key, entry, head, ("paths",), "head")
    return head


@dataclass(frozen=True)
class Fresh:
    """What of a model a file has no weights for: entries of its head, and whole blocks of its network, by name."""

    head: tuple[str, ...]
    blocks: tuple[str, ...]


def load_initial(model: TaskNet, weights_file: str | Path, block_start: BlockStart = "zeroed") -> Fresh:
    """Load the network's weights from a supernet or a trained model, and of a trained model's head what fits.

    Weights of blocks that the model does not have, and of a supernet's heads, are left out. Blocks that the file knows
    nothing of start from the trunk that it has, as those of a hand-made topology of more stages than the supernet's.

    Returns:
        the entries of the head that kept their initial values, and the blocks that started from the trunk.

    Raises:
        InputError: the file cannot be read, or another entry of the network is missing in it or has another shape.
    """
    path = Path(weights_file)
    own = model.state_dict()
    weights = {name: tensor for name, tensor in read_weights(path).items() if name in own}
    if not isinstance(model.network, MultiPathNet):
        return Fresh(tuple(load_by_name(model, weights, optional="head.", origin=path)), ())
    known = {name.split(".")[2] for name in weights if name.startswith(BLOCKS)}
    absent = nn.ModuleDict({name: block for name, block in model.network.blocks.items() if name not in known})
    kept = {name: own[name] for name in own if name.startswith(BLOCKS) and name.split(".")[2] in absent}
    head = load_by_name(model, {**weights, **kept}, optional="head.", origin=path)
    start_blocks(Parts(model.network.family, model.network.trunk, absent), block_start)
    return Fresh(tuple(head), tuple(absent))


def _paths(paths: Sequence[int]) -> str:
    return f"path{'s' if len(paths) > 1 else ''} {', '.join(map(str, paths))}"
