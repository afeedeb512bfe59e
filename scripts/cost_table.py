"""Compare the costs of the paper's networks with those that FBNetV5 prints in Tables 2, 6 and 7.

    python scripts/cost_table.py [--images instances_val2017.json]

prints, for each model and each part of it, the MACs counted here, the printed ones, and their ratio. The backbones have
the reference topologies of configs/topologies. The average of Table 7 is that of Appendix H, ratio * (backbone + RPN) +
ROI, where ratio is the mean number of pixels of a data set's images, once resized, over that of the reference size. The
mean comes from the sizes in --images, a COCO file; without one it is solved from Table 7's own figures, one mean for
all rows of a size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from published import DETECTION, RESIZE_SIDES, TABLES, Printed, PrintedTable

from fbnetv5.archs.cost import classifier_cost, feature_sizes, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.base.types import Size
from fbnetv5.cli.arguments import parser_of
from fbnetv5.heads.lite_maskformer.cost import pixel_decoder_macs, segmentation_module_macs, transformer_decoder_macs
from fbnetv5.heads.lite_rcnn.cost import roi_macs, rpn_macs

TOPOLOGIES = Path(__file__).resolve().parents[1] / "configs" / "topologies"
PADDING = 32
WIDTH = 120


@dataclass(frozen=True)
class Row:
    """A printed row and, part by part, what is counted here, in millions of MACs."""

    printed: Printed
    counted: Mapping[str, float]

    def ratio(self, part: str) -> float:
        """Return counted over printed."""
        return self.counted[part] / self.printed.macs[part]


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    options = _parser().parse_args(arguments)
    pixels = printed_pixels() if options.images is None else dataset_pixels(read_sizes(options.images))
    rows = {table.number: count(table, pixels) for table in TABLES}
    if options.json:
        write_text(options.json, json.dumps(_plain(rows, pixels), indent=2) + "\n")
    source = "are solved from the printed averages" if options.images is None else f"are those of {options.images}"
    means = ", ".join(f"{mean:,.0f} at {_size_text(size)}" for size, mean in pixels.items())
    print("Millions of MACs: counted here, printed in the paper, and their ratio.")
    for table in TABLES:
        notes = [*table.notes, f"Average: the mean pixels {source}: {means}."] if table is DETECTION else table.notes
        print("\n" + table_text(table, rows[table.number], notes))


def count(table: PrintedTable, mean_pixels: Mapping[Size, float]) -> list[Row]:
    """Count every model of ``table``. ``mean_pixels``: reference size to mean pixels of an image, for the average."""
    topology = Topology.load(TOPOLOGIES / f"{table.task}.yaml")
    parts = {"cls": classification_macs, "seg": segmentation_macs, "det": detection_macs}[table.task]
    rows = []
    for printed in table.rows:
        macs: dict[str, float] = {**parts(printed.family, topology, printed.size)}
        macs["total"] = sum(macs.values())
        if "average" in table.parts:
            ratio = mean_pixels[printed.size] / (printed.size[0] * printed.size[1])
            macs["average"] = ratio * (macs["backbone"] + macs["RPN"]) + macs["ROI"]
        rows.append(Row(printed, {part: macs[part] / 1e6 for part in macs}))
    return rows


def classification_macs(family_name: str, topology: Topology, size: Size) -> dict[str, int]:
    """MACs of the backbone and of the classifier with 1000 classes, for images of ``size``."""
    family = get_family(family_name)
    return {
        "backbone": network_cost(family, topology, size).macs,
        "classifier": classifier_cost(family, 1000, size).macs,
    }


def segmentation_macs(family_name: str, topology: Topology, size: Size) -> dict[str, int]:
    """MACs of the backbone and of Lite MaskFormer's parts, for images of ``size``."""
    family = get_family(family_name)
    sizes = feature_sizes(family, size)
    return {
        "backbone": network_cost(family, topology, size).macs,
        "pixel decoder": pixel_decoder_macs(family.channels[1], sizes[1]),
        "transformer decoder": transformer_decoder_macs(family.channels[3], sizes[3]),
        "segmentation module": segmentation_module_macs(sizes[1]),
    }


def detection_macs(family_name: str, topology: Topology, size: Size) -> dict[str, int]:
    """MACs of the backbone and of Lite R-CNN's parts, for images of ``size`` that are padded first."""
    family = get_family(family_name)
    height, width = (-(-side // PADDING) * PADDING for side in size)
    return {
        "backbone": network_cost(family, topology, (height, width)).macs,
        "RPN": rpn_macs(family.channels[1], feature_sizes(family, (height, width))[1]),
        "ROI": roi_macs(family.channels[1]),
    }


def printed_pixels() -> dict[Size, float]:
    """Solve Table 7 for the mean pixels of an image, by reference size, over all rows of that size together."""
    pixels = {}
    for size in RESIZE_SIDES:
        rows = [row.macs for row in DETECTION.rows if row.size == size]
        scaled = sum(row["average"] - row["ROI"] for row in rows)
        pixels[size] = scaled / sum(row["backbone"] + row["RPN"] for row in rows) * size[0] * size[1]
    return pixels


def dataset_pixels(sizes: Sequence[Size]) -> dict[Size, float]:
    """Return, for each reference size, the mean pixels of images of ``sizes`` resized as the models resize them."""
    return {
        reference: statistics.fmean(height * width for height, width in (resized(size, *sides) for size in sizes))
        for reference, sides in RESIZE_SIDES.items()
    }


def resized(size: Size, short_side: int, max_long_side: int) -> Size:
    """Return ``size`` scaled so that its short side is ``short_side``, or less where the long one would be too long."""
    scale = min(short_side / min(size), max_long_side / max(size))
    return round(size[0] * scale), round(size[1] * scale)


def read_sizes(path: Path) -> list[Size]:
    """Read the height and width of every image that a COCO file lists.

    Raises:
        InputError: the file cannot be read, or lists no images or an image without a size.
    """
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        sizes = [(int(image["height"]), int(image["width"])) for image in images]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a COCO file, with 'images' that have a 'height' and a 'width'") from error
    if not sizes or min(map(min, sizes)) < 1:
        raise InputError(f"{path}: it needs at least one image, and sides of at least one pixel")
    return sizes


def table_text(table: PrintedTable, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Lay out a table and its notes."""
    lines = [f"Table {table.number}: {table.title}"]
    lines.append(f"{'model':<15}" + "".join(f"{part:>21}" for part in table.parts))
    lines.append(" " * 15 + f"{'counted print ratio':>21}" * len(table.parts))
    for row in rows:
        printed = row.printed
        cells = (f"{row.counted[part]:9.1f} {printed.macs[part]:5d} {row.ratio(part):.3f}" for part in table.parts)
        lines.append(f"{printed.family:<4}{_size_text(printed.size):<11}" + "".join(cells))
    for note in notes:
        lines += textwrap.wrap(note, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def _size_text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _plain(rows: Mapping[int, Sequence[Row]], mean_pixels: Mapping[Size, float]) -> dict[str, Any]:
    tables = {
        f"table_{number}": [
            {
                "family": row.printed.family,
                "size": list(row.printed.size),
                "counted": dict(row.counted),
                "printed": row.printed.macs,
                "ratio": {part: row.ratio(part) for part in row.printed.macs},
            }
            for row in table
        ]
        for number, table in rows.items()
    }
    return {
        "unit": "millions of MACs",
        **tables,
        "mean_pixels": {_size_text(size): mean for size, mean in mean_pixels.items()},
    }


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--images", type=Path, metavar="FILE", help="COCO json whose image sizes give the average of Table 7"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


if __name__ == "__main__":
    main()
