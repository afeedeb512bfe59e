"""Images a second and memory of the search's network beside timm's HRNet, plain, compiled and in CUDA graphs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from benchmarks.full_size import HRNET, build_full_size
from benchmarks.runs import architectures, backward_from_features, load_batches
from fbnetv5.archs.cost import measured_macs, network_cost
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.engine.precision import autocast
from fbnetv5.jobs.supernet import SupernetRun, supernet_step
from fbnetv5.latency.measure import seconds_in_turn

Way = Literal["eager", "compiled", "graphs"]


@dataclass(frozen=True)
class Speed:
    """How large it is: images an architecture, architectures an iteration, rounds, and changes to fbnetv5_a."""

    micro_batch: int
    num_samples: int
    rounds: int
    overrides: tuple[str, ...] = ()
    backend: str = "inductor"


FULL_SIZE = Speed(micro_batch=48, num_samples=4, rounds=9)
TINY = Speed(
    micro_batch=1,
    num_samples=2,
    rounds=1,
    overrides=("model.family=NANO", "model.num_stages=1", "data.short_side=64", "data.crop=64"),
    backend="eager",
)


@dataclass(frozen=True)
class Row:
    """Images a second of forward and backward passes, MACs of an image's forward pass without heads, and the most
    bytes that were in use; None where the device does not say."""

    name: str
    images_per_second: float
    macs: float
    peak_bytes: int | None


def measure_speed(device: torch.device, speed: Speed, way: Way) -> dict[str, Any]:
    """Time the parts of a search's iteration in bfloat16, and HRNet, each in turn.

    Raises:
        NotImplementedError: CUDA graphs were asked for on another device.
    """
    if way == "graphs" and device.type != "cuda":
        raise NotImplementedError("CUDA graphs want a CUDA device")
    world = World(rank=0, size=1, device=device)
    run = build_full_size(world, speed.micro_batch, speed.num_samples, speed.overrides)
    (batch,) = load_batches(run.config, run.source, run.model, world, 1)
    images, drawn = batch.images[: speed.micro_batch], architectures(run, 0)
    network, every = run.model.network, run.model.network.topology.prune(run.model.head_paths)
    hrnet = timm.create_model(HRNET, features_only=True).to(device).to(memory_format=torch.channels_last)
    macs = [*_macs(network, every, drawn, images), measured_macs(hrnet, images[:1])]
    rows: list[Row] = []
    with _compiled([*network.trunk, *network.blocks.values(), hrnet], way, speed.backend), _kept_in_time(rows):
        passes = {f"fbnetv5_a, all blocks, {way}": (_passes(run, network, images, [every], way), len(images))}
        if way != "graphs":  # each drawn architecture would be a graph of its own
            count = speed.micro_batch * len(drawn)
            passes[f"fbnetv5_a, drawn, {way}"] = (_passes(run, network, images, list(drawn), way), count)
            passes[f"fbnetv5_a, whole iteration, {way}"] = (lambda: supernet_step(run, 0, batch), len(batch))
        else:
            macs = [macs[0], macs[-1]]
        passes[f"{HRNET}, {way}"] = (_passes(run, hrnet, images, [None], way), len(images))
        for (name, (call, count)), cost in zip(passes.items(), macs, strict=True):
            rows.append(Row(name, count / _seconds(call, device, speed.rounds), cost, _peak(call, device)))
    told = f"bfloat16, {speed.micro_batch} images of {images.shape[-1]} pixels at a time, {len(rows)} rows below"
    return {"rows": [asdict(row) for row in rows], "told": told}


@contextmanager
def _kept_in_time(rows: list[Row]) -> Iterator[None]:
    """Where the time is up within the context, go on with the rows that there are."""
    try:
        yield
    except TimeoutError:
        if not rows:
            raise


def _macs(network: MultiPathNet, every: Topology, drawn: list[Topology], images: Tensor) -> list[float]:
    """Return the MACs of all blocks, and the mean of the drawn architectures: alone, and in an iteration."""
    size = (images.shape[-2], images.shape[-1])
    mean = statistics.mean(network_cost(network.family, one, size).macs for one in drawn)
    return [network_cost(network.family, every, size).macs, mean, mean]


def _passes(
    run: SupernetRun, network: nn.Module, images: Tensor, topologies: list[Topology | None], way: Way
) -> Callable[[], object]:
    """Return a call that goes forward and backward through a network's features, once for each topology."""
    parameters = list(network.parameters())

    def call() -> None:
        for parameter in parameters:
            parameter.grad = None
        for topology in topologies:
            with autocast(run.world.device, "bfloat16"):
                features = network(images) if topology is None else network(images, topology)
            backward_from_features(features if topology is None else features.values())

    return _as_graph(call) if way == "graphs" else call


def _as_graph(call: Callable[[], object]) -> Callable[[], object]:
    """Return what replays a call on the GPU without its Python."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


@contextmanager
def _compiled(parts: list[nn.Module], way: Way, backend: str) -> Iterator[None]:
    """Within the context the parts are compiled, where asked for."""
    for part in parts if way == "compiled" else ():
        part.compile(backend=backend, dynamic=False)
    try:
        yield
    finally:
        for part in parts:
            part._compiled_call_impl = None


def _seconds(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    return statistics.median(seconds_in_turn({"": call}, rounds, device, warm_up=2)[""])


def _peak(call: Callable[[], object], device: torch.device) -> int | None:
    """Return the most bytes that were in use during a call, on a GPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)
