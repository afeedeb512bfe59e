"""Rewrites ADE20K's masks so that the 150 classes count from 0 and everything else is ignored.

    python datasets/prepare_ade20k.py /data/ADEChallengeData2016

The scene parsing benchmark stores 0 for "other" and 1 to 150 for its classes. The masks written here, in
``annotations_detectron2/``, hold 0 to 149, and 255 for "other": the layout that Detectron2 and MaskFormer read too.
"""

from __future__ import annotations

import numpy as np
from masks import read_arguments, rewrite_all

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.types import IGNORE

SPLITS = ("training", "validation")
NUM_CLASSES = 150
SOURCE, TARGET = "annotations", "annotations_detectron2"
TABLE = np.array([IGNORE, *range(NUM_CLASSES)], np.uint8)


@one_line_errors()
def main() -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    arguments = read_arguments(__doc__, "the folder ADEChallengeData2016")
    folder, target = arguments.root / SOURCE, arguments.root / TARGET
    masks = [path for split in SPLITS for path in sorted((folder / split).glob("*.png"))]
    if not masks:
        raise InputError(f"no masks in {folder}/{{{','.join(SPLITS)}}}: is this ADEChallengeData2016?")
    rewrite_all({mask: target / mask.relative_to(folder) for mask in masks}, TABLE, arguments.workers)
    print(f"{len(masks):,} masks in {target}")


if __name__ == "__main__":
    main()
