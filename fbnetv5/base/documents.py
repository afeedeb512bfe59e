"""Documents from outside, YAML and JSON: reading them within bounds, and saying in one line what is wrong.

A file must be a regular one of a bounded size; a document must not nest too deep, a mapping must not have a key twice,
and aliases of YAML must not multiply. Messages never quote what a file holds: it may not be the file it was taken for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import require_regular
from fbnetv5.base.limits import MAX_DOCUMENT, MAX_JSON, MAX_NODES

Parsed = TypeVar("Parsed")


def read_document(path: str | os.PathLike[str], kind: str, parse: Callable[[object], Parsed]) -> Parsed:
    """Read a YAML file and return what ``parse`` makes of its content.

    Args:
        path: of the file.
        kind: the thing that it describes, for messages.
        parse: raises ValueError where the content does not describe one.

    Raises:
        InputError: the file cannot be read, is not YAML, or ``parse`` refuses it; the message says what is wrong where.
    """
    try:
        return parse(parse_yaml(read_text(path, MAX_DOCUMENT)))
    except OSError as error:
        raise InputError(f"cannot read {kind} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{kind} {path}: {error}") from error


def read_text(path: str | os.PathLike[str], limit: int = MAX_JSON) -> str:
    """Return the UTF-8 text of a regular file.

    Args:
        path: of the file.
        limit: bytes that it may have.

    Raises:
        OSError: it is missing, or cannot be read.
        ValueError: it is no regular file, too large, or not UTF-8.
    """
    require_regular(path)
    size = Path(path).stat().st_size
    if size > limit:
        raise ValueError(f"{size:,} bytes are too many: it should have at most {limit:,}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error


def parse_json(text: str) -> Any:
    """Return what a JSON text says. Raises ValueError where it is malformed or nests too deep."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        ValueError: it is malformed, nests too deep, has a key twice, or aliases that multiply beyond ``MAX_NODES``.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {_yaml_problem(error)}") from error
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader; a subclass, as only such ones are typed."""


def _check_nodes(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of nodes that a node stands for, aliases expanded; ``sizes`` are those passed, by identity.

    Raises:
        ValueError: there are too many, or a mapping has a key twice.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = MAX_NODES + 1  # while it is being passed: an alias within itself has no end
    size = 1
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
                raise ValueError(f"the key '{shortened(key.value)}' stands a second time in line {_line(key)}")
            if isinstance(key, yaml.ScalarNode):
                keys.add((key.tag, key.value))
            size += _check_nodes(key, sizes) + _check_nodes(value, sizes)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check_nodes(child, sizes) for child in node.value)
    if size > MAX_NODES:
        raise ValueError(f"its aliases multiply to more than {MAX_NODES:,} values; write them out")
    sizes[id(node)] = size
    return size


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the text around it."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{problem or str(error).splitlines()[0]}{where}"


def shortened(value: object, limit: int = 60) -> str:
    """Return a value for a message, cut where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else f"{text[:limit]}..."


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds; an empty one where there is none, or none that can be read."""
    try:
        document = parse_json(read_text(path))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def check_keys(
    value: object, required: Sequence[str], optional: Sequence[str] = (), where: str = ""
) -> Mapping[str, Any]:
    """Return a mapping that has all required keys and no unknown one.

    Args:
        value: of the document.
        required, optional: keys.
        where: the value's place, for messages; the whole document by default.

    Raises:
        ValueError: it is no such mapping; the message starts with ``where``.
    """
    place = f"{where}: " if where else ""
    if not isinstance(value, Mapping):
        raise ValueError(f"{place}expected a mapping with the keys {', '.join(required)}, got {kind_of(value)}")
    for key in value:
        if key not in (*required, *optional):
            raise ValueError(f"{place}unknown key '{shortened(key)}'{nearest(str(key), (*required, *optional))}")
    for key in required:
        if key not in value:
            raise ValueError(f"{place}the key '{key}' is missing")
    return value


def kind_of(value: object) -> str:
    """Return a word for what a value of a document is, for messages that do not quote it."""
    if value is None:
        return "nothing"
    words = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return words.get(type(value), f"a {type(value).__name__}")
