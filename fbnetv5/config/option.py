"""How a key of a configuration is declared: its default, what it means, and which values it may have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.limits import MAX_COUNT, MAX_INTEGER

COUNT = re.compile(r"(^|\.)(num_\w+|(\w+_)?(size|sizes|channels|ratios|expansion|window|cutoff))$")


def option(
    default: Any,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a key of a dataclass.

    Args:
        default: its value; lists and nested nodes are given as factories.
        help_text: for ``--help``.
        minimum, maximum: of a number; null is allowed where the type allows it.
        choices: all values that there are.
    """
    metadata = {"help": help_text, "minimum": minimum, "maximum": maximum, "choices": choices}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def check_numbers(key: str, value: Any) -> None:
    """Check every number of a value, in whatever lists and mappings it stands.

    Args:
        key: of the value, for messages.
        value: plain data.

    Raises:
        InputError: a number is not finite, or too large for a tensor; the message names its place.
    """
    if isinstance(value, Mapping):
        for name, child in value.items():
            check_numbers(f"{key}.{name}", child)
    elif isinstance(value, (list, tuple)):
        for position, child in enumerate(value):
            check_numbers(f"{key}[{position}]", child)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{key}={value} is no finite number")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InputError(f"{key} is too large: whole numbers go up to {MAX_INTEGER}")


def check_count(key: str, value: Any, default: Any) -> None:
    """Check an option of a class that is a count or a size by its name, such as ``num_proposals`` or ``anchor_sizes``.

    Args:
        key: of the option in the config.
        value: a number, or several; of another type, nothing is said.
        default: the option's; one that is 0 or less allows these.

    Raises:
        InputError: a number is not above 0, or above ``MAX_COUNT``, or there is none.
    """
    if not COUNT.search(key) or not _all_numbers(default) or min(_listed(default)) <= 0:
        return
    if (_all_numbers(value) and not all(number > 0 for number in _listed(value))) or value in ((), []):
        shown = list(value) if isinstance(value, tuple) else value
        raise InputError(f"{key}={shown} should be above 0")
    if _all_numbers(value) and max(_listed(value)) > MAX_COUNT:
        raise InputError(f"{key} is too large: at most {MAX_COUNT}")


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _all_numbers(value: Any) -> bool:
    numbers = _listed(value)
    return bool(numbers) and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers)


def check_options(node: Any, prefix: str = "") -> None:
    """Check the values of a dataclass whose fields :func:`option` declares, and of those nested in it.

    Args:
        node: an instance of it.
        prefix: of its keys, for messages.

    Raises:
        InputError: a value is out of its range, no finite number, or none of its choices; the message names the first.
    """
    for entry in fields(node):
        key, value = f"{prefix}{entry.name}", getattr(node, entry.name)
        if is_dataclass(value):
            check_options(value, f"{key}.")
            continue
        check_numbers(key, value)
        choices, minimum, maximum = (entry.metadata.get(name) for name in ("choices", "minimum", "maximum"))
        if choices is not None and value not in choices:
            raise InputError(f"{key}={value} is none of {', '.join(choices)}{nearest(str(value), choices)}")
        if minimum is not None and value is not None and not value >= minimum:
            raise InputError(f"{key}={value} is too small: at least {minimum}")
        if maximum is not None and value is not None and not value <= maximum:
            raise InputError(f"{key}={value} is too large: at most {maximum}")
