"""From a config file and ``key=a,b`` overrides to the list of a sweep's jobs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import SEARCH_PATH, has_key, load_config, open_ended, values_of
from fbnetv5.config.schema import RunConfig, register
from fbnetv5.config.write import path_override
from fbnetv5.runs.job import Job, Run

MAX_NAME = 100  # characters of a folder's name
FILES = ("model.topology", "model.weights")  # keys whose value may be a path with wildcards


def with_file_axes(file: Path, overrides: Sequence[str]) -> list[str]:
    """Return the axes that the file gives as ``hydra.sweeper.params``, as overrides, and after them ``overrides``.

    An axis that ``overrides`` set stays out. A file that cannot be read has none: :func:`load_config` says why. A path
    with wildcards, such as ``model.topology=family_cls/*.yaml``, is the axis of its files.

    Raises:
        InputError: no file is like such a path.
    """
    overrides = [_with_files(text) for text in overrides]
    try:
        if not has_key(file, "hydra"):
            return overrides
        register()
        with initialize_config_dir(str(file.absolute().parent), version_base="1.3"):
            node = compose(file.stem, overrides=[SEARCH_PATH], return_hydra_config=True)
            params = OmegaConf.select(node, "hydra.sweeper.params") or {}
        given = {override.key_or_group for override in _parse(overrides)}
    except (InputError, HydraException, OmegaConfBaseException, YAMLError, RecursionError):
        return list(overrides)
    return [*(_with_files(f"{key}={value}") for key, value in params.items() if key not in given), *overrides]


def _with_files(override: str) -> str:
    """Give a path whose last part has wildcards the files that it stands for, in alphabetical order."""
    key, _, value = override.partition("=")
    pattern = value.strip("'\"")
    if key not in FILES or not {"*", "?"} & set(pattern):
        return override
    place = Path(pattern).expanduser()
    files = sorted(place.parent.glob(place.name))
    if not files:
        raise InputError(f"{override}: there is no such file")
    return f"{key}=" + ",".join(path_override("", file).removeprefix("=") for file in files)


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys that have several values."""
    try:
        return [override.key_or_group for override in _parse(overrides) if override.is_sweep_override()]
    except HydraException:
        return []  # load_config says what is wrong


def plan_sweep(file: Path, overrides: Sequence[str], run: Callable[[RunConfig], None]) -> list[Job]:
    """Return all combinations of the swept values, in the order of ``overrides``, once every value has been checked.

    Args:
        file: the config; the axes that it gives itself are among ``overrides`` (:func:`with_file_axes`).
        overrides: in hydra's grammar.
        run: does one job.

    Raises:
        InputError: a key or a value is wrong, or an axis is continuous.
    """
    root = Path(load_config(file, overrides, sweep=True).output).absolute()
    parsed = {override.key_or_group: override for override in _parse(overrides)}  # the last of a key counts
    if "output" in parsed and parsed["output"].is_sweep_override():
        raise InputError("output is one folder, in which each job has its own: give one value")
    for key, override in parsed.items():
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise InputError(f"{key}: an interval has no end of values; write {key}=a,b,c or {key}=range(0,3)")
    swept = [key for key, override in parsed.items() if override.is_sweep_override()]
    axes = {key: values_of(override) for key, override in parsed.items()}
    start = {key: _common_folder(axes[key]) for key in swept}
    jobs: list[Job] = []
    for values in itertools.product(*axes.values()):
        job = dict(zip(axes, values, strict=True))
        named = {key: job[key].split("=", 1)[1].strip("\"'").removeprefix(start[key]) for key in swept}
        name = _unused(_name(named), {other.name for other in jobs})
        folder = root / name
        others = [value for key, value in job.items() if key != "output"]
        overrides = (*others, path_override("output", folder))
        jobs.append(Job(name, Run(file, overrides, run, tuple(job[key] for key in swept)), folder))
    return jobs


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed: list[Override] = OverridesParser.create().parse_overrides([open_ended(text) for text in overrides])
    return parsed


def _common_folder(values: Sequence[str]) -> str:
    """Return the folder, with its slash, that the values of an axis all lie in; empty where they lie in none."""
    folders = {value.split("=", 1)[-1].strip("\"'").rpartition("/")[0] for value in values}
    folder = folders.pop() if len(folders) == 1 else ""
    return f"{folder}/" if folder else ""


def _name(swept: dict[str, str]) -> str:
    """Return the name of a job's folder, which a shell and hydra's grammar take as it is, without quotes.

    Args:
        swept: the job's values by key.
    """
    short = [key.rsplit(".", 1)[-1] for key in swept]
    parts = []
    for key, last in zip(swept, short, strict=True):
        text = re.sub(r"[^\w.+-]+", "-", swept[key]).strip("-")
        parts.append(f"{last if short.count(last) == 1 else key}-{text}")
    return "__".join(parts)[:MAX_NAME] or "job"


def _unused(name: str, taken: set[str]) -> str:
    """Return ``name``, numbered where it is taken."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(candidate for candidate in numbered if candidate not in taken)
