"""How a key of a configuration is declared: its default, what it means, and which values it may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.limits import MAX_INTEGER


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


def require_at_least(minimum: float, of: str = "", **values: Any) -> None:
    """Check options of a class: numbers, or sequences of numbers that are not empty.

    Args:
        minimum: least value; 0 means more than 0.
        of: the name of the class, for messages.
        values: by the name of their option.

    Raises:
        InputError: a value is smaller, or no finite number; the message names the option.
    """
    for name, value in values.items():
        numbers = value if isinstance(value, (list, tuple)) else (value,)
        right = bool(numbers) and all(
            isinstance(one, (int, float)) and math.isfinite(one) and (one >= minimum if minimum else one > 0)
            for one in numbers
        )
        if not right:
            bound = f"at least {minimum}" if minimum else "above 0"
            shown = list(value) if isinstance(value, tuple) else value
            raise InputError(f"{f'{of}: ' if of else ''}{name}={shown} should be {bound}")


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
