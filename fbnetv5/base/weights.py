"""Weights as files: tensors by name, in safetensors."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path, reported, require_regular
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.paths import is_uri, local_folder, local_path

WEIGHTS = "model.safetensors"
_NORMALISATION, _ORIGIN = "normalisation", "origin"  # in a file's header; the second is a part of the first
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError, SafetensorError)
"""Errors that torch and safetensors raise for a file that holds no weights."""


def save_weights(
    path: Path,
    weights: dict[str, Tensor],
    normalisation: Normalisation | None = None,
    origin: Origin | None = None,
) -> None:
    """Write tensors by name as safetensors, atomically.

    The header has the normalisation of the images that they expect, and where they started from. It is one entry: of
    several, safetensors writes them in any order, and files of equal weights would differ.
    """
    about = about_weights(normalisation, origin)
    header = None if about is None else {_NORMALISATION: about}
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, header)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def about_weights(normalisation: Normalisation | None, origin: Origin | None) -> str | None:
    """Return what a file says of its weights, as JSON; None where there is nothing to say."""
    if normalisation is None and origin is None:
        return None
    started = {} if origin is None else {_ORIGIN: asdict(origin)}
    return json.dumps(asdict(normalisation or IMAGENET) | started)


def weights_file(place: str) -> Path:
    """Return the file of weights that a path or URI means: itself, or that in the folder of a trained model."""
    if is_uri(place) and not place.endswith(".safetensors"):
        return local_folder(place, (WEIGHTS,)) / WEIGHTS
    path = local_path(place)
    return path / WEIGHTS if path.is_dir() else path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        InputError: it is missing, truncated or not a safetensors file, or a value is not finite.
    """
    try:
        require_regular(path)
        weights = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"cannot read weights from {path}: {error}") from error
    require_finite(weights, path)
    return weights


def digest_of(path: Path) -> str:
    """Return what tells a file of weights from others: a hash of it. Raises InputError if it cannot be read."""
    with reported(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def read_torch(path: Path) -> Any:
    """Read a file of torch's own format, of which only plain data and tensors are read.

    Raises:
        InputError: it is missing or damaged, or holds more than those and would run code.
    """
    try:
        require_regular(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"cannot read {path}: it is damaged, or holds more than tensors and would run code; save the model's "
            "state_dict alone, or as safetensors"
        ) from error
    except UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read {path}: {reason}") from error


def require_finite(weights: Mapping[str, Tensor], origin: str | Path) -> None:
    """Raise InputError where a value of tensors by name is infinite or no number."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{origin}: '{name}' holds values that are infinite or no numbers: it cannot be used")


def read_normalisation(path: Path) -> Normalisation:
    """Return the normalisation of images that a safetensors file's weights expect: ImageNet's, where it says nothing.

    Raises:
        InputError: it is missing, truncated or not a safetensors file, or what it says is no normalisation.
    """
    about = read_about(path)
    return IMAGENET if about is None else said_normalisation(about, path)


def read_origin(path: Path) -> Origin | None:
    """Return where a safetensors file's weights started from; None where it does not say.

    Raises:
        InputError: it is missing, truncated or not a safetensors file, or what it says is no origin.
    """
    about = read_about(path)
    return None if about is None else said_origin(about, path)


def said_normalisation(about: str, path: Path) -> Normalisation:
    """Return the normalisation that :func:`about_weights` wrote down. Raises InputError where ``about`` has none."""
    try:
        said = json.loads(about)
        mean, std = (tuple(map(float, said[key])) for key in ("mean", "std"))
        if (len(mean), len(std)) != (3, 3):
            raise ValueError("three numbers each")
        return Normalisation(mean, std)  # type: ignore[arg-type]  # as many as it takes
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot read the normalisation of its images: {error}") from error


def said_origin(about: str, path: Path) -> Origin | None:
    """Return the origin that :func:`about_weights` wrote down, if one. Raises InputError where it is damaged."""
    try:
        said = json.loads(about).get(_ORIGIN)
        if said is None:
            return None
        return Origin(str(said["weights"]), None if said["license"] is None else str(said["license"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot read where its weights come from: {error}") from error


def read_about(path: Path) -> str | None:
    """Return what the header of a safetensors file says of its weights.

    Raises:
        InputError: it is missing, truncated or not a safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            about: str | None = (file.metadata() or {}).get(_NORMALISATION)
            return about
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
    refuse(wrong, own, weights, origin)
    module.load_state_dict(fitting, strict=False)
    return left


def refuse(wrong: Sequence[str], own: Mapping[str, Tensor], weights: Mapping[str, Tensor], origin: Path) -> None:
    """Raise InputError if any entry is ``wrong``; the message says of the first few how those of a file differ."""
    if wrong:
        described = ", ".join(_difference(name, own.get(name), weights.get(name)) for name in wrong[:3])
        raise InputError(f"{origin} does not fit the model: {described}{' and more' if len(wrong) > 3 else ''}")


def _difference(name: str, own: Tensor | None, given: Tensor | None) -> str:
    if given is None:
        return f"{name} is missing"
    if own is None:
        return f"{name} is not in the model"
    return f"{name} has shape {tuple(given.shape)} instead of {tuple(own.shape)}"
