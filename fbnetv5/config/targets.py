"""Config entries that choose a class, ``{_target_: dotted.path.Class, option: value, ...}``, or name a function."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hydra.utils import get_class, get_method

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import check_count, check_numbers

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
    parameters = dict(list(_signature(key, path, chosen).parameters.items())[len(arguments) :])
    known = {name: parameter for name, parameter in parameters.items() if name not in given}
    options = {}
    for name, value in entry.items():
        if name == "_target_":
            continue
        if name not in known:
            raise InputError(f"{key}.{name} is no option of {path}{nearest(name, known)}")
        check_numbers(f"{key}.{name}", value)
        options[name] = _checked(f"{key}.{name}", value, known[name].default)
        check_count(f"{key}.{name}", value, known[name].default)
    try:
        inspect.signature(chosen).bind(*arguments, **given, **options)
    except TypeError as error:
        raise InputError(f"{key}: {error}") from error
    try:
        return chosen(*arguments, **given, **options)
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{key}: {path} cannot be built with these options: {reason}") from error


def require_members(key: str, entry: Mapping[str, Any], built: Any, members: Iterable[str], what: str) -> None:
    """Check that the class of an entry serves its purpose.

    Args:
        key: of the entry in the config.
        entry: with its ``_target_``.
        built: of the class, or the class itself.
        members: names of the attributes that it needs.
        what: the class should be, in words.

    Raises:
        InputError: an attribute is missing.
    """
    missing = [name for name in members if not hasattr(built, name)]
    if missing:
        raise InputError(f"{key}._target_={entry['_target_']} is no {what}: it has no '{missing[0]}'")


def _signature(key: str, path: str, chosen: Any) -> inspect.Signature:
    try:
        return inspect.signature(chosen)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}._target_={path} is no class that a config can build: {error}") from error


def find_class(key: str, entry: Any) -> Any:
    """Return the class that an entry chooses.

    Raises:
        InputError: the entry has no ``_target_``, or the class cannot be imported.
    """
    if not isinstance(entry, Mapping) or "_target_" not in entry:
        raise InputError(f"{key} has no _target_, the class to use")
    path = entry["_target_"]
    if not isinstance(path, str):
        raise InputError(f"{key}._target_ should be the dotted name of a class")
    try:
        return get_class(present_name(path))
    except (ImportError, ValueError) as error:  # hydra turns whatever importing the module raised into an ImportError
        reason = " ".join(str(error).split())
        raise InputError(f"{key}._target_={path} cannot be imported: {reason}{_similar(path)}") from error


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


def _similar(path: str) -> str:
    """Return ``; did you mean 'x'?`` for the dotted name nearest to one that cannot be imported, if one is near."""
    parts = present_name(path).split(".")
    for count in range(len(parts) - 1, 0, -1):  # the longest part of it that is there
        with contextlib.suppress(Exception):  # whatever the module raises
            package = importlib.import_module(".".join(parts[:count]))
            names = [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", ()))]
            if count == len(parts) - 1:
                names += [name for name, _ in inspect.getmembers(package, inspect.isclass)]
            meant = "" if parts[count] in names else nearest(parts[count], names)  # it is there, and at fault itself
            return meant.replace("'", f"'{package.__name__}.", 1)
    return ""


def _checked(key: str, value: Any, default: Any) -> Any:
    """Return a value of the type that the option's default has; options without one, or with None, take anything."""
    if default is inspect.Parameter.empty or default is None:
        return value
    if isinstance(default, tuple) and isinstance(value, list):
        if default and all(map(_is_number, default)) and not all(map(_is_number, value)):
            raise InputError(f"{key}={value} should be a list of numbers")
        return tuple(value)
    expected = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, expected) or isinstance(value, bool) != isinstance(default, bool):
        raise InputError(f"{key}={value} should be of type {type(default).__name__}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
