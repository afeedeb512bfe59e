"""Where files are that a run reads: a path, or a URI of which iopath's PathManager makes a local copy.

``path_manager`` knows

=====================  ============================================================================================
``https://``           a file, downloaded once (also ``http://``)
``hf://owner/name``    a model on Hugging Face's hub, or with ``/file`` behind it one file; ``@revision`` behind the
                       name chooses one
others                 what handlers make of them: ``path_manager.register_handler(MyHandler())``, as in Detectron2
=====================  ============================================================================================

Only what is read goes through here; a run writes to local folders.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from iopath.common.file_io import PathHandler, PathManager, file_lock

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path

StrPath = str | os.PathLike[str]
HUB = "hf://"
WEB = ("http://", "https://")
TIMEOUT = 30  # seconds that a server may be silent
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")
_HUB_FILES = ["*.json", "*.safetensors", "*.yaml", "*.md"]  # data alone: nothing that could run code is fetched
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(place: StrPath) -> bool:
    """Whether a place is written as a URI, such as ``https://...``; else it is a path."""
    return isinstance(place, str) and _URI.match(place) is not None


def local_path(place: StrPath) -> Path:
    """Return the path of a file or folder; of a URI, that of its local copy, which is made if need be.

    Raises:
        InputError: no handler knows the URI, or what it names cannot be had.
    """
    if not is_uri(place):
        return Path(place).expanduser()
    uri = str(place)
    try:
        found = path_manager.get_local_path(uri)
    except InputError:
        raise
    except Exception as error:  # handlers raise errors of many kinds
        raise InputError(f"{uri} cannot be had: {_reason(error)}; or give a file on this machine") from error
    if is_uri(found):
        scheme = uri.partition("://")[0]
        raise InputError(
            f"{uri}: nothing knows {scheme}://; fbnetv5.path_manager.register_handler adds what does; or give a file "
            "on this machine"
        )
    return Path(found)


def local_folder(place: StrPath, names: Sequence[str]) -> Path:
    """Return the path of a folder; of one on the web, which lists nothing, that of copies of the files ``names``.

    Raises:
        InputError: as :func:`local_path`.
    """
    if not str(place).startswith(WEB):
        return local_path(place)
    copies = [local_path(f"{str(place).rstrip('/')}/{name}") for name in names]
    return copies[0].parent


def cache_folder(kind: str) -> Path:
    """Return ``$XDG_CACHE_HOME/fbnetv5/<kind>``, by default below ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "fbnetv5" / kind


class Web(PathHandler):
    """Files on the web, each downloaded once to ``files/<host>/<path>`` in the cache folder."""

    def _get_supported_prefixes(self) -> list[str]:
        return list(WEB)

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        copy = cached_copy(path)
        if copy.is_file() and not force:  # as it is written at once; a cache may be for reading only
            return str(copy)
        with file_lock(str(copy)):  # processes of a run want the same file
            if force or not copy.is_file():
                _download(path, copy)
        return str(copy)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return Path(self._get_local_path(path, **kwargs)).open(mode, buffering)


class Hub(PathHandler):
    """Models on Hugging Face's hub, in its own cache."""

    def _get_supported_prefixes(self) -> list[str]:
        return [HUB]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        name = _HUB_NAME.fullmatch(path.removeprefix(HUB).rstrip("/"))
        if name is None:
            raise InputError(f"{path}: a model on the hub is hf://owner/name, with /file behind it for one file")
        hub = hugging_face(path)
        where = {"repo_id": name["repo"], "revision": name["revision"], "force_download": force}
        if name["file"] is None:
            return str(hub.snapshot_download(**where, allow_patterns=_HUB_FILES))
        return str(hub.hf_hub_download(filename=name["file"], **where))


def hugging_face(purpose: str) -> Any:
    """Return the module ``huggingface_hub``. Raises InputError, which starts with ``purpose``, without it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"{purpose} needs huggingface_hub, which is not installed: pip install --editable '.[hub]'"
        ) from error
    return huggingface_hub


def cached_copy(uri: str) -> Path:
    """Return where the copy of a file on the web lies. Neighbours stay neighbours; a query has a folder of its own."""
    parts = urlsplit(uri)
    steps = [step for step in PurePosixPath(unquote(parts.path)).parts if step not in ("/", "..")]
    if not steps or parts.path.endswith("/"):
        raise InputError(f"{uri} names no file")
    query = [hashlib.sha256(parts.query.encode()).hexdigest()[:16]] if parts.query else []
    return cache_folder("files").joinpath(parts.netloc.rpartition("@")[2], *steps[:-1], *query, steps[-1])


def _download(uri: str, copy: Path) -> None:
    """Download a file, whole or not at all."""
    print(f"downloading {uri} to {copy}", file=sys.stderr, flush=True)
    with urlopen(uri, timeout=TIMEOUT) as answer, atomic_path(copy) as temporary:
        expected = answer.headers.get("Content-Length")
        with temporary.open("wb") as file:
            shutil.copyfileobj(_Source(answer, uri), file)
        size = temporary.stat().st_size
        if expected is not None and size != int(expected):
            raise InputError(f"{uri} cannot be had: it broke off after {size:,} of {expected} bytes; start again")


class _Source:
    """What a server sends; where it breaks off, that is no fault of the file that is written."""

    def __init__(self, answer: IO[bytes], uri: str) -> None:
        self.answer, self.uri = answer, uri

    def read(self, size: int = -1) -> bytes:
        try:
            return self.answer.read(size)
        except (OSError, HTTPException) as error:
            raise InputError(f"{self.uri} cannot be had: it broke off ({_reason(error)}); start again") from error


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong."""
    told = error.reason if isinstance(error, URLError) and not hasattr(error, "code") else error
    lines = str(told).strip().splitlines()
    return lines[0].rstrip(".;:") if lines else type(error).__name__


path_manager = PathManager()
for _handler in (Web(), Hub()):
    path_manager.register_handler(_handler)
