"""What a run's results depend on, as tables of results state it."""

from __future__ import annotations

from typing import Any

from fbnetv5.config.identity import identity
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.shapes_worlds import WORLDS


def inputs(config: RunConfig) -> dict[str, Any]:
    """Return, flat, all that a run's results depend on, with what the world of shapes is made of."""
    own = {"data.shapes.world": str(WORLDS[config.data.shapes.world])} if config.data.root is None else {}
    return identity(config) | own
