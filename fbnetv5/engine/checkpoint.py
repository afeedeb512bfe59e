"""Checkpoints: a folder each, complete or absent, holding everything that a resumed run needs."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_folder, atomic_path
from fbnetv5.base.weights import UNREADABLE, WEIGHTS, read_weights, save_weights

STATE = "state.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back.

    Attributes:
        step: iterations done.
        weights: the model's state dict.
        state: what was given to :meth:`Checkpointer.save`.
    """

    step: int
    weights: dict[str, Tensor]
    state: dict[str, Any]


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
        target = self.folder / f"step-{step:08d}"
        if target.exists():
            return
        buffer = io.BytesIO()
        torch.save({"step": step, "identity": json.dumps(self.identity), "state": state}, buffer)
        with atomic_folder(target) as temporary:
            save_weights(temporary / WEIGHTS, model.state_dict(), getattr(model, "normalisation", None))
            with atomic_path(temporary / STATE) as file:
                file.write_bytes(buffer.getbuffer())
        for old in self._folders()[: -self.keep]:
            shutil.rmtree(old)

    def latest(self) -> Checkpoint | None:
        """Read the latest checkpoint, or return None where there is none.

        Raises:
            InputError: it was written under another configuration, or cannot be read.
        """
        folders = self._folders()
        if not folders:
            return None
        folder = folders[-1]
        try:
            stored = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise InputError(f"cannot read {folder / STATE}: {error}; delete {folder} to use the one before") from error
        check_identity(self.identity, json.loads(stored["identity"]), folder)
        try:
            weights = read_weights(folder / WEIGHTS)
        except InputError as error:
            raise InputError(f"{error}; delete {folder} to use the one before") from error
        return Checkpoint(stored["step"], weights, stored["state"])

    def clean(self) -> None:
        """Remove what a process that was killed while saving has left behind."""
        for unfinished in self.folder.glob(".step-*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def check_identity(now: Mapping[str, Any], then: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError unless ``folder`` was written under the configuration of now; the message names what differs."""
    differing = [
        f"{key} was {then.get(key, 'absent')}, is now {now.get(key, 'absent')}"
        for key in sorted(now.keys() | then.keys())
        if now.get(key, "absent") != then.get(key, "absent")
    ]
    if differing:
        raise InputError(
            f"{folder} was written under another configuration: {'; '.join(differing[:3])}"
            f"{' and more' if len(differing) > 3 else ''}. Restore it, or choose another output folder"
        )
