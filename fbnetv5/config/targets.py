"""Config entries that choose a class, ``{_target_: dotted.path.Class, option: value, ...}``, or name a function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from hydra.utils import get_class, get_method

from fbnetv5.base.errors import InputError, nearest

MOVED = {"projects.fna.": "fbnetv5.projects.fna.", "projects.fpnas.": "fbnetv5.projects.fpnas."}
"""Where what earlier versions called otherwise is now, by the start of its dotted name: old runs and models name it."""


def build_target(key: str, entry: Any, *arguments: Any, **given: Any) -> Any:
    """Build the object that an entry chooses.

    Args:
        key: of the entry in the config, for messages.
        entry: ``_target_`` and options of its class.
        arguments, given: what the program passes to the class beside the options.

    Raises:
        InputError: the class cannot be imported, or an option is unknown, mistyped or refused by the class.
    """
    chosen = find_class(key, entry)
    path = entry["_target_"]
    parameters = dict(list(inspect.signature(chosen).parameters.items())[len(arguments) :])
    known = {name: parameter for name, parameter in parameters.items() if name not in given}
    options = {}
    for name, value in entry.items():
        if name == "_target_":
            continue
        if name not in known:
            raise InputError(f"{key}.{name} is no option of {path}{nearest(name, known)}")
        options[name] = _checked(f"{key}.{name}", value, known[name].default)
    try:
        inspect.signature(chosen).bind(*arguments, **given, **options)
    except TypeError as error:
        raise InputError(f"{key}: {error}") from error
    return chosen(*arguments, **given, **options)


def find_class(key: str, entry: Any) -> Any:
    """Return the class that an entry chooses.

    Raises:
        InputError: the entry has no ``_target_``, or the class cannot be imported.
    """
    if not isinstance(entry, Mapping) or "_target_" not in entry:
        raise InputError(f"{key} has no _target_, the class to use")
    path = entry["_target_"]
    try:
        return get_class(present_name(path))
    except (ImportError, ValueError) as error:  # hydra turns whatever importing the module raised into an ImportError
        raise InputError(f"{key}._target_={path} cannot be imported: {' '.join(str(error).split())}") from error


def find_function(key: str, path: str) -> Callable[..., Any]:
    """Return the function of a dotted name, that of ``key`` in the config.

    Raises:
        InputError: it cannot be imported, or is no function.
    """
    try:
        function = get_method(present_name(path))
    except (ImportError, ValueError) as error:
        raise InputError(f"{key}={path} cannot be imported: {' '.join(str(error).split())}") from error
    if not inspect.isfunction(function):
        raise InputError(f"{key}={path} is a {type(function).__name__}, not a function")
    return function


def import_module(key: str, name: str) -> None:
    """Import a module that ``key`` in the config names, for what it registers. Raises InputError where that fails."""
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever the module raises
        raise InputError(f"{key}={name} cannot be imported: {' '.join(str(error).split())}") from error


def present_name(path: str) -> str:
    """Return the dotted name that a class or a function has now, from one that an earlier version may have written."""
    old = next((start for start in MOVED if path.startswith(start)), "")
    return MOVED.get(old, "") + path.removeprefix(old)


def _checked(key: str, value: Any, default: Any) -> Any:
    """Return a value of the type that the option's default has; options without one, or with None, take anything."""
    if default is inspect.Parameter.empty or default is None:
        return value
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    expected = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, expected) or isinstance(value, bool) != isinstance(default, bool):
        raise InputError(f"{key}={value} should be of type {type(default).__name__}")
    return value
