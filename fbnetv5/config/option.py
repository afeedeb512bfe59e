"""How a key of a configuration is declared: its default, what it means, and which values it may have."""

from __future__ import annotations

from dataclasses import field, fields, is_dataclass
from typing import Any

from fbnetv5.base.errors import InputError, nearest


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


def check_options(node: Any, prefix: str = "") -> None:
    """Check the values of a dataclass whose fields :func:`option` declares, and of those nested in it.

    Args:
        node: an instance of it.
        prefix: of its keys, for messages.

    Raises:
        InputError: a value is out of its range, or none of its choices; the message names the first.
    """
    for entry in fields(node):
        key, value = f"{prefix}{entry.name}", getattr(node, entry.name)
        if is_dataclass(value):
            check_options(value, f"{key}.")
            continue
        choices, minimum, maximum = (entry.metadata.get(name) for name in ("choices", "minimum", "maximum"))
        if choices is not None and value not in choices:
            raise InputError(f"{key}={value} is none of {', '.join(choices)}{nearest(str(value), choices)}")
        if minimum is not None and value is not None and not value >= minimum:
            raise InputError(f"{key}={value} is too small: at least {minimum}")
        if maximum is not None and value is not None and not value <= maximum:
            raise InputError(f"{key}={value} is too large: at most {maximum}")
