"""Writes Cityscapes' masks with the 19 classes of its benchmark, under the names of the images.

    python datasets/prepare_cityscapes.py /data/cityscapes

``gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png`` holds ids of 34 classes, and its name is not that of
``leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png``. What is written, to
``gtFine_trainIds/train/aachen/aachen_000000_000019_leftImg8bit.png``, holds 0 to 18, and 255 for what is not evaluated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from masks import Values, read_arguments, rewrite_all

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.types import IGNORE

SPLITS = ("train", "val")
SOURCE, TARGET = "gtFine", "gtFine_trainIds"
SOURCE_SUFFIX, TARGET_SUFFIX = "_gtFine_labelIds.png", "_leftImg8bit.png"
NUM_IDS = 34
# Ids of the classes that are evaluated, in the order of their training ids: road, sidewalk, building, wall, fence,
# pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle,
# bicycle.
EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@one_line_errors()
def main() -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    arguments = read_arguments(__doc__, "the folder with gtFine and leftImg8bit")
    folder, target = arguments.root / SOURCE, arguments.root / TARGET
    masks = [path for split in SPLITS for path in sorted((folder / split).glob(f"*/*{SOURCE_SUFFIX}"))]
    if not masks:
        raise InputError(f"no masks in {folder}/{{{','.join(SPLITS)}}}/*/*{SOURCE_SUFFIX}: is this Cityscapes?")
    files = {mask: target / mask.relative_to(folder).with_name(image_name(mask)) for mask in masks}
    rewrite_all(files, training_ids(), arguments.workers)
    print(f"{len(masks):,} masks in {target}")


def image_name(mask: Path) -> str:
    """Return the name of the image that a mask belongs to."""
    return mask.name.removesuffix(SOURCE_SUFFIX) + TARGET_SUFFIX


def training_ids() -> Values:
    """Return the training id of each id of a class, 255 where it is not evaluated."""
    table = np.full(NUM_IDS, IGNORE, np.uint8)
    table[list(EVALUATED)] = np.arange(len(EVALUATED))
    return table


if __name__ == "__main__":
    main()
