"""Cost of a block, as a search counts it (``search.cost``)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from fbnetv5.archs.cost import block_macs, block_params
from fbnetv5.archs.families import Family
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import cache_folder, local_path
from fbnetv5.base.types import Size
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.config.schema import RuntimeConfig, SearchConfig
from fbnetv5.latency.cache import FOLDER, cache_file, load_or_measure
from fbnetv5.latency.exported import check_options, file_conditions, measure_exported
from fbnetv5.latency.measure import current_conditions, layers_digest
from fbnetv5.latency.table import NUM_VALUES, TORCH, Conditions, LatencyTable

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
        side: of its square images, in pixels, where ``search.latency.size`` does not say otherwise.
        world: whose rank 0 measures latencies, or reads them from the cache.
        earlier: folder of a run that is resumed, and goes on with the latencies that :func:`keep_latencies` left there.

    Raises:
        InputError: a resumed run's latencies are missing, damaged or another network's, or parts cannot be timed.
    """
    if search.cost == "latency":
        check_options(search.latency)
        given = search.latency.size
        size = (side, side) if given is None else (given[0], given[1])
        table = _latency_table(search.latency, runtime, family, size, world, earlier)
        return BlockCosts(table.block_latencies(num_stages), table)
    macs = search.cost == "macs"
    count = block_macs(family, num_stages, (side, side)) if macs else block_params(family, num_stages)
    return BlockCosts([float(number) for number in count])


def keep_latencies(latency: LatencyTable | None, folder: Path, world: World) -> None:
    """Write the latencies that a run searches with, if any, to its folder."""
    if latency is not None and world.is_main:
        latency.save(folder / LATENCY)


def _latency_table(
    latency: LatencyConfig, runtime: RuntimeConfig, family: Family, size: Size, world: World, earlier: Path | None
) -> LatencyTable:
    """Return rank 0's table."""
    given = None if latency.table is None else _given_table(local_path(latency.table), family, size)
    if given is not None:
        conditions = given.conditions
    elif latency.runtime == TORCH:
        conditions = current_conditions(
            family,
            size,
            world.device,
            precision=runtime.precision,
            batch_size=latency.batch_size,
            repeats=latency.repeats,
        )
    else:
        conditions = file_conditions(family, size, latency)
    if not world.is_main:
        return LatencyTable.from_list(conditions, _from_main(world, [0.0] * NUM_VALUES))
    table = given if earlier is None else _own_table(earlier, conditions) or given
    if table is None:
        cache = Path(runtime.latency_cache).expanduser() if runtime.latency_cache else cache_folder(FOLDER)
        measure = None
        if latency.runtime != TORCH:
            parts = cache_file(conditions, cache).with_suffix("")
            measure = partial(measure_exported, family, conditions, latency, parts)
        table = load_or_measure(family, conditions, world.device, cache, measure=measure)
    _from_main(world, table.to_list())
    return table


def _given_table(file: Path, family: Family, size: Size) -> LatencyTable:
    """Read the table that ``search.latency.table`` names."""
    table = LatencyTable.load(file)
    found = table.conditions
    if (found.family, found.layers, found.size) != (family.name, layers_digest(family), size):
        raise InputError(
            f"search.latency.table={file} is of {found.family} at {found.size[0]} x {found.size[1]} pixels, the search "
            f"of {family.name} at {size[0]} x {size[1]}; set search.latency.size, or measure again"
        )
    return table


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
    if any((folder / "checkpoints").glob("step-*")) or (folder / "last_checkpoint").exists():  # the latter is D2Go's
        raise InputError(f"{file} is missing: the run began with its latencies; restore it, or start again elsewhere")
    return None
