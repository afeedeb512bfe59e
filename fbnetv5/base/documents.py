"""Small YAML files that people write too, such as topologies: reading them, and saying in one line what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fbnetv5.base.errors import InputError, nearest

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
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {kind} {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{kind} {path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return parse(document)
    except ValueError as error:
        raise InputError(f"{kind} {path}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds; an empty one where there is none, or none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
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
        raise ValueError(f"{place}expected a mapping with the keys {', '.join(required)}, got {value!r}")
    for key in value:
        if key not in (*required, *optional):
            raise ValueError(f"{place}unknown key '{key}'{nearest(str(key), (*required, *optional))}")
    for key in required:
        if key not in value:
            raise ValueError(f"{place}the key '{key}' is missing")
    return value
