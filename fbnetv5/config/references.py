"""References between keys of a config, ``${a.b}``: what they stand for is bounded before omegaconf writes it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fbnetv5.base.limits import MAX_NODES

REFERENCE = re.compile(r"\$\{([^${}]*)\}")
Place = tuple[str, ...]


def check_references(tree: Mapping[Any, Any]) -> None:
    """Check the length of a config of plain values, all of its references written out.

    Raises:
        ValueError: it is longer than ``MAX_NODES`` values and characters; the message names a key.
    """
    lengths = _Lengths(tree)
    for key, value in tree.items():
        if lengths.of(value, (str(key),)) > MAX_NODES:
            raise ValueError(f"references in '{key}' multiply to more than {MAX_NODES:,} values; write them out")


class _Lengths:
    """The number of values and characters that a value stands for, by its place in the tree."""

    def __init__(self, tree: Mapping[Any, Any]) -> None:
        self.tree = tree
        self.known: dict[Place, int] = {}

    def of(self, value: Any, place: Place) -> int:
        """Return the length of a value; what refers to itself counts once, as omegaconf refuses it."""
        if place in self.known:
            return self.known[place]
        self.known[place] = 0
        if isinstance(value, Mapping | list):
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            length = 1 + sum(self.of(child, (*place, str(key))) for key, child in pairs)
        elif isinstance(value, str):
            length = len(value) + sum(self.referred(text, place) for text in REFERENCE.findall(value))
        else:
            length = 1
        self.known[place] = length
        return length

    def referred(self, text: str, place: Place) -> int:
        """Return the length of what a reference at a place stands for; 0 where it is no key of the tree."""
        name = text.rpartition(":")[2].split(",")[0].strip()  # a resolver takes keys as well
        dots = len(name) - len(name.lstrip("."))
        above = place[: len(place) - dots] if dots else ()
        keys = (*above, *re.findall(r"[^.\[\]]+", name))
        value: Any = self.tree
        for key in keys:
            if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, Mapping) and key in value:
                value = value[key]
            else:
                return 0
        return self.of(value, keys)
