"""Neural architecture search for several vision tasks in one run (FBNetV5).

What stands here is read when it is asked for: ``import fbnetv5`` imports neither torch nor the command line.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fbnetv5.base.version import __version__

if TYPE_CHECKING:
    from fbnetv5.archs.topology import Topology
    from fbnetv5.base.errors import InputError
    from fbnetv5.base.paths import path_manager
    from fbnetv5.facade.results import SearchResult
    from fbnetv5.facade.runs import load, read_search, read_training, search, train
else:
    from fbnetv5 import search

__all__ = [
    "InputError",
    "Topology",
    "__version__",
    "load",
    "path_manager",
    "read_search",
    "read_training",
    "search",
    "train",
]

_PLACES = {
    "InputError": "fbnetv5.base.errors",
    "Topology": "fbnetv5.archs.topology",
    "load": "fbnetv5.facade.runs",
    "path_manager": "fbnetv5.base.paths",
    "read_search": "fbnetv5.facade.runs",
    "read_training": "fbnetv5.facade.runs",
    "train": "fbnetv5.facade.runs",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'fbnetv5' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallableSearch(ModuleType):
    """The package ``fbnetv5.search``, which is the function as well: ``fbnetv5.search("quickstart")``."""

    def __call__(
        self, config: str | os.PathLike[str], *overrides: str, output: str | os.PathLike[str] | None = None
    ) -> SearchResult:
        """Search topologies, as :func:`fbnetv5.facade.runs.search` says."""
        from fbnetv5.facade.runs import search as run_search

        return run_search(config, *overrides, output=output)


if not TYPE_CHECKING:
    search.__class__ = _CallableSearch
