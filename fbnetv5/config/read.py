"""Reading config files, and saying in one line what is wrong with them."""

from __future__ import annotations

import contextlib
import glob
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fbnetv5.base.documents import kind_of, parse_yaml, read_text
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.limits import MAX_DOCUMENT
from fbnetv5.config.describe import describe
from fbnetv5.config.option import check_options
from fbnetv5.config.references import check_references
from fbnetv5.config.schema import RENAMED, RunConfig, register
from fbnetv5.config.write import path_override

CONFIGS = (Path(__file__).parents[1] / "configs").resolve()  # a link in a clone, a folder where a wheel is installed
CONFIG = "config.yaml"  # of a run's folder: its resolved configuration
SEARCH_PATH = f"hydra.searchpath=[{path_override('', f'file://{CONFIGS}').removeprefix('=')}]"
OPEN_ENDED = (  # mappings without fixed keys
    "tasks.",
    "data.mask_values",
    "search.task_weights",
    "search.last_look.joint_weights",
    "search.algorithm",
    "model.head",
    "model.network",
    "model.tasks",
    "label.boxes",
    "label.masks",
    "project",
)
Schema = TypeVar("Schema")
PLAIN_KEYS = ("name", "job", "seed", "output", "resume")  # no groups of keys
WORDS = re.compile(r"[\w./-][\w./ -]*")  # of any language, without what hydra's grammar gives a meaning


def load_config(file: Path, overrides: Sequence[str] = (), *, sweep: bool = False) -> RunConfig:
    """Read a config file with ``key=value`` overrides, as the command line does.

    Args:
        file: ends in .yaml; may build on the project's own, as in ``defaults: [/search/pets, _self_]``.
        overrides: in hydra's grammar.
        sweep: whether ``key=a,b`` is allowed; all values are checked, the first of each is returned.

    Raises:
        InputError: a key is unknown, a value has another type, or the file is no valid config.
    """
    register()
    try:
        parsed = OverridesParser.create().parse_overrides([open_ended(override) for override in overrides])
        _check_names_beside(file, parsed)
        check_file(file, itertools.chain.from_iterable(map(_chosen, parsed)))
        swept = [override.key_or_group for override in parsed if override.is_sweep_override()]
        if swept and not sweep:
            raise InputError(f"{swept[0]} has several values; --multirun runs them all, or quote the value")
        runs = itertools.zip_longest(*map(values_of, parsed))  # each value once, not each combination
        first = [next(iter(values_of(override))) for override in parsed]
        configs = [
            _compose(file, [value or default for value, default in zip(run, first, strict=True)]) for run in runs
        ]
        return configs[0] if configs else _compose(file, [])
    except (HydraException, OmegaConfBaseException, YAMLError, RecursionError) as error:
        raise InputError(f"{file}: {_explain(error)}") from error
    except OSError as error:  # hydra looks for names that no file could have
        raise InputError(f"{file}: a config that it builds on cannot be read: {error.strerror or error}") from error


def _check_names_beside(file: Path, overrides: Iterable[Override]) -> None:
    """Raise InputError where a key that is set is no group and hydra would take a folder beside the config for one."""
    for key in (str(override.key_or_group) for override in overrides):
        folder = file.absolute().parent / key
        if key in PLAIN_KEYS and folder.is_dir():
            raise InputError(
                f"{folder} is called as the key '{key}', and hydra takes a folder beside a config for a choice of "
                f"configs: rename it, or move {file.name} elsewhere"
            )


def has_key(file: Path, key: str) -> bool:
    """Whether a config, or one that it may build on, has a key. Raises InputError as :func:`check_file`."""
    return any(key in content for content in check_file(file))


def check_file(file: Path, chosen: Iterable[str] = ()) -> list[dict[Any, Any]]:
    """Check that a file, and all that it may build on, can be read as configs, before hydra reads them.

    Args:
        file: of a config; what its ``defaults`` name, and theirs, is checked too.
        chosen: names of other configs that are added, such as those of ``+group=name``.

    Returns:
        what these files say, each as it stands.

    Raises:
        InputError: one is no YAML file, empty, too large, or has aliases that multiply.
    """
    folder, seen, contents = file.absolute().parent, {file.absolute()}, []
    waiting = [file, *(place for name in chosen for place in _places(name, (folder, CONFIGS)))]
    while waiting:
        one = waiting.pop()
        seen.add(one.absolute())
        contents.append(_checked(one))
        found = [place for name in _defaults(contents[-1]) for place in _places(name, (one.parent, folder, CONFIGS))]
        waiting += [place for place in dict.fromkeys(found) if place.absolute() not in seen]
    return contents


def _places(name: str, folders: Iterable[Path]) -> list[Path]:
    """Return the files that a name of a config may mean; where it has ``${...}``, all that it might."""
    pattern = "*".join(glob.escape(part) for part in re.split(r"\$\{.*\}", name.strip("/")))
    with contextlib.suppress(OSError):  # such as of a name that no file could have
        return [place for folder in folders for place in folder.glob(f"{pattern}.yaml")]
    return []


def _chosen(override: Override) -> list[str]:
    """Return the names of the configs that ``group=name`` adds, if the key is a group."""
    given = swept_values(override) if override.is_sweep_override() else override.value()
    group = str(override.key_or_group)
    return [f"{group}/{name}" for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]


def _checked(file: Path) -> dict[Any, Any]:
    """Return what a config file says. Raises InputError as :func:`check_file`."""
    try:
        content = parse_yaml(read_text(file, MAX_DOCUMENT))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    if content is None:
        raise InputError(f"{file} is empty: a config starts with `defaults: [/fbnetv5/schema, _self_]`")
    if not isinstance(content, dict):
        raise InputError(f"{file} is {kind_of(content)}, and a config is a mapping of keys to values")
    return content


def _defaults(content: Mapping[Any, Any]) -> list[str]:
    """Return the names of the configs that one builds on, without what hydra allows around them."""
    listed = content.get("defaults")
    names: list[str] = []
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, str):
            names.append(entry)
        elif isinstance(entry, Mapping):
            for group, values in entry.items():
                chosen = values if isinstance(values, list) else [values]
                plain = str(group).partition("@")[0]
                names += [f"{plain}/{value}" for value in chosen if isinstance(value, str)]
    return [re.sub(r"^(optional |override )*|@.*$|\.yaml$", "", name) for name in names]


def find_config(name: str) -> Path | None:
    """Return the config file of a path, or of a name that ``defaults`` lists have, such as search/pets; None: no such.

    Paths are from the working directory, or from the program's own: configs/quickstart.yaml, projects/fna/configs/...
    """
    file = f"{name.strip('/').removesuffix('.yaml')}.yaml"
    places = (Path(name).expanduser(), CONFIGS / file, CONFIGS.parent / file)
    return next((place.absolute() for place in places if place.is_file()), None)


def config_names() -> list[str]:
    """Return the names of the configs that come with the program."""
    files = (file.relative_to(CONFIGS).with_suffix("") for file in CONFIGS.rglob("*.yaml"))
    return sorted(str(file) for file in files if file.parts[0] not in ("topologies", "d2go"))


def open_ended(override: str) -> str:
    """Let hydra add entries to the mappings without fixed keys; what they hold is checked when it is used.

    A plain value with letters that hydra's grammar does not know, as in ``data.root=données``, is quoted; a path below
    ``~``, which a shell leaves as it is behind ``=``, is written out.

    Raises:
        InputError: it is no ``key=value``.
    """
    key, equals, value = override.partition("=")
    if key.startswith("-") or key != key.strip() or not (equals or key.startswith("~")):
        plain = key.strip("- ")
        known = any(plain == name for name, _, _ in describe())
        meant = f"; did you mean {plain}={value.strip() or 'VALUE'}?" if known else ""
        wrong = "there is no such option here; --help lists them" if key.startswith("-") else "this is no key=value"
        raise InputError(f"{override}: {wrong}{meant}")
    if value.startswith("~/"):
        value = str(Path(value).expanduser())
        override = f"{key}={value}"
    if not value.isascii() and WORDS.fullmatch(value):
        override = f"{key}='{value}'"
    return f"++{override}" if override.startswith(OPEN_ENDED) else override


def to_run_config(node: DictConfig) -> RunConfig:
    """Turn hydra's node into a :class:`RunConfig`.

    Raises:
        InputError: a key is unknown, or a value is missing, of another type or out of its range.
    """
    if OmegaConf.get_type(node) is not RunConfig:
        raise InputError("the config builds on nothing: start it with `defaults: [/fbnetv5/schema, _self_]`")
    try:
        plain = OmegaConf.to_container(node)
        assert isinstance(plain, dict)
        check_references(plain)
        # merged into a fresh schema, as hydra lets +key=value past the one that it composed
        config = OmegaConf.to_object(OmegaConf.merge(_schema(), plain))
    except OmegaConfBaseException as error:
        raise InputError(_explain(error)) from error
    except ValueError as error:
        raise InputError(str(error)) from error
    assert isinstance(config, RunConfig)
    check_options(config)
    if config.output.startswith("~/"):  # it would make a folder of that name
        raise InputError(f"output={config.output}: write the path out, as ~ stands for nothing here")
    return config


@cache
def _schema() -> DictConfig:
    """All keys with their defaults; merging copies it."""
    return OmegaConf.structured(RunConfig)


def read_project(node: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """Read a project's own keys, ``RunConfig.project``, as an instance of its dataclass.

    Args:
        node: the keys, nested, as plain data.
        schema: a dataclass, whose fields :func:`fbnetv5.config.option.option` declares.

    Raises:
        InputError: a key is unknown, or a value is missing or of another type.
    """
    return read_entry("project", node, schema)


def read_entry(key: str, node: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """Read an entry of a mapping without fixed keys as an instance of a dataclass; as :func:`read_project`.

    Args:
        key: of the entry, dotted, for messages.
        node: the keys below it, nested, as plain data.
        schema: a dataclass, whose fields :func:`fbnetv5.config.option.option` declares.
    """
    try:
        declared: Any = OmegaConf.structured(schema)
        given: Any = dict(node)
        for part in reversed(key.split(".")):  # below the key that messages shall name
            declared, given = {part: declared}, {part: given}
        read: Any = OmegaConf.to_object(OmegaConf.select(OmegaConf.merge(OmegaConf.create(declared), given), key))
    except OmegaConfBaseException as error:
        raise InputError(_explain(error, [known for known, _, _ in describe(schema, f"{key}.")])) from error
    assert isinstance(read, schema)
    check_options(read, f"{key}.")
    return read


def _compose(file: Path, overrides: Sequence[str]) -> RunConfig:
    with initialize_config_dir(str(file.absolute().parent), version_base="1.3"):
        return to_run_config(compose(file.stem, overrides=[*overrides, SEARCH_PATH]))


def values_of(override: Override) -> list[str]:
    """Return ``key=value`` for each value of an override; one without a value, such as ``~key``, as it stands."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in swept_values(override)]


def swept_values(override: Override) -> list[str]:
    """Return the values of an axis; of an interval, which has no end of them, the first."""
    interval: Any = override.value()
    return [str(interval.start)] if override.is_interval_sweep() else list(override.sweep_string_iterator())


def _explain(error: BaseException, known: Sequence[str] = ()) -> str:
    """Say in one line what hydra or omegaconf found wrong, with the nearest known key where one is unknown.

    ``known`` are all keys that there are, by default those of :class:`RunConfig`.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        name = str(error.missing_cfg_file)
        return f"it builds on {name}, and there is no such config{nearest(name, config_names())}"
    text = str(error)
    full_key = re.search(r"full_key: (\S+)", text)
    if full_key is None:
        return " ".join(text.split())
    key = full_key.group(1)
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}"
    if " not in " in text:
        known = known or [known_key for known_key, _, _ in describe()]
        return f"unknown key '{key}'{nearest(key, {*known, *(k.rsplit('.', 1)[0] for k in known)})}"
    return f"{key}: {text.splitlines()[0]}"
