"""Write images of shapes to a folder with their true labels: an example of how data of one's own is laid out.

    python scripts/make_shapes.py shapes --num 200

writes shapes/images/, instances.json (boxes), masks/, labels.csv (scenes), and index.parquet, which holds all of
them. The images are others than those that runs see where data.root is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import atomic_folder
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION
from fbnetv5.cli.arguments import parser_of
from fbnetv5.data.index import Index
from fbnetv5.data.interchange import write_annotations
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.report.colours import class_colours, palette

FIRST = 2 * 10**9  # runs see images from 0 and, in validation, from 10**9


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="what to make")
    parser.add_argument("--num", type=int, default=200, help="images (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="side of an image in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (%(default)s)")
    parser.add_argument("--format", choices=("png", "jpg"), default="png", help="of the images (%(default)s)")
    options = parser.parse_args(arguments)
    if options.folder.exists():
        raise InputError(f"{options.folder} exists already; choose another folder")
    source = ShapesSource(options.num, options.size, options.seed, first=FIRST)
    make_shapes(source, options.folder, options.format)
    print(f"{options.num:,} images: {options.folder}")


def make_shapes(source: ShapesSource, folder: Path, image_format: str) -> None:
    """Write the images of ``source`` and their labels to a new folder.

    Raises:
        InputError: the folder cannot be written; it is not there then.
    """
    colours = palette(class_colours(len(source.classes[SEGMENTATION.name])))
    with atomic_folder(folder) as temporary:
        for name in ("images", "masks"):
            (temporary / name).mkdir()
        names = "".join(f"{name}\n" for name in source.classes[SEGMENTATION.name])
        (temporary / "masks" / "mask_classes.txt").write_text(names, encoding="utf-8")
        rows = []
        for number in range(len(source)):
            sample = source.load(number)
            image, mask = f"{number:06d}.{image_format}", f"masks/{number:06d}.png"
            Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(temporary / "images" / image, quality=95)
            picture = Image.fromarray(sample.target[SEGMENTATION.name].numpy())
            picture.putpalette(colours)
            picture.save(temporary / mask)
            rows.append(_row(image, mask, source.size, sample.target))
        index = Index.from_rows(rows, [LABEL, BOXES, SEGMENTATION], source.classes, str(folder))
        write_annotations(index, temporary)
        index.write(temporary / "index.parquet")


def _row(image: str, mask: str, size: int, target: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": image,
        "width": size,
        "height": size,
        "label": target["label"],
        "boxes": target["boxes"].tolist(),
        "box_labels": target["box_labels"].tolist(),
        "segmentation": mask,
    }


if __name__ == "__main__":
    main()
