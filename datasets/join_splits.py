"""Join images of several places, each with labels of its own, into one split: an index for a config.

    python datasets/join_splits.py my_data/val.parquet --root my_data --mask-classes background pet \\
        --split '{images: images/val, labels: labels_val.csv, masks: masks/val}' \\
        --split '{images: images/train, boxes: instances_held.json}'

A split names its files as data.val of a config does, and data.val={index: val.parquet, images: null} is what comes of
it. Images that are labelled for nothing are left out, and those that are labelled in a split that --without names: a
training does not see what it is judged on. Class ids are those of the first split that has such labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.types import Target
from fbnetv5.cli.arguments import parser_of
from fbnetv5.data.build import build_index
from fbnetv5.data.index import Index

FILES = ("images", "labels", "boxes", "masks", "depth_maps", "keypoints")


def join(indexes: Sequence[Index], origin: str, without: Collection[str] = ()) -> Index:
    """Return one index of all images that are labelled for something.

    Args:
        indexes: of the same root.
        origin: of the result, for messages.
        without: paths of images that are left out.

    Raises:
        InputError: an image is in two of them, or the classes of a target differ.
    """
    targets: dict[str, Target] = {}
    classes: dict[str, tuple[str, ...]] = {}
    scales: dict[str, float] = {}
    rows: list[Mapping[str, Any]] = []
    for index in indexes:
        for target in index.targets:
            own = index.classes[target.name]
            if classes.setdefault(target.name, own) != own:
                raise InputError(f"{index.origin}: classes of '{target.name}' are {', '.join(own)} in one split alone")
            targets[target.name] = target
        scales |= index.scales
        rows += [row for row in _labelled(index) if row["path"] not in without]
    return Index.from_rows(rows, targets.values(), classes, origin, scales)


def _labelled(index: Index) -> list[dict[str, Any]]:
    """Return the rows of the images that are labelled for something."""
    return index.table.take(sorted({row for one in index.targets for row in index.labelled(one.name)})).to_pylist()


@one_line_errors("nothing was written")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    without = {row["path"] for index in _indexes(options, options.without) for row in _labelled(index)}
    joined = join(_indexes(options, options.split), str(options.index), without)
    joined.write(options.index)
    counts = ", ".join(f"{joined.num_labelled(target.name):,} {target.name}" for target in joined.targets)
    print(f"{options.index}: {len(joined):,} images; labelled: {counts}")


def _indexes(options: argparse.Namespace, splits: Sequence[str]) -> list[Index]:
    """Return an index of each split, with the same classes of a target in all."""
    indexes: list[Index] = []
    for text in splits:
        files = _files(text)
        known = {target: names for index in indexes for target, names in index.classes.items()}
        indexes.append(
            build_index(
                options.root,
                **files,
                label_classes=known.get("label") if "labels" in files else None,
                box_classes=known.get("boxes") if "boxes" in files else None,
                mask_classes=options.mask_classes if "masks" in files else (),
                depth_scale=options.depth_scale if "depth_maps" in files else None,
                unannotated=options.unannotated,
            )
        )
    return indexes


def _files(text: str) -> dict[str, Any]:
    try:
        files = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{text}: {' '.join(str(error).split())}") from error
    if not isinstance(files, dict) or "images" not in files or not set(files) <= set(FILES):
        raise InputError(f"{text}: give {{images: FOLDER}} and any of {', '.join(FILES[1:])}")
    return files


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "join_splits.py")
    parser.add_argument("index", type=Path, help="parquet file to write")
    parser.add_argument("--root", type=Path, required=True, help="folder that all paths are relative to")
    parser.add_argument("--split", action="append", required=True, metavar="{images: ...}", help="one for each place")
    parser.add_argument("--without", action="append", default=[], metavar="{images: ...}", help="images to leave out")
    parser.add_argument("--mask-classes", nargs="+", default=(), metavar="NAME", help="of the mask values 0, 1, ...")
    parser.add_argument("--depth-scale", type=float, help="value in the depth maps that is one metre")
    parser.add_argument(
        "--unannotated", default="empty", choices=("empty", "unlabelled"), help="images of a COCO json without boxes"
    )
    return parser


if __name__ == "__main__":
    main()
