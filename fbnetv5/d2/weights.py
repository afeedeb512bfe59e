"""Weights of Detectron2's models, without running code that a file may hold."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import local_path
from fbnetv5.labeling.teachers.weights import read_state

# of no weight: constants of the config, and what old files lack
OPTIONAL = ("pixel_mean", "pixel_std", "num_batches_tracked", "empty_weight")


def load_weights(model: nn.Module, file: str, *, trust_pickle: bool = False) -> None:
    """Load a model's weights by name; surplus ones are left out, as Detectron2 does.

    Args:
        model: gets the weights.
        file: safetensors or .pth, or .pkl as in Detectron2's model zoo.
        trust_pickle: read .pkl, whose code runs.

    Raises:
        InputError: the file cannot be read, is a pickle that is not trusted, or lacks weights.
    """
    path = local_path(file)
    state = _read_pickle(path, trust_pickle) if path.suffix == ".pkl" else read_state(path)
    own = model.state_dict()
    named: OrderedDict[str, Tensor] = OrderedDict(state)
    if not _lacking(own, state):  # of the present version; other names are left to the conversions of the model
        named._metadata = own._metadata  # type: ignore[attr-defined]
    try:
        missing = model.load_state_dict(named, strict=False).missing_keys
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} does not fit the model: {reason}") from error
    lacking = _lacking(missing, {})
    if lacking:
        raise InputError(
            f"{path} does not fit the model: it lacks {', '.join(lacking[:3])}{' and more' if len(lacking) > 3 else ''}"
        )


def _lacking(wanted: Iterable[str], state: Mapping[str, Tensor]) -> list[str]:
    return [name for name in wanted if name not in state and not name.endswith(OPTIONAL)]


def _read_pickle(path: Path, trusted: bool) -> dict[str, Tensor]:
    if not trusted:
        raise InputError(
            f"{path} is a pickle, which can run any code when it is read; set trust_pickle: true if you trust where it "
            f"comes from, or save its tensors as safetensors"
        )
    try:
        with path.open("rb") as file:
            content = pickle.load(file, encoding="latin1")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError, ImportError, AttributeError) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no weights of a model by name")
    weights = content.get("model", content)
    return {name: torch.as_tensor(value) for name, value in weights.items() if isinstance(value, (Tensor, np.ndarray))}
