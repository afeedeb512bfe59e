"""Timing a network's parts as a sub-network runs them: in eval mode, without gradients, channels last."""

from __future__ import annotations

import hashlib
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from fbnetv5.archs.families import NUM_PATHS, Family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Size
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.latency.table import Conditions, LatencyTable

Call = Callable[[], object]
Clock = Callable[[], float]
Part = tuple[int, int]  # row and column of a latency table
K = TypeVar("K", bound=Hashable)
CPU_INFO = Path("/proc/cpuinfo")
WARM_UP = 5  # rounds


def current_conditions(
    family: Family, size: Size, device: torch.device, *, precision: str, batch_size: int, repeats: int
) -> Conditions:
    """Return the conditions of a measurement made now."""
    return Conditions(
        device=device_name(device),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        precision=precision,
        family=family.name,
        layers=layers_digest(family),
        size=size,
        batch_size=batch_size,
        repeats=repeats,
    )


def layers_digest(family: Family) -> str:
    """Return what tells the layers of a family from others."""
    return hashlib.sha256(repr(family.partitions).encode()).hexdigest()[:12]


def device_name(device: torch.device) -> str:
    """Return the name of the CPU's model or of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def measure_latency(
    family: Family, conditions: Conditions, device: torch.device, clock: Clock = time.perf_counter
) -> LatencyTable:
    """Time the parts of the family's networks on ``device``, each ``conditions.repeats`` times, and keep the medians.

    Args:
        family: of the networks; their weights are random.
        conditions: those of now, see :func:`current_conditions`.
        device: of the parts.
        clock: returns seconds.
    """
    network, images = build_network(family, 1, conditions, device)
    with torch.inference_mode(), autocast(device, conditions.precision):
        seconds = seconds_in_turn(network_parts(network, images), conditions.repeats, device, clock)
    return table_of(seconds, conditions)


def build_network(
    family: Family, num_stages: int, conditions: Conditions, device: torch.device
) -> tuple[MultiPathNet, Tensor]:
    """Return a supernet in eval mode and images [batch_size, 3, *size] for it; both are the same at every call."""
    dtype = WEIGHT_DTYPES[conditions.precision]
    with forked(0, Purpose.INITIALISATION):
        network = MultiPathNet(family, Topology.full(num_stages)).eval()
        images = torch.randn(conditions.batch_size, 3, *conditions.size)
    network.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, images.to(device=device, dtype=dtype, memory_format=torch.channels_last)


def network_parts(network: MultiPathNet, images: Tensor) -> dict[Part, Call]:
    """Return a call for each part, by its place in the rows of a :class:`LatencyTable`: partitions, blocks, fusion.

    Args:
        network: with the blocks of stage 1 at least.
        images: ``[N, 3, H, W]``.
    """
    calls: dict[Part, Call] = {}
    features = [images]
    for path, partition in enumerate(network.trunk):
        calls[0, path] = _bind(partition, features[-1])
        features.append(partition(features[-1]))
    carried = features[1:]
    for target in range(NUM_PATHS):
        for source in range(NUM_PATHS):
            if source != target:
                edge = Topology(2, frozenset({(1, source)}))  # the only thing that is fused into the target
                calls[2 + source, target] = _bind(network.fuse, carried, (2, target), edge)
        calls[1, target] = _bind(network.blocks[f"s1_p{target}"], carried[target])
    return calls


def table_of(seconds: Mapping[Part, list[float]], conditions: Conditions) -> LatencyTable:
    """Return the table of the medians of seconds by :func:`network_parts`' keys."""
    places = [(row, column) for row in range(2 + NUM_PATHS) for column in range(NUM_PATHS)]
    values = [1e3 * statistics.median(seconds[place]) if place in seconds else 0.0 for place in places]
    return LatencyTable.from_list(conditions, values)


def seconds_in_turn(
    calls: Mapping[K, Call],
    repeats: int,
    device: torch.device,
    clock: Clock = time.perf_counter,
    *,
    warm_up: int = WARM_UP,
    prepare: Callable[[K, int], object] | None = None,
) -> dict[K, list[float]]:
    """Time every call once a round, and return each one's seconds, ``repeats`` numbers.

    What else the machine does meets all calls alike, and each finds the caches as another left them; every second round
    goes backwards. A call on a GPU is timed until the GPU is done.

    Args:
        calls: to time, by any key.
        repeats: rounds that count.
        device: that the calls work on.
        clock: seconds since some moment.
        warm_up: rounds before those; their numbers are negative.
        prepare: takes a call's key and the number of the round before each call, and is not timed.
    """
    seconds: dict[K, list[float]] = {key: [] for key in calls}
    for number in range(-warm_up, repeats):
        for key in list(calls) if number % 2 else reversed(list(calls)):
            if prepare is not None:
                prepare(key, number)
            _synchronize(device)
            start = clock()
            calls[key]()
            _synchronize(device)
            if number >= 0:
                seconds[key].append(clock() - start)
    return seconds


def _bind(function: Callable[..., object], *arguments: object) -> Call:
    return lambda: function(*arguments)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
