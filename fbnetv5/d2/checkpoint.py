"""Weights between our safetensors and Detectron2's checkpoints, for models whose names are the same on both sides.

python -m fbnetv5.d2.checkpoint runs/pretrain_a/model.safetensors model.pth    # for MODEL.WEIGHTS
python -m fbnetv5.d2.checkpoint runs/d2go/model_final.pth model.safetensors    # for model.weights, or a model's folder

These are supernets, segmentation models and classifiers; detectors have ``fbnetv5.d2.convert``. What images are
normalised with, and the licence, go along as an entry of the .pth, which our runners keep. Of a checkpoint with a
moving average of the weights that is taken, as in the exporter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import atomic_path
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import read_about, read_torch, read_weights, said_normalisation, said_origin, save_weights
from fbnetv5.cli.arguments import parser_of
from fbnetv5.labeling.teachers.weights import read_state

ABOUT = "fbnetv5"  # entry of a .pth
OF_IMAGES = ("pixel_mean", "pixel_std")  # buffers, which a moving average holds too


def move_weights(source: Path, target: Path) -> None:
    """Write the weights of one file to another, of the other kind; names and numbers stay as they are.

    Args:
        source: safetensors, or a checkpoint of Detectron2 or D2Go (.pth), of which the model alone is read.
        target: .pth for the one, .safetensors for the other.

    Raises:
        InputError: the source cannot be read, the target cannot be written, or both are of one kind.
    """
    if {source.suffix, target.suffix} != {".safetensors", ".pth"}:
        raise InputError(f"{source} and {target}: one should end in .safetensors, the other in .pth")
    if not source.is_file():
        raise InputError(f"there is no file {source}")
    if target.suffix == ".safetensors":
        normalisation, origin = about_of(source)
        save_weights(target, state_of(source), normalisation, origin)
        if normalisation is None:
            print(f"{source} does not say what its images are normalised with: ImageNet's is assumed")
    else:
        write_checkpoint(target, read_weights(source), read_about(source))


def write_checkpoint(path: Path, weights: Mapping[str, Tensor], about: str | None) -> None:
    """Write a .pth, with what is said of its weights (:func:`fbnetv5.base.weights.about_weights`) as an entry."""
    with atomic_path(path) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        torch.save({"model": plain, **({} if about is None else {ABOUT: about})}, temporary)


def state_of(file: Path) -> dict[str, Tensor]:
    """Return the weights of a .pth by name: their moving average where there is one, without what normalises images.

    Raises:
        InputError: it cannot be read.
    """
    content = read_torch(file)
    average = content.get("ema_state") if isinstance(content, dict) else None
    if average:
        print(f"{file}: the moving average of the weights is taken")
    return {name: tensor for name, tensor in dict(average or read_state(file)).items() if name not in OF_IMAGES}


def about_of(file: Path) -> tuple[Normalisation | None, Origin | None]:
    """Return what a .pth of :func:`write_checkpoint` says of its weights; (None, None) where nothing is said.

    Raises:
        InputError: it cannot be read, or what it says is damaged.
    """
    content = read_torch(file)
    about = content.get(ABOUT) if isinstance(content, dict) else None
    return (None, None) if about is None else (said_normalisation(str(about), file), said_origin(str(about), file))


@one_line_errors()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args(arguments)
    move_weights(given.source, given.target)


if __name__ == "__main__":
    main()
