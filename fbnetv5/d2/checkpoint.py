"""Weights between our safetensors and Detectron2's checkpoints, for models whose names are the same on both sides.

python -m fbnetv5.d2.checkpoint runs/pretrain_a/model.safetensors model.pth    # for MODEL.WEIGHTS
python -m fbnetv5.d2.checkpoint runs/d2go/model_final.pth model.safetensors    # for model.weights, or a model's folder

These are supernets, segmentation models and classifiers; detectors have ``fbnetv5.d2.convert``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import atomic_path
from fbnetv5.base.weights import read_weights, save_weights
from fbnetv5.cli.arguments import parser_of
from fbnetv5.labeling.teachers.weights import read_state


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
        save_weights(target, dict(read_state(source)))
        return
    weights = read_weights(source)
    with atomic_path(target) as temporary:
        torch.save({"model": weights}, temporary)


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
