"""The time of sampled architectures, against their MACs and against static networks of the same blocks."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats

from benchmarks.runs import autocast, backward_from_features, load_batches
from benchmarks.tables import aligned
from benchmarks.timing import Trial, median_seconds, seconds_by_round
from benchmarks.topologies import draw_topologies, spread_chances
from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.types import Batch
from fbnetv5.data.augmentation import crop_side
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.jobs.supernet import SupernetRun

NUM_GROUPS = 5


@dataclass(frozen=True)
class Architecture:
    """A sampled architecture, pruned, and the median seconds of a micro-batch's forward and backward pass.

    Attributes:
        from_start: drawn as a search starts, every block with 0.5; otherwise with another probability.
        macs: of the network for one image, without heads.
        seconds: with all heads.
    """

    from_start: bool
    num_blocks: int
    macs: int
    seconds: float


def measure_architectures(run: SupernetRun, count: int, rounds: int) -> list[Architecture]:
    """Time ``count`` architectures in turn: half drawn as a search starts, half with probabilities from 0 to 1."""
    topologies = _pruned(run, spread_chances(count))
    batch = first_micro_batch(run)
    trials = {i: _step_trial(run, batch, topology) for i, topology in enumerate(topologies)}
    seconds = median_seconds(trials, rounds, run.world.device)
    return [
        Architecture(i < count // 2, len(topology.blocks), _macs(run, topology), seconds[i])
        for i, topology in enumerate(topologies)
    ]


def first_micro_batch(run: SupernetRun) -> Batch:
    """Return the images that the first architecture of a search would see."""
    (batch,) = load_batches(run.config, run.source, run.model, run.world, 1)
    return batch.split(run.config.search.num_samples)[0]


def _pruned(run: SupernetRun, chances: torch.Tensor) -> list[Topology]:
    """Draw one architecture a chance, and leave out what no head reads."""
    drawn = draw_topologies(run.space, chances, run.config.seed)
    return [topology.prune(run.model.head_paths) for topology in drawn]


def _macs(run: SupernetRun, topology: Topology) -> int:
    side = crop_side(run.config.data)
    return network_cost(run.model.network.family, topology, (side, side)).macs


def _step_trial(run: SupernetRun, batch: Batch, topology: Topology) -> Trial:
    def step(_: None) -> None:
        with autocast(run.config, run.world.device):
            losses = run.model(batch.images, batch.targets, topology)
        if losses:
            torch.stack(list(losses.values())).sum().backward()

    return Trial(step, prepare=lambda _: run.model.zero_grad(set_to_none=True))


def architectures_text(results: Sequence[Architecture]) -> str:
    """Return time by groups of ascending MACs, correlations, and what no block at all costs against the fit."""
    ordered = sorted(results, key=lambda r: r.macs)
    borders = [round(len(ordered) * i / NUM_GROUPS) for i in range(NUM_GROUPS + 1)]
    groups = [ordered[low:high] for low, high in itertools.pairwise(borders) if high > low]
    rows = [
        (
            f"{group[0].macs / 1e6:.1f} to {group[-1].macs / 1e6:.1f}",
            str(len(group)),
            f"{statistics.mean(r.num_blocks for r in group):.1f}",
            f"{statistics.mean(r.macs for r in group) / 1e6:.1f}",
            f"{statistics.median(r.seconds for r in group) * 1e3:.1f}",
        )
        for group in groups
    ]
    header = ("M MACs, from to", "architectures", "mean blocks", "mean M MACs", "median ms")
    macs, seconds = [r.macs for r in ordered], [r.seconds for r in ordered]
    fit = stats.linregress(macs, seconds)
    least = ordered[0]
    return "\n".join(
        [
            aligned(header, rows),
            _correlations("all", ordered),
            _correlations("drawn as a search starts", [r for r in ordered if r.from_start]),
            f"  linear fit: {fit.slope * 1e9:.2f} ms per M MACs over {fit.intercept * 1e3:.1f} ms\n"
            f"  {least.num_blocks} blocks take {least.seconds * 1e3:.1f} ms, and the fit says "
            f"{(fit.intercept + fit.slope * least.macs) * 1e3:.1f} ms: where they agree, skipped blocks cost no time",
        ]
    )


def _correlations(what: str, group: Sequence[Architecture]) -> str:
    seconds = [r.seconds for r in group]
    of_macs, of_blocks = [r.macs for r in group], [r.num_blocks for r in group]
    return (
        f"  {what} ({len(group)}): time with MACs: Pearson {stats.pearsonr(of_macs, seconds).statistic:.3f}, "
        f"Spearman {stats.spearmanr(of_macs, seconds).statistic:.3f}; "
        f"with the number of blocks: Pearson {stats.pearsonr(of_blocks, seconds).statistic:.3f}"
    )


@dataclass(frozen=True)
class Comparison:
    """Seconds of the network's forward and backward pass for one topology, in the supernet and built alone.

    Attributes:
        supernet, static: medians.
        ratio: the median of the rounds' ratios of supernet to static, timed one right after the other; where other
            programs come and go, it holds still when the ratio of the medians does not.
    """

    name: str
    num_blocks: int
    supernet: float
    static: float
    ratio: float


def measure_comparisons(run: SupernetRun, count: int, rounds: int) -> list[Comparison]:
    """Time topologies without blocks, with all, and ``count`` drawn ones, each as supernet and as network in turn."""
    chances = torch.cat([torch.tensor([0.0, 1.0]), torch.full((count,), 0.5)])
    names = ["no block", "all blocks", *(f"drawn {i + 1}" for i in range(count))]
    images = first_micro_batch(run).images
    return [
        _compare(run, name, topology, images, rounds)
        for name, topology in zip(names, _pruned(run, chances), strict=True)
    ]


def _compare(run: SupernetRun, name: str, topology: Topology, images: torch.Tensor, rounds: int) -> Comparison:
    trials = {
        "supernet": _network_trial(run, run.model.network, images, topology),
        "static": _network_trial(run, _static(run, topology), images, None),
    }
    seconds = seconds_by_round(trials, rounds, run.world.device)
    ratios = [supernet / static for supernet, static in zip(seconds["supernet"], seconds["static"], strict=True)]
    medians = [statistics.median(values) for values in (seconds["supernet"], seconds["static"], ratios)]
    return Comparison(name, len(topology.blocks), *medians)


def _static(run: SupernetRun, topology: Topology) -> MultiPathNet:
    """Build the network of a pruned topology alone, with the supernet's weights."""
    network = MultiPathNet(run.model.network.family, topology)
    weights = run.model.network.state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    network.to(run.world.device, WEIGHT_DTYPES[run.config.runtime.precision])
    return network.to(memory_format=torch.channels_last)


def _network_trial(run: SupernetRun, network: MultiPathNet, images: torch.Tensor, topology: Topology | None) -> Trial:
    def passes(_: None) -> None:
        with autocast(run.config, run.world.device):
            features = network(images, topology)
        backward_from_features(features.values())

    return Trial(passes, prepare=lambda _: network.zero_grad(set_to_none=True))


def comparisons_text(results: Sequence[Comparison]) -> str:
    """Return each ratio and their geometric mean."""
    rows = [
        (r.name, str(r.num_blocks), f"{r.supernet * 1e3:.1f}", f"{r.static * 1e3:.1f}", f"{r.ratio:.3f}")
        for r in results
    ]
    mean = statistics.geometric_mean(r.ratio for r in results)
    header = ("topology", "blocks", "supernet ms", "static ms", "ratio")
    return f"{aligned(header, rows)}\n  geometric mean of the ratios {mean:.3f} (aim: at most 1.05)"
