"""Every key of a schema with its default and help text."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass

from omegaconf import MISSING

from fbnetv5.config.schema import RunConfig


def describe(schema: type = RunConfig, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (key, default, help text) of every key, for ``--help``."""
    rows = []
    for entry in fields(schema):
        default = entry.default_factory() if callable(entry.default_factory) else entry.default
        if is_dataclass(default):
            rows += describe(type(default), f"{prefix}{entry.name}.")
        else:
            shown = "" if default == MISSING else json.dumps(default).strip('"')  # as YAML wants it: null, true, [a]
            rows.append((prefix + entry.name, shown, entry.metadata["help"]))
    return rows
