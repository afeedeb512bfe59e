"""What Table 13 of FNA++ consists of: its rows, and the runs that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import MISSING

from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import run_job
from fbnetv5.config.option import option
from fbnetv5.config.write import path_override
from fbnetv5.runs.job import Job, Run
from fbnetv5.runs.study import RunEntry, TrainEntry, check_seeds, find_config, load_study

SEED_NETWORK = "seed_network"


class Row(NamedTuple):
    """A row of the table: its name, and the parameters that the search and the adaptation start from."""

    name: str
    search: str
    adapt: str


ROWS = {
    1: Row("Remap → ArchAdapt → RemapSuper → ParamAdapt (FNA++)", "seed", "super"),
    2: Row("Remap → ArchAdapt → Remap → ParamAdapt (FNA)", "seed", "seed"),
    3: Row("RandInit → ArchAdapt → Remap → ParamAdapt", "random", "seed"),
    4: Row("Remap → ArchAdapt → RandInit → ParamAdapt", "seed", "random"),
    5: Row("RandInit → ArchAdapt → RandInit → ParamAdapt", "random", "random"),
}


@dataclass
class Table13Config:
    """The keys of a table."""

    name: str = option(MISSING, "name of the table")
    output: str = option("runs/${name}", "its folder, from the working directory")
    data: str = option("", "folder of data, which overrides may refer to as ${data}")
    seeds: list[int] = option(lambda: [0, 1, 2], "seeds; each searches and adapts anew, from the same seed network")
    rows: list[int] = option(lambda: list(ROWS), "rows of the table, 1 to 5")
    seed_network: RunEntry | None = option(None, "training of the seed network; done once")
    trained_seed: str | None = option(
        None, "instead of that: the folder of a seed network that is trained, or a network's name with weights"
    )
    space: str | None = option(None, "search space; null: that of the search's config")
    search: RunEntry = option(RunEntry, "the search")
    adapt: TrainEntry = option(TrainEntry, "the parameter adaptation, and the metric that rows are compared by")


def load_table(file: Path, overrides: Sequence[str] = ()) -> Table13Config:
    """Read the config of a table, with ``key=value`` overrides.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    config = load_study(file, Table13Config, {}, overrides)
    unknown = sorted(set(config.rows) - set(ROWS))
    if unknown or not config.rows:
        raise InputError(f"rows={config.rows}: choose from {', '.join(map(str, ROWS))}")
    check_seeds(config.seeds)
    return config


def plan(config: Table13Config, root: Path) -> list[Job]:
    """Return all runs, in the order in which they should start."""
    jobs: list[Job] = []
    first: tuple[str, ...] = ()
    seed_network: tuple[str, ...] = ()
    if config.trained_seed is not None:
        seed_network = (_seed_override(config.trained_seed),)
    elif config.seed_network is not None:
        jobs.append(_run(SEED_NETWORK, config.seed_network, (), root))
        first = (jobs[0].name,)
        seed_network = (path_override("project.seed", jobs[0].folder),)
    space = () if config.space is None else (f"project.space={config.space}",)
    for seed in config.seeds:
        for start in dict.fromkeys(ROWS[row].search for row in config.rows):
            changes = (f"seed={seed}", f"project.start={start}", *seed_network, *space)
            jobs.append(_run(search_name(seed, start), config.search, changes, root, first))
        for row in config.rows:
            search = search_name(seed, ROWS[row].search)
            changes = (
                f"seed={seed}",
                f"project.start={ROWS[row].adapt}",
                path_override("project.search", root / search),
            )
            jobs.append(_run(adapt_name(seed, row), config.adapt, changes, root, (search,)))
    return jobs


def _seed_override(seed: str) -> str:
    """Return what sets the seed of a search: a folder by its absolute path, anything else as it is."""
    folder = Path(seed).absolute()
    return path_override("project.seed", folder if folder.is_dir() else seed)


def search_name(seed: int, start: str) -> str:
    """Return the name of a search."""
    return f"seed-{seed}/search-from-{start}"


def adapt_name(seed: int, row: int) -> str:
    """Return the name of the parameter adaptation of a row."""
    return f"seed-{seed}/row-{row}"


def _run(name: str, entry: RunEntry, changes: tuple[str, ...], root: Path, after: tuple[str, ...] = ()) -> Job:
    """Return a run; one that was interrupted goes on from its last checkpoint."""
    folder = root / name
    overrides = (*entry.overrides, *changes, path_override("output", folder), "resume=true")
    return Job(name, Run(find_config(entry), overrides, run_job), folder, after, group=entry.config)
