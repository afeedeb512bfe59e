"""Topologies drawn from a task's probabilities, on condition that the backbones cost what is asked for.

Topologies are compared as the head sees them: a block that no path of the head reads costs nothing, and two topologies
that differ in such blocks only are one. Shapes: A topologies, S stages, P = 4 paths, B = S x P blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fbnetv5.archs.cost import block_costs, partition_costs
from fbnetv5.archs.families import NUM_PATHS, Family
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, derive_seed
from fbnetv5.base.types import Size

MAX_ENUMERATED = 16  # blocks; 65,536 topologies
NUM_DRAWS = 200_000  # of a space that is not enumerated
PUSHES = (1 / 64, 1 / 16, 1 / 4, 4.0, 16.0, 64.0)  # factors on the odds of every block, where too few draws fit
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """Which backbones are comparable: of ``family``, for images of ``size``, with MACs in ``least`` .. ``most``."""

    family: Family
    size: Size
    least: float
    most: float


@dataclass(frozen=True)
class Sampled:
    """A topology as the head sees it, with all outputs, and what its backbone costs."""

    topology: Topology
    macs: int

    @property
    def code(self) -> str:
        """Its selected blocks as a hexadecimal number, block (1, 0) first: a short name."""
        blocks = TopologySpace(self.topology.num_stages, [0] * self.topology.num_stages * NUM_PATHS)
        bits = "".join(map(str, blocks.encode(self.topology)))
        return f"{int(bits, 2):0{len(bits) // 4}x}"


def named_by_code(code: str, num_stages: int) -> Topology:
    """Return the topology, with all outputs, that :attr:`Sampled.code` names.

    Raises:
        InputError: it is no hexadecimal number of as many blocks.
    """
    num_blocks = num_stages * NUM_PATHS
    try:
        bits = f"{int(code, 16):0{num_blocks}b}"
        return TopologySpace(num_stages, [0] * num_blocks).decode([int(bit) for bit in bits])
    except ValueError as error:
        raise InputError(f"'{code}' is no hexadecimal number of {num_blocks} blocks, such as 0f3a") from error


def sample_topologies(
    probabilities: Sequence[float], paths: Sequence[int], window: Window, count: int, *key: int
) -> list[Sampled]:
    """Draw distinct topologies from p(a | MACs in the window), one after the other, without replacement.

    With up to 16 blocks the distribution is enumerated and exact. With more, topologies are drawn until enough lie in
    the window; if too few do, the likeliest are taken of draws that are pushed towards it.

    Args:
        probabilities: that each of the B blocks is selected, stage by stage, in (0, 1).
        paths: that the head of the final network reads.
        window: of the MACs.
        count: how many.
        key: what the draw depends on.

    Returns:
        ``count`` topologies, or all if there are fewer.

    Raises:
        InputError: no topology lies in the window.
    """
    rng, p = _generator(*key), np.asarray(probabilities)
    if len(p) <= MAX_ENUMERATED:
        chosen = _exactly(p, paths, window, count, rng)
    else:
        chosen = _by_rejection(p, paths, window, count, rng)
    _require_some(chosen, paths, window)
    return sampled_of(chosen, paths, window)


def topologies_in(probabilities: Sequence[float], paths: Sequence[int], window: Window, *key: int) -> Bools:
    """Return the distinct topologies in the window as the head sees them, [A, B].

    With up to 16 blocks all there are, with more those among many draws from p(a).

    Raises:
        InputError: no topology lies in the window.
    """
    p = np.asarray(probabilities)
    if len(p) <= MAX_ENUMERATED:
        found = enumerate_window(p, paths, window)[0]
    else:
        rng = _generator(*key)
        found = np.unique(
            np.concatenate([_draw_inside(_with_odds(p, f), paths, window, rng) for f in (1.0, *PUSHES)]), axis=0
        )
    _require_some(found, paths, window)
    return found


def sampled_of(selected: Bools, paths: Sequence[int], window: Window) -> list[Sampled]:
    """Return topologies as the head sees them, [A, B], with their MACs."""
    macs = backbone_macs(*prune(selected, paths), window)
    return [Sampled(_topology(row), int(cost)) for row, cost in zip(selected, macs, strict=True)]


def enumerate_window(p: NDArray[np.float64], paths: Sequence[int], window: Window) -> tuple[Bools, NDArray[np.float64]]:
    """Return every topology in the window as the head sees it, [A, B], and its probability given the window, [A]."""
    every = (np.arange(2 ** len(p))[:, None] >> np.arange(len(p))[::-1]) & 1 == 1
    seen, inside = _seen(every, paths, window)
    distinct, which = np.unique(seen[inside], axis=0, return_inverse=True)
    mass = np.bincount(which.ravel(), np.exp(_log_likelihood(every[inside], p)), minlength=len(distinct))
    return distinct, mass / max(mass.sum(), np.finfo(float).tiny)


def prune(selected: Bools, paths: Sequence[int]) -> tuple[Bools, NDArray[np.int64]]:
    """Drop what ``paths`` do not see, as :meth:`Topology.prune` does, for many topologies at once.

    Args:
        selected: blocks [A, B], stage by stage.
        paths: of the head.

    Returns:
        the blocks that are seen [A, B], and the number of trunk partitions that are needed [A].
    """
    active = selected.reshape(len(selected), -1, NUM_PATHS)
    kept = np.zeros_like(active)
    readers = np.zeros((len(active), NUM_PATHS), bool)
    readers[:, list(paths)] = True  # the outputs; later the blocks of the stage above
    carried = readers  # paths whose feature, as it stands after the stage, is read
    for stage in reversed(range(active.shape[1])):
        kept[:, stage] = active[:, stage] & (carried | _fused(readers))
        carried = np.where(active[:, stage], kept[:, stage], carried)
        readers = kept[:, stage]
    needed = carried | _fused(readers)
    return kept.reshape(selected.shape), NUM_PATHS - needed[:, ::-1].argmax(axis=1)


def backbone_macs(seen: Bools, num_partitions: NDArray[np.int64], window: Window) -> NDArray[np.int64]:
    """Return the MACs of pruned backbones, int64 [A], from what :func:`prune` gives."""
    partitions = np.cumsum([cost.macs for cost in partition_costs(window.family, window.size)])
    blocks = np.array([cost.macs for cost in block_costs(window.family, window.size)])
    per_path = seen.reshape(len(seen), -1, NUM_PATHS).sum(axis=1)
    macs: NDArray[np.int64] = per_path @ blocks + partitions[num_partitions - 1]
    return macs


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(key[0], Purpose.ABLATION, *key[1:]))


def _require_some(found: Bools, paths: Sequence[int], window: Window) -> None:
    if len(found) == 0:
        raise InputError(
            f"no topology of {found.shape[1]} blocks has {window.least / 1e6:.3f} to {window.most / 1e6:.3f} M MACs as "
            f"paths {', '.join(map(str, paths))} see it; change match or raise tolerance"
        )


def _fused(readers: Bools) -> Bools:
    """Whether the feature of each path is fused into a reader on another one, [A, P]."""
    fused: Bools = readers.sum(axis=1, keepdims=True) > readers
    return fused


def _seen(selected: Bools, paths: Sequence[int], window: Window) -> tuple[Bools, Bools]:
    """Return the topologies as the head sees them, [A, B], and which of them lie in the window, [A]."""
    seen, num_partitions = prune(selected, paths)
    macs = backbone_macs(seen, num_partitions, window)
    return seen, (macs >= window.least) & (macs <= window.most)


def _log_likelihood(selected: Bools, p: NDArray[np.float64]) -> NDArray[np.float64]:
    likelihood: NDArray[np.float64] = np.where(selected, np.log(p), np.log1p(-p)).sum(axis=1)
    return likelihood


def _exactly(
    p: NDArray[np.float64], paths: Sequence[int], window: Window, count: int, rng: np.random.Generator
) -> Bools:
    distinct, mass = enumerate_window(p, paths, window)
    if len(distinct) == 0:
        return distinct
    order = np.argsort(-(np.log(mass) + rng.gumbel(size=len(mass))))  # the top are a draw without replacement
    return distinct[order[:count]]


def _by_rejection(
    p: NDArray[np.float64], paths: Sequence[int], window: Window, count: int, rng: np.random.Generator
) -> Bools:
    drawn = _draw_inside(p, paths, window, rng)
    if len(drawn) < count:
        pushed = [_draw_inside(_with_odds(p, factor), paths, window, rng) for factor in PUSHES]
        drawn = np.unique(np.concatenate([drawn, *pushed]), axis=0)
        drawn = drawn[np.argsort(-_log_likelihood(drawn, p), kind="stable")]
    return drawn[:count]


def _draw_inside(p: NDArray[np.float64], paths: Sequence[int], window: Window, rng: np.random.Generator) -> Bools:
    """Draw from p; return the distinct topologies in the window as the head sees them, in the order drawn."""
    seen, inside = _seen(rng.random((NUM_DRAWS, len(p))) < p, paths, window)
    distinct, first = np.unique(seen[inside], axis=0, return_index=True)
    return distinct[np.argsort(first)]


def _with_odds(p: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return probabilities whose odds are ``factor`` times those of ``p``."""
    return factor * p / (factor * p + 1 - p)


def _topology(selected: Bools) -> Topology:
    num_stages = len(selected) // NUM_PATHS
    return TopologySpace(num_stages, [0] * len(selected)).decode([int(bit) for bit in selected])
