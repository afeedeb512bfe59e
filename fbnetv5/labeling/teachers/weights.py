"""Reading a model's weights from a file, without running code that it may hold."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import local_path
from fbnetv5.base.weights import read_torch, read_weights

WRAPPERS = ("model", "state_dict")  # where a checkpoint keeps its weights


def read_state(file: str | Path) -> dict[str, Tensor]:
    """Read tensors by name: safetensors, or a torch file of them, also below ``model`` or ``state_dict``.

    The prefix of a model that was trained in parallel, ``module.``, is left out.

    Raises:
        InputError: the file is missing or damaged, or holds more than plain data.
    """
    path = local_path(file)
    if not path.is_file():
        raise InputError(f"there is no file {path} with the teacher's weights")
    content = read_weights(path) if path.suffix == ".safetensors" else read_torch(path)
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path} holds no weights of a model by name")
    return {name.removeprefix("module."): value for name, value in content.items()}
