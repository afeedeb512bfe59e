"""Cost of a block, as a search counts it (``search.cost``)."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
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
from fbnetv5.config.schema import RuntimeConfig
from fbnetv5.config.search import SearchConfig
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
    if (changed := _changed(search.latency)) and world.is_main:
        print(f"search.latency.{changed[0]} changes nothing: search.cost={search.cost}", file=sys.stderr)
    macs = search.cost == "macs"
    count = block_macs(family, num_stages, (side, side)) if macs else block_params(family, num_stages)
    return BlockCosts([float(number) for number in count])


def keep_latencies(latency: LatencyTable | None, folder: Path, world: World) -> None:
    """Write the latencies that a run searches with, if any, to its folder."""
    if latency is not None and world.is_main:
        latency.save(folder / LATENCY)


def _changed(latency: LatencyConfig) -> list[str]:
    """Return the options that are not as they are by default."""
    usual = vars(LatencyConfig())
    return [key for key, value in vars(latency).items() if value != usual[key]]


def _latency_table(
    latency: LatencyConfig, runtime: RuntimeConfig, family: Family, size: Size, world: World, earlier: Path | None
) -> LatencyTable:
    """Return rank 0's table: that of a run that is resumed, the one that is given, or what is measured."""
    table = None
    if world.is_main:
        table = None if earlier is None else _own_table(earlier, family, size)
        if table is None and latency.table is not None:
            table = _given_table(local_path(latency.table), latency, family, size)
        if table is None:
            table = _measured_table(latency, runtime, family, size, world)
    text = _from_main(world, "" if table is None else json.dumps(asdict(table.conditions)))
    own = [0.0] * NUM_VALUES if table is None else table.to_list()
    values = world.broadcast(torch.tensor(own, dtype=torch.float64)).tolist()
    return table or LatencyTable.from_list(Conditions.of(json.loads(text)), values)


def _measured_table(
    latency: LatencyConfig, runtime: RuntimeConfig, family: Family, size: Size, world: World
) -> LatencyTable:
    """Return the table of what parts take here, or on the device that a command asks; from the cache if it is there."""
    if latency.runtime == TORCH:
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
    cache = Path(runtime.latency_cache).expanduser() if runtime.latency_cache else cache_folder(FOLDER)
    measure = None
    if latency.runtime != TORCH:
        parts = cache_file(conditions, cache).with_suffix("")
        measure = partial(measure_exported, family, conditions, latency, parts)
    return load_or_measure(family, conditions, world.device, cache, measure=measure)


def _given_table(file: Path, latency: LatencyConfig, family: Family, size: Size) -> LatencyTable:
    """Read the table that ``search.latency.table`` names, which is what the other options say, if they say anything."""
    table = LatencyTable.load(file)
    found = table.conditions
    its = {"runtime": found.runtime_name, "precision": found.precision, "threads": found.threads, "command": None}
    its |= {"device": found.device, "batch_size": found.batch_size}
    for key in its.keys() & set(_changed(latency)):
        if its[key] != getattr(latency, key):
            shown = "its milliseconds" if key == "command" else f"{key}={its[key]}"
            raise InputError(f"search.latency.table={file} has {shown}: leave out search.latency.{key}, or the table")
    if not _is_of(found, family, size):
        raise InputError(
            f"search.latency.table={file} is of {found.family} at {found.size[0]} x {found.size[1]} pixels, the search "
            f"of {family.name} at {size[0]} x {size[1]}; set search.latency.size, or measure again"
        )
    return table


def _is_of(found: Conditions, family: Family, size: Size) -> bool:
    return (found.family, found.layers, found.size) == (family.name, layers_digest(family), size)


def _from_main(world: World, text: str) -> str:
    """Return rank 0's text."""
    codes = torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8)
    length = int(world.broadcast(torch.tensor([len(codes)]))[0])
    own = codes if len(codes) == length else torch.zeros(length, dtype=torch.uint8)
    return bytes(world.broadcast(own).tolist()).decode()


def _own_table(folder: Path, family: Family, size: Size) -> LatencyTable | None:
    """Return the table that the run in ``folder`` began with, or None where none has begun."""
    file, begun = folder / LATENCY, any((folder / "checkpoints").glob("step-*"))
    if not begun and not (folder / "last_checkpoint").exists():  # the latter is D2Go's
        return None
    if file.exists():
        table = LatencyTable.load(file)
        if not _is_of(table.conditions, family, size):
            raise InputError(f"{file} is of another network ({table.conditions}); choose another output folder")
        return table
    raise InputError(f"{file} is missing: the run began with its latencies; restore it, or start again elsewhere")
