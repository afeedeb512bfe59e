"""Networks of final models that are not a family's with a topology, and how a config chooses one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.config.targets import build_target, find_class


class Network(Protocol):
    """A network, as ``MultiPathNet`` is: an ``nn.Module`` that turns images into the features of up to four paths.

    A new one is such a class in any module, built from its options alone, which are plain data, and
    ``model.network._target_`` in a config. Its parameters are all to serve the features that the head reads, as
    DistributedDataParallel wants it. If its strides are not 4, 8, 16 and 32, ``strides`` has one a path; heads that
    take the usual ones for granted are refused.
    """

    channels: tuple[int, ...]
    """Channels of the four paths' features; 0 where the network has no such path."""

    def __call__(self, images: Tensor) -> dict[int, Tensor]:
        """Return path to feature, [N, channels[path], h, w], for images [N, 3, H, W]."""


@runtime_checkable
class CountedNetwork(Protocol):
    """A network that knows its MACs in closed form; those of others are measured."""

    def macs(self, size: Size) -> int:
        """Return the MACs of an image of ``size`` (height, width) in pixels."""


@runtime_checkable
class ResolvedNetwork(Protocol):
    """A network whose options name files: it knows options without them, that rebuild it anywhere."""

    def resolved_options(self) -> dict[str, Any]:
        """Return all options, as plain data, with the contents of files in the place of their names."""


def build_network(entry: Mapping[str, Any]) -> Network:
    """Build the network that an entry, ``{_target_: class, option: value, ...}``, chooses.

    Raises:
        InputError: the class or an option is wrong, or it builds no network.
    """
    chosen = find_class("model.network", entry)
    if not isinstance(chosen, type) or not issubclass(chosen, nn.Module):
        raise InputError(f"model.network._target_={entry['_target_']} is no network: it is no torch.nn.Module")
    network: Network = build_target("model.network", entry)
    channels = getattr(network, "channels", None)
    if not isinstance(channels, tuple) or len(channels) != NUM_PATHS or not all(type(c) is int for c in channels):
        raise InputError(
            f"model.network._target_={entry['_target_']} is no network: its 'channels' are {channels}, not "
            f"{NUM_PATHS} integers"
        )
    return network


def resolved_entry(network: Network, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry that rebuilds a network where the files that its options name are missing, as JSON has it.

    Raises:
        InputError: an option is no plain data.
    """
    options = network.resolved_options() if isinstance(network, ResolvedNetwork) else entry
    try:
        resolved: dict[str, Any] = json.loads(json.dumps({**options, "_target_": entry["_target_"]}))
    except (TypeError, ValueError) as error:
        raise InputError(f"model.network: its options are no plain data, and could not be saved: {error}") from error
    return resolved
