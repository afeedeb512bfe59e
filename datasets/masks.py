"""Masks with other values in their pixels, for the scripts that prepare data sets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.data.images import DECODER_ERRORS

Values = npt.NDArray[np.uint8]


def rewrite(source: Path, target: Path, table: Values) -> None:
    """Write a mask with other values; one that is there already is left as it is.

    Args:
        source: PNG of one channel.
        target: PNG to write.
        table: the new value of each value that a mask may have.

    Raises:
        InputError: the mask cannot be read or written, or holds other values.
    """
    if target.exists():
        return
    try:
        with Image.open(source) as image:
            values = np.array(image)
    except DECODER_ERRORS as error:
        raise InputError(f"{source}: cannot read this mask: {error}") from error
    if values.dtype != np.uint8 or values.ndim != 2 or values.max() >= len(table):
        raise InputError(f"{source}: expected one channel of values 0 to {len(table) - 1}")
    with atomic_path(target) as temporary:
        Image.fromarray(table[values]).save(temporary)


def rewrite_all(files: Mapping[Path, Path], table: Values, workers: int | None) -> None:
    """Rewrite masks in several processes, one a core where ``workers`` is None.

    Args:
        files: each mask to what it is rewritten to.
        table: as in :func:`rewrite`.
        workers: number of processes.

    Raises:
        InputError: as :func:`rewrite` does; masks that come later are left as they were.
    """
    if workers == 1:
        for source, target in track(files.items(), description="masks"):
            rewrite(source, target, table)
        return
    with ProcessPoolExecutor(workers) as pool:
        done = pool.map(partial(rewrite, table=table), files.keys(), files.values(), chunksize=64)
        try:
            for _ in track(done, total=len(files), description="masks"):
                pass
        except InputError:
            pool.shutdown(cancel_futures=True)
            raise


def read_arguments(description: str | None, root_help: str) -> argparse.Namespace:
    """Read the command line: ``root``, the folder that ``root_help`` describes, and ``workers``."""
    parser = parser_of(description)
    parser.add_argument("root", type=Path, help=root_help)
    parser.add_argument("--workers", type=at_least(1), default=None, help="processes (default: one a core)")
    return parser.parse_args()
