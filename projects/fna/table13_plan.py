"""What Table 13 of FNA++ consists of: its rows, and the runs that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import run_job
from fbnetv5.config.option import option
from fbnetv5.config.read import load_config, path_override
from fbnetv5.projects.table5.options import RunEntry, TrainEntry, find_config
from fbnetv5.runs.outcome import ended, is_finished
from fbnetv5.runs.plan import SweepJob

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
    trained_seed: str | None = option(None, "folder of a seed network that is trained already, instead of that")
    search: RunEntry = option(RunEntry, "the search")
    adapt: TrainEntry = option(TrainEntry, "the parameter adaptation, and the metric that rows are compared by")


def load_table(file: Path, overrides: Sequence[str] = ()) -> Table13Config:
    """Read the config of a table, with ``key=value`` overrides.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    try:
        node = OmegaConf.merge(
            OmegaConf.structured(Table13Config), OmegaConf.load(file), OmegaConf.from_dotlist(list(overrides))
        )
        config = OmegaConf.to_object(node)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"{file}: {' '.join(str(error).split())}") from error
    assert isinstance(config, Table13Config)
    unknown = sorted(set(config.rows) - set(ROWS))
    if unknown or not config.rows:
        raise InputError(f"rows={config.rows}: choose from {', '.join(map(str, ROWS))}")
    if not config.seeds or min(config.seeds) < 0 or len(set(config.seeds)) < len(config.seeds):
        raise InputError(f"seeds={config.seeds}: give at least one, each once, none below 0")
    return config


@dataclass(frozen=True)
class Part:
    """One run.

    Attributes:
        name: of its folder, below that of the table.
        config: its file.
        overrides: of the run, with its folder.
        folder: of the run.
        after: names of the parts that it needs.
    """

    name: str
    config: Path
    overrides: tuple[str, ...]
    folder: Path
    after: tuple[str, ...] = ()


def plan(config: Table13Config, root: Path) -> dict[str, Part]:
    """Return all parts by name, in the order in which they should start."""
    parts: list[Part] = []
    first: tuple[str, ...] = ()
    seed_network: tuple[str, ...] = ()
    if config.trained_seed is not None:
        seed_network = (path_override("project.seed", Path(config.trained_seed).absolute()),)
    elif config.seed_network is not None:
        parts.append(_part(SEED_NETWORK, config.seed_network, (), root))
        first = (parts[0].name,)
        seed_network = (path_override("project.seed", parts[0].folder),)
    for seed in config.seeds:
        for start in dict.fromkeys(ROWS[row].search for row in config.rows):
            changes = (f"seed={seed}", f"project.start={start}", *seed_network)
            parts.append(_part(search_name(seed, start), config.search, changes, root, first))
        for row in config.rows:
            search = search_name(seed, ROWS[row].search)
            changes = (
                f"seed={seed}",
                f"project.start={ROWS[row].adapt}",
                path_override("project.search", root / search),
            )
            parts.append(_part(adapt_name(seed, row), config.adapt, changes, root, (search,)))
    return {part.name: part for part in parts}


def search_name(seed: int, start: str) -> str:
    """Return the name of a search."""
    return f"seed-{seed}/search-from-{start}"


def adapt_name(seed: int, row: int) -> str:
    """Return the name of the parameter adaptation of a row."""
    return f"seed-{seed}/row-{row}"


def do_part(part: Part) -> None:
    """Run a part; one that was interrupted goes on from its last checkpoint.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    run_job(load_config(part.config, (*part.overrides, "resume=true")))


def is_done(part: Part) -> bool:
    """Whether an earlier run of the table has finished this very part."""
    return (part.folder / "config.yaml").exists() and is_finished(part.folder, load_config(part.config, part.overrides))


def record_end(part: Part, error: str, started: float) -> None:
    """Write to the folder of a part how it ended, for :func:`is_done`; ``started`` is in ``time.monotonic()``."""
    ended(SweepJob(part.name, (), part.overrides, part.folder), error, started)


def _part(name: str, entry: RunEntry, changes: tuple[str, ...], root: Path, after: tuple[str, ...] = ()) -> Part:
    folder = root / name
    overrides = (*entry.overrides, *changes, path_override("output", folder))
    return Part(name, find_config(entry), overrides, folder, after)
