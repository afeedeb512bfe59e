"""Checkpoints: a folder each, complete or absent, holding everything that a resumed run needs."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.documents import parse_json, shortened
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_folder, atomic_path, remove_folder
from fbnetv5.base.memory import is_of_memory
from fbnetv5.base.weights import WEIGHTS, read_torch, read_weights, save_weights
from fbnetv5.config.identity import check_identity

STATE = "state.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back.

    Attributes:
        step: iterations done.
        weights: the model's state dict.
        state: what was given to :meth:`Checkpointer.save`.
        folder: of the checkpoint.
    """

    step: int
    weights: dict[str, Tensor]
    state: dict[str, Any]
    folder: Path


class Checkpointer:
    """Writes and finds the checkpoints of one run.

    Args:
        folder: where they lie, ``step-00000100`` and so on.
        identity: the part of the configuration that a resumed run must share.
        keep: how many of the latest to keep.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], keep: int = 2) -> None:
        self.folder = folder
        self.identity = identity
        self.keep = keep

    def save(self, step: int, model: nn.Module, state: dict[str, Any]) -> None:
        """Write a checkpoint after ``step`` iterations, then drop the oldest beyond ``keep``.

        Raises:
            InputError: it could not be written; the earlier ones are untouched.
        """
        target = self.folder / _name(step)
        if target.exists():
            return
        buffer = io.BytesIO()
        torch.save({"step": step, "identity": json.dumps(self.identity), "state": state}, buffer)
        with atomic_folder(target) as temporary:
            save_weights(temporary / WEIGHTS, model.state_dict(), getattr(model, "normalisation", None))
            with atomic_path(temporary / STATE) as file:
                file.write_bytes(buffer.getbuffer())
        self.drop_old()

    def drop_old(self) -> None:
        """Drop the oldest checkpoints beyond ``keep``; a process that was killed may not have come to it."""
        for old in self._folders()[: -self.keep]:
            remove_folder(old)

    def latest(self) -> Checkpoint | None:
        """Read the latest checkpoint, or return None where there is none.

        Raises:
            InputError: it was written under another configuration, or cannot be read.
        """
        folders = self._folders()
        if not folders:
            return None
        folder = folders[-1]
        with refused(folder):
            step, known, state = _parse(read_torch(folder / STATE), folder)
        check_identity(self.identity, known, folder)
        with refused(folder):
            return Checkpoint(step, read_weights(folder / WEIGHTS), state, folder)

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())


@contextlib.contextmanager
def refused(folder: Path) -> Iterator[None]:
    """Say, of whatever is wrong with a checkpoint within the block, that it may be deleted.

    Of a sound one that could not be read, for want of memory or by the system's fault, that is not said.

    Raises:
        InputError: the checkpoint in ``folder`` is damaged, or not of this run.
    """
    advice = f"; delete {folder} to use the one before"
    try:
        yield
    except InputError as error:
        cause = error.__cause__
        if is_of_memory(error) or (isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)):
            raise
        raise InputError(f"{error}{advice}") from error
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, AssertionError) as error:
        if is_of_memory(error):
            raise
        reason = shortened(str(error) or type(error).__name__, limit=300)
        raise InputError(f"{folder} is no checkpoint of this run: {reason}{advice}") from error


def _parse(stored: Any, folder: Path) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Return step, identity and state of a checkpoint. Raises ValueError where one is missing or no such thing."""
    if not isinstance(stored, dict):
        raise ValueError(f"{STATE} holds no mapping")
    for key, kind in (("step", int), ("identity", str), ("state", dict)):
        if not isinstance(stored.get(key), kind):
            raise ValueError(f"{STATE} has no '{key}' that is a {kind.__name__}")
    if folder.name != _name(stored["step"]):
        raise ValueError(f"{STATE} is of step {stored['step']}")
    identity = parse_json(stored["identity"])
    if not isinstance(identity, dict):
        raise ValueError(f"{STATE} has no 'identity' that is a mapping")
    return stored["step"], identity, stored["state"]


def _name(step: int) -> str:
    return f"step-{step:08d}"
