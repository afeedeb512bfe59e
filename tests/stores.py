"""Places of files: ``store://``, a folder by a handler as a user registers one, and a server on this machine."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; of ``/cut`` it sends half of what it promises."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path != "/cut":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 50)
        return None


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder; yield the address."""
    serve = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
