"""A run that ended early: what is kept of it, and whether its folder is free again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from fbnetv5.config.read import CONFIG
from fbnetv5.config.schema import RunConfig

NOTHING_IN = (
    "tensorboard",
    "loggers",
    "predictions/.masks.partial",
)  # folders of what a start writes before there is a result


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C within the context, so that a run that is terminated says what is kept."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing, or is not there."""
    return not folder.is_dir() or not any(folder.iterdir())


def release(folder: Path) -> None:
    """Free the folder of a run that wrote nothing but its configuration, so that another start may have it.

    It is for folders that were empty before: what is in them is the run's.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    unimportant = [folder / name for name in NOTHING_IN]
    files = [path for path in folder.rglob("*") if not path.is_dir() and path != folder / CONFIG]
    if any(not any(path.is_relative_to(place) for place in unimportant) for path in files):
        return
    with contextlib.suppress(OSError):
        (folder / CONFIG).unlink(missing_ok=True)
        for path in unimportant:
            shutil.rmtree(path, ignore_errors=True)
        for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        folder.rmdir()
        for parent in folder.absolute().parents:  # that were made for it, or would have been
            if not parent.is_relative_to(Path.cwd()) or parent == Path.cwd():
                break
            parent.rmdir()  # unless there is something else in it


def what_is_kept(config: RunConfig, folder: Path) -> str:
    """Return what a run that is interrupted leaves, and what goes on from there."""
    names = [path.name.removeprefix("step-") for path in (folder / "checkpoints").glob("step-*")]
    steps = [int(name) for name in names if name.isdecimal()]
    if steps:
        return f"resume=true goes on from step {max(steps)}, the last checkpoint"
    if config.job == "label" and any((folder / "shards").glob("[0-9]*")):
        return "resume=true goes on with the images that are not labelled yet"
    if config.job == "export" and any(folder.glob("model_*.json")):
        return "the files that were written stay: export the others again"
    if "." in config.job:
        return "resume=true goes on after what is finished"
    return "there is no checkpoint, so nothing is kept: start it again"
