"""Neural architecture search for several vision tasks in one run (FBNetV5)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fbnetv5.model.task_net import TaskNet

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | os.PathLike[str], device: str = "cpu", *, trust_code: bool = False) -> TaskNet:
    """Rebuild a trained model, in evaluation mode; ``load(folder).predict("image.jpg")`` predicts.

    Args:
        path: the folder of a trained model, or the config.json in it.
        device: where to put it.
        trust_code: build a head or network whose class is neither of this package nor of the projects beside it.
            Importing it runs its module's code.

    Raises:
        InputError: a file is missing or damaged, the two do not fit each other, or the head is not of this package.
    """
    from fbnetv5.model.folder import load as load_model  # here, so that importing the package does not import torch

    return load_model(path, device, trust_code=trust_code)
