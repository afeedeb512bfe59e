"""Cost of a block, as a search counts it (``search.cost``)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from fbnetv5.archs.cost import block_macs, block_params
from fbnetv5.archs.families import Family
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import cache_folder
from fbnetv5.config.schema import LatencyConfig, RuntimeConfig, SearchConfig
from fbnetv5.latency.cache import FOLDER, load_or_measure
from fbnetv5.latency.measure import current_conditions
from fbnetv5.latency.table import NUM_VALUES, Conditions, LatencyTable

LATENCY = "latency.json"
UNITS = {"macs": "MACs", "params": "parameters", "latency": "ms"}


class BlockCosts(NamedTuple):
    """The costs of a supernet's blocks, stage by stage, in the unit of ``search.cost``; with the table of latencies."""

    block_costs: list[float]
    latency: LatencyTable | None = None


def find_block_costs(
    search: SearchConfig,
    runtime: RuntimeConfig,
    family: Family,
    num_stages: int,
    side: int,
    world: World,
    earlier: Path | None = None,
) -> BlockCosts:
    """Return the costs of all blocks, the same on all ranks.

    Args:
        search: says what a block's cost is, and how latency is measured.
        runtime: says in which precision the network runs, and where latencies are kept.
        family: of the supernet.
        num_stages: of the supernet.
        side: of its square images, in pixels.
        world: whose rank 0 measures latencies, or reads them from the cache.
        earlier: folder of a run that is resumed, and goes on with the latencies that :func:`keep_latencies` left there.

    Raises:
        InputError: a resumed run's latencies are missing, damaged or another network's.
    """
    if search.cost == "latency":
        table = _latency_table(search.latency, runtime, family, side, world, earlier)
        return BlockCosts(table.block_latencies(num_stages), table)
    macs = search.cost == "macs"
    count = block_macs(family, num_stages, (side, side)) if macs else block_params(family, num_stages)
    return BlockCosts([float(number) for number in count])


def keep_latencies(latency: LatencyTable | None, folder: Path, world: World) -> None:
    """Write the latencies that a run searches with, if any, to its folder."""
    if latency is not None and world.is_main:
        latency.save(folder / LATENCY)


def _latency_table(
    latency: LatencyConfig, runtime: RuntimeConfig, family: Family, side: int, world: World, earlier: Path | None
) -> LatencyTable:
    """Return rank 0's table."""
    conditions = current_conditions(
        family,
        (side, side),
        world.device,
        precision=runtime.precision,
        batch_size=latency.batch_size,
        repeats=latency.repeats,
    )
    if not world.is_main:
        return LatencyTable.from_list(conditions, _from_main(world, [0.0] * NUM_VALUES))
    table = None if earlier is None else _own_table(earlier, conditions)
    if table is None:
        cache = Path(runtime.latency_cache).expanduser() if runtime.latency_cache else cache_folder(FOLDER)
        table = load_or_measure(family, conditions, world.device, cache)
    return LatencyTable.from_list(table.conditions, _from_main(world, table.to_list()))


def _from_main(world: World, values: list[float]) -> list[float]:
    """Return rank 0's values."""
    return world.gather(torch.tensor(values, dtype=torch.float64))[: len(values)].tolist()


def _own_table(folder: Path, conditions: Conditions) -> LatencyTable | None:
    """Return the table that the run in ``folder`` began with, or None where none has begun."""
    file = folder / LATENCY
    if file.exists():
        table = LatencyTable.load(file)
        if not table.conditions.same_network(conditions):
            raise InputError(f"{file} is of another network ({table.conditions}); choose another output folder")
        return table
    if any((folder / "checkpoints").glob("step-*")):
        raise InputError(f"{file} is missing: the run began with its latencies; restore it, or start again elsewhere")
    return None
