"""Writes Cityscapes' masks with the 19 classes of its benchmark, under the names of the images.

    python datasets/prepare_cityscapes.py /data/cityscapes

``gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png`` holds ids of 34 classes, and its name is not that of
``leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png``. What is written, to
``gtFine_trainIds/train/aachen/aachen_000000_000019_leftImg8bit.png``, holds 0 to 18, and 255 for what is not evaluated.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path
from fbnetv5.data.images import DECODER_ERRORS

SPLITS = ("train", "val")
SOURCE, TARGET = "gtFine", "gtFine_trainIds"
SOURCE_SUFFIX, TARGET_SUFFIX = "_gtFine_labelIds.png", "_leftImg8bit.png"
NUM_IDS = 34
# Ids of the classes that are evaluated, in the order of their training ids: road, sidewalk, building, wall, fence,
# pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle,
# bicycle.
EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IGNORED = 255


def convert(name: Path, *, root: Path) -> None:
    """Rewrite one mask, given below the folder of masks; one that is there already is left as it is.

    Raises:
        InputError: it cannot be read or written, or holds other values than 0 to 33.
    """
    target = root / TARGET / name.parent / (name.name.removesuffix(SOURCE_SUFFIX) + TARGET_SUFFIX)
    if target.exists():
        return
    try:
        with Image.open(root / SOURCE / name) as image:
            ids = np.array(image)
    except DECODER_ERRORS as error:
        raise InputError(f"{root / SOURCE / name}: cannot read this mask: {error}") from error
    if ids.dtype != np.uint8 or ids.ndim != 2 or ids.max() >= NUM_IDS:
        raise InputError(f"{root / SOURCE / name}: expected one channel of values 0 to {NUM_IDS - 1}")
    table = np.full(NUM_IDS, IGNORED, np.uint8)
    table[list(EVALUATED)] = np.arange(len(EVALUATED))
    with atomic_path(target) as temporary:
        Image.fromarray(table[ids]).save(temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder with gtFine and leftImg8bit")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    arguments = parser.parse_args()
    folder = arguments.root / SOURCE
    names = [
        path.relative_to(folder) for split in SPLITS for path in sorted((folder / split).glob(f"*/*{SOURCE_SUFFIX}"))
    ]
    if not names:
        sys.exit(f"error: no masks in {folder}/{{{','.join(SPLITS)}}}/*/*{SOURCE_SUFFIX}: is this Cityscapes?")
    with ProcessPoolExecutor(arguments.workers) as pool:
        done = pool.map(partial(convert, root=arguments.root), names, chunksize=16)
        try:
            for _ in track(done, total=len(names), description="masks"):
                pass
        except InputError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"error: {error}")
    print(f"{len(names):,} masks in {arguments.root / TARGET}")


if __name__ == "__main__":
    main()
