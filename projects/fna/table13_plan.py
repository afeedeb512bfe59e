"""What Table 13 of FNA++ consists of: its rows, and the runs that they share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import MISSING

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import WEIGHTS, digest_of
from fbnetv5.cli.launch import run_job
from fbnetv5.config.option import option
from fbnetv5.config.read import load_config
from fbnetv5.config.write import path_override
from fbnetv5.runs.inputs import inputs
from fbnetv5.runs.job import Job, Run
from fbnetv5.runs.study import RunEntry, TrainEntry, check_seeds, find_config, load_study

SEED_NETWORK = "seed_network"
LEFT_OUT = (  # keys that rows do not depend on, or that differ between them
    *("seed", "output", "name", "data.root", "project.search", "project.start"),
    *("tasks", "search.", "label.", "export.", "evaluate."),
)


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
    table: str | None = option(None, "csv file that keeps the rows, of several tables if need be; null: none does")
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


def settings(config: Table13Config) -> dict[str, Any]:
    """Return what the rows of a table depend on, but for their seeds and the places of data and runs."""
    seed, space = _given(config, Path("seed"))
    found: dict[str, Any] = {"metric": config.adapt.metric}
    for name, entry, own in (
        (SEED_NETWORK, config.seed_network if config.trained_seed is None else None, ()),
        ("search", config.search, (*seed, *space)),
        ("adapt", config.adapt, ("project.search=search",)),
    ):
        if entry is not None:
            keys = inputs(load_config(find_config(entry), (*entry.overrides, *own)))
            found |= {f"{name}.{key}": value for key, value in keys.items() if not key.startswith(LEFT_OUT)}
    if config.trained_seed is not None and Path(config.trained_seed).is_dir():
        found["search.project.seed"] = f"weights {digest_of(Path(config.trained_seed) / WEIGHTS)}"
    elif Path(str(found.get("search.project.seed"))).is_absolute():  # what it is follows from the keys of its training
        del found["search.project.seed"]
    return found


def plan(config: Table13Config, root: Path, known: Collection[tuple[int, int]] = ()) -> list[Job]:
    """Return all runs, in the order in which they should start; but for those of rows and seeds that are ``known``."""
    wanted = {seed: [row for row in config.rows if (row, seed) not in known] for seed in config.seeds}
    if not any(wanted.values()):
        return []
    jobs: list[Job] = []
    first: tuple[str, ...] = ()
    if config.trained_seed is None and config.seed_network is not None:
        jobs.append(_run(SEED_NETWORK, config.seed_network, (), root))
        first = (jobs[0].name,)
    seed_network, space = _given(config, root / SEED_NETWORK)
    for seed, rows in wanted.items():
        for start in dict.fromkeys(ROWS[row].search for row in rows):
            changes = (f"seed={seed}", f"project.start={start}", *seed_network, *space)
            jobs.append(_run(search_name(seed, start), config.search, changes, root, first))
        for row in rows:
            search = search_name(seed, ROWS[row].search)
            changes = (
                f"seed={seed}",
                f"project.start={ROWS[row].adapt}",
                path_override("project.search", root / search),
            )
            jobs.append(_run(adapt_name(seed, row), config.adapt, changes, root, (search,)))
    return jobs


def _given(config: Table13Config, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what sets the seed of a search, which is in ``folder`` where the table trains it; and the space."""
    space = () if config.space is None else (f"project.space={config.space}",)
    if config.trained_seed is not None:
        trained = Path(config.trained_seed).absolute()
        return (path_override("project.seed", trained if trained.is_dir() else config.trained_seed),), space
    return (() if config.seed_network is None else (path_override("project.seed", folder.absolute()),)), space


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
