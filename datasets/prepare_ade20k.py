"""Rewrites ADE20K's masks so that the 150 classes count from 0 and everything else is ignored.

    python datasets/prepare_ade20k.py /data/ADEChallengeData2016

The scene parsing benchmark stores 0 for "other" and 1 to 150 for its classes. The masks written here, in
``annotations_detectron2/``, hold 0 to 149, and 255 for "other": the layout that Detectron2 and MaskFormer read too.
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

SPLITS = ("training", "validation")
NUM_CLASSES = 150
SOURCE, TARGET = "annotations", "annotations_detectron2"


def convert(name: Path, *, root: Path) -> None:
    """Rewrite one mask, given below the folder of masks; one that is there already is left as it is.

    Raises:
        InputError: it cannot be read or written, or holds other values than 0 to 150.
    """
    target = root / TARGET / name
    if target.exists():
        return
    try:
        with Image.open(root / SOURCE / name) as image:
            classes = np.array(image)
    except DECODER_ERRORS as error:
        raise InputError(f"{root / SOURCE / name}: cannot read this mask: {error}") from error
    if classes.dtype != np.uint8 or classes.ndim != 2 or classes.max() > NUM_CLASSES:
        raise InputError(f"{root / SOURCE / name}: expected one channel of values 0 to {NUM_CLASSES}")
    with atomic_path(target) as temporary:
        Image.fromarray(classes - 1).save(temporary)  # 0 becomes 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder ADEChallengeData2016")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    arguments = parser.parse_args()
    folder = arguments.root / SOURCE
    names = [path.relative_to(folder) for split in SPLITS for path in sorted((folder / split).glob("*.png"))]
    if not names:
        sys.exit(f"error: no masks in {folder}/{{{','.join(SPLITS)}}}: is this ADEChallengeData2016?")
    with ProcessPoolExecutor(arguments.workers) as pool:
        done = pool.map(partial(convert, root=arguments.root), names, chunksize=64)
        try:
            for _ in track(done, total=len(names), description="masks"):
                pass
        except InputError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"error: {error}")
    print(f"{len(names):,} masks in {arguments.root / TARGET}")


if __name__ == "__main__":
    main()
