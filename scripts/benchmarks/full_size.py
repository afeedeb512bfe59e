"""The paper's own iteration at full size, beside timm's HRNet-W18-small-v2, which also keeps four resolutions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from torch import nn

from benchmarks.runs import architectures, autocast, backward_from_features, load_batches, reinforce, still_config
from benchmarks.tables import aligned
from benchmarks.timing import Trial, median_seconds
from fbnetv5.archs.cost import block_macs, measured_macs, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.types import Batch
from fbnetv5.data.augmentation import crop_side
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.engine.optim import build_optimizer
from fbnetv5.jobs.supernet import SupernetRun, supernet_step
from fbnetv5.tasks.build import build_tasks
from fbnetv5.tasks.multitask import build_multitask_net

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "search" / "fbnetv5_a.yaml"
HRNET = "hrnet_w18_small_v2"
NUM_CLASSES = {"label": 1000, "boxes": 80, "segmentation": 150}  # ImageNet, COCO, ADE20K


@dataclass(frozen=True)
class Throughput:
    """Images a second of forward and backward passes, and the MACs of one image's forward pass without heads."""

    name: str
    images_per_second: float
    macs: float


class FullSizeShapes(ShapesSource):
    """The procedural data set, with as many classes as the paper's data sets have."""

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Numbered names for each target that has classes."""
        return {name: tuple(map(str, range(count))) for name, count in NUM_CLASSES.items()}


def measure_full_size(world: World, *, micro_batch: int, num_samples: int | None, rounds: int) -> list[Throughput]:
    """Time an iteration of fbnetv5_a, its network alone, and HRNet forward and backward, in turn.

    Args:
        micro_batch: images an architecture.
        num_samples: architectures an iteration; the config's own if None.
    """
    run = build_full_size(world, micro_batch, num_samples)
    (batch,) = load_batches(run.config, run.source, run.model, world, 1)
    network = run.model.network
    drawn = architectures(run, 0)
    every = [network.topology.prune(run.model.head_paths)] * len(drawn)
    hrnet = timm.create_model(HRNET, features_only=True).to(world.device).to(memory_format=torch.channels_last)
    trials = {
        "fbnetv5_a, whole iteration": Trial(lambda _: supernet_step(run, 0, batch)),
        "fbnetv5_a, network alone": _passes(run, network, batch, drawn),
        "fbnetv5_a, network alone, all blocks": _passes(run, network, batch, every),
        f"{HRNET}, network alone": _passes(run, hrnet, batch, [None] * len(drawn)),
    }
    seconds = median_seconds(trials, rounds, world.device)
    side = crop_side(run.config.data)
    image = torch.zeros(1, 3, side, side, device=world.device)
    mean_macs = statistics.mean(network_cost(network.family, topology, (side, side)).macs for topology in drawn)
    macs = (mean_macs, mean_macs, measured_macs(network, image), measured_macs(hrnet, image))
    return [Throughput(name, len(batch) / seconds[name], count) for name, count in zip(trials, macs, strict=True)]


def build_full_size(
    world: World, micro_batch: int, num_samples: int | None, overrides: Sequence[str] = ()
) -> SupernetRun:
    """Build fbnetv5_a's search on the procedural data set, with heads for the classes of the paper's data sets.

    Args:
        world: this process.
        micro_batch: images an architecture.
        num_samples: architectures an iteration; the config's own if None.
        overrides: of the config.
    """
    config = still_config(CONFIG, ["data.root=null", *overrides])
    num_samples = num_samples or config.search.num_samples
    search = replace(config.search, num_samples=num_samples, batch_size=num_samples * micro_batch)
    config = replace(config, search=search)
    family, num_stages, side = get_family(config.model.family), config.model.num_stages, crop_side(config.data)
    source = FullSizeShapes(search.batch_size, config.data.short_side, config.seed)
    model = build_multitask_net(MultiPathNet(family, Topology.full(num_stages)), build_tasks(config.tasks), source)
    model.to(world.device).to(memory_format=torch.channels_last).train()
    space = TopologySpace(num_stages, block_macs(family, num_stages, (side, side)))
    algorithm = reinforce(config, space, len(model.tasks))
    return SupernetRun(config, world, source, space, model, build_optimizer(model, config.optimizer), algorithm)


def _passes(run: SupernetRun, network: nn.Module, batch: Batch, topologies: Sequence[Topology | None]) -> Trial:
    """Forward and backward through a network's features, one micro-batch a topology; None for another's network."""
    parts = batch.split(len(topologies))

    def passes(_: None) -> None:
        for part, topology in zip(parts, topologies, strict=True):
            with autocast(run.config, run.world.device):
                features = network(part.images) if topology is None else network(part.images, topology)
            backward_from_features(features if topology is None else features.values())

    return Trial(passes, prepare=lambda _: network.zero_grad(set_to_none=True))


def full_size_text(results: Sequence[Throughput]) -> str:
    """Return the table."""
    rows = [
        (
            r.name,
            f"{r.images_per_second:.1f}",
            f"{r.macs / 1e9:.2f}",
            f"{r.images_per_second * r.macs / 1e12:.2f}",
        )
        for r in results
    ]
    return aligned(("what", "images/s", "G MACs an image", "forward T MACs/s"), rows)
