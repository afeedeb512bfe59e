"""Checkpoints: a folder each, complete or absent, holding everything that a resumed run needs."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fbnetv5.errors import InputError
from fbnetv5.files import atomic_folder, atomic_path

WEIGHTS = "model.safetensors"
STATE = "state.pt"
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError, SafetensorError)
"""What torch and safetensors raise for a file that holds no weights."""


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write tensors by name as safetensors, atomically."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: it is missing, truncated or not a safetensors file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read weights from {path}: {error}") from error


def load_by_name(module: nn.Module, weights: dict[str, Tensor], *, optional: str | None, origin: Path) -> list[str]:
    """Load weights into the entries of the same name; those under the prefix ``optional``, if any, need not agree.

    Returns:
        the names under ``optional`` that kept their initial values.

    Raises:
        InputError: other entries are missing, surplus or of another shape; the message names the first few.
    """
    own = module.state_dict()
    fitting = {name: w for name, w in weights.items() if name in own and own[name].shape == w.shape}
    left = [name for name in own if name not in fitting]
    surplus = [name for name in weights if name not in own]
    wrong = [name for name in (*left, *surplus) if optional is None or not name.startswith(optional)]
    if wrong:
        described = ", ".join(_difference(name, own.get(name), weights.get(name)) for name in wrong[:3])
        raise InputError(f"{origin} does not fit the model: {described}{' and more' if len(wrong) > 3 else ''}")
    module.load_state_dict(fitting, strict=False)
    return left


def _difference(name: str, own: Tensor | None, given: Tensor | None) -> str:
    if given is None:
        return f"{name} is missing"
    if own is None:
        return f"{name} is not in the model"
    return f"{name} has shape {tuple(given.shape)} instead of {tuple(own.shape)}"


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
            save_weights(temporary / WEIGHTS, model.state_dict())
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
