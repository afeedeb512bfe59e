"""A handler of URIs, as a user registers one: ``store://`` is a folder of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iopath.common.file_io import PathHandler

from fbnetv5.base.paths import path_manager


class Store(PathHandler):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _get_supported_prefixes(self) -> list[str]:
        return ["store://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        place = self.folder / path.removeprefix("store://")
        if not place.exists():
            raise FileNotFoundError(f"no object {path}\nwith a second line")
        return str(place)


def open_store(folder: Path) -> Path:
    """Let ``store://`` be what lies in a folder, which is made; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path_manager.register_handler(Store(folder))
    return folder
