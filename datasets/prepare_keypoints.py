"""Cuts people out of images, one a picture, as pose estimation from the top down trains and is judged on them.

    python datasets/prepare_keypoints.py annotations/person_keypoints_train2017.json train2017 people train \\
        --aspect 0.75 --margin 1.5
    python datasets/prepare_keypoints.py annotations/person_keypoints_val2017.json val2017 people val --aspect 0.75
    python datasets/prepare_keypoints.py train.json images people train --margin 1.5
    python datasets/prepare_keypoints.py valid.json images people val --heads gt_valid.mat

The annotations are COCO's json, MPII's json of SimpleBaseline (a list of people) or MPII's own mat file. The pictures
go to ``people/train/``, their keypoints to ``people/person_keypoints_train.json``.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path

from people.mpii import JOINTS, read_mpii_json, read_mpii_mat
from people.pictures import PADDING, Cut, people_content, read_coco_cuts, write_pictures
from rich.progress import track

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.data.frames import frames_of


def read_cuts(path: Path, heads: Path | None) -> tuple[tuple[str, ...], list[Cut]]:
    """Read the keypoints' names and the people of a file of any of the three formats.

    Raises:
        InputError: it cannot be read, or is none of them.
    """
    if path.suffix == ".mat":
        return JOINTS, read_mpii_mat(path)
    try:
        start = path.read_text(encoding="utf-8").lstrip()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read this annotation file: {error}") from error
    return (JOINTS, read_mpii_json(path, heads)) if start == "[" else read_coco_cuts(path)


def prepare(options: argparse.Namespace) -> None:
    """Write pictures, then the file of their keypoints.

    Raises:
        InputError: a file cannot be read or written.
    """
    names, cuts = read_cuts(options.annotations, options.heads)
    if not cuts:
        raise InputError(f"{options.annotations}: nobody in it has a labelled keypoint")
    padding = PADDING * options.margin
    cuts.sort(key=lambda cut: cut.image)
    by_image = [list(group) for _, group in groupby(cuts, key=lambda cut: cut.image)]
    write = partial(
        write_pictures,
        images=options.images,
        folder=options.folder / options.split,
        aspect=options.aspect,
        padding=padding,
        frames=frames_of(
            str(options.annotations),
            len(by_image),
            lambda number: options.images / by_image[number][0].image,
            lambda number: by_image[number][0].size,
        ),
    )
    with ProcessPoolExecutor(options.workers) as pool:
        try:
            for _ in track(pool.map(write, by_image, chunksize=16), total=len(by_image), description="images"):
                pass
        except InputError:
            pool.shutdown(cancel_futures=True)
            raise
    content = people_content(cuts, names, options.aspect, padding)
    file = options.folder / f"person_keypoints_{options.split}.json"
    write_text(file, json.dumps(content, allow_nan=False))
    print(f"{len(cuts):,} people of {len(by_image):,} images: {options.folder / options.split}, {file}")


@one_line_errors()
def main() -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("annotations", type=Path, help="COCO's json, MPII's json or mat file")
    parser.add_argument("images", type=Path, help="the folder that it names images in")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("split", help="name of the split: train or val")
    parser.add_argument("--aspect", type=float, default=1.0, help="width / height of a picture (default: 1)")
    parser.add_argument("--margin", type=float, default=1.0, help="factor on a picture's sides, for training: 1.5")
    parser.add_argument("--heads", type=Path, default=None, help="gt_valid.mat, beside MPII's valid.json")
    parser.add_argument("--workers", type=at_least(1), default=None, help="processes (default: one a core)")
    options = parser.parse_args()
    if options.aspect <= 0 or options.margin < 1:
        raise InputError("--aspect should be above 0, and --margin at least 1")
    prepare(options)


if __name__ == "__main__":
    main()
