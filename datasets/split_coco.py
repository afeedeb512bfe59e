"""Split the images of a COCO json file in two, to train on one part and to judge on the other.

    python datasets/split_coco.py my_data/instances_train.json my_data/instances_fit.json my_data/instances_held.json

Which images are held depends on their names and the seed alone: images that are added later move no other one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.cli.arguments import parser_of


def is_held(file_name: str, share: float, seed: int) -> bool:
    """Whether an image is of the part that is held, which has about ``share`` of all of them."""
    digest = hashlib.sha256(f"{seed} {file_name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split(document: dict[str, Any], share: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two documents, each with a part of the images and their annotations; all else is in both.

    Raises:
        InputError: a part would have no image.
    """
    parts = []
    for held in (False, True):
        images = [image for image in document["images"] if is_held(image["file_name"], share, seed) == held]
        ids = {image["id"] for image in images}
        annotations = [one for one in document["annotations"] if one["image_id"] in ids]
        parts.append({**document, "images": images, "annotations": annotations})
    if not all(part["images"] for part in parts):
        raise InputError(f"--share={share} of {len(document['images'])} images leaves a part without any")
    return parts[0], parts[1]


@one_line_errors("nothing was written")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    if not 0 < options.share < 1:
        raise InputError(f"--share={options.share} is not between 0 and 1")
    try:
        document = json.loads(options.file.read_text(encoding="utf-8"))
        parts = split(document, options.share, options.seed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{options.file} is no COCO json that can be read: {error!r}") from error
    for file, part in zip((options.rest, options.held), parts, strict=True):
        write_text(file, json.dumps(part) + "\n")
        print(f"{file}: {len(part['images']):,} images, {len(part['annotations']):,} annotations")


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "split_coco.py")
    parser.add_argument("file", type=Path, help="COCO json")
    parser.add_argument("rest", type=Path, help="json to write, of the images that are not held")
    parser.add_argument("held", type=Path, help="json to write, of those that are")
    parser.add_argument("--share", type=float, default=0.2, help="of the images that are held, about (default 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (default 0)")
    return parser


if __name__ == "__main__":
    main()
