"""Compare labels with the truth: precision and recall of boxes, accuracy of masks.

    python scripts/compare_labels.py runs/shapes_labels shapes

Both are folders with an index.parquet, or such files. Images are matched by their names in the two indexes, boxes by
class at an IoU of 0.5 or more, each with one other at most. Pixels that either mask ignores do not count for accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.types import BOXES, IGNORE, SEGMENTATION, Target
from fbnetv5.cli.arguments import parser_of
from fbnetv5.data.images import read_mask
from fbnetv5.data.index import Index

MIN_IOU = 0.5


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("labels", type=Path, help="what to judge: the folder of a labelling run, or an index")
    parser.add_argument("truth", type=Path, help="the same images with true labels")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    figures = compare(_index_file(options.labels), _index_file(options.truth))
    lines = [f"{name.replace('_', ' '):24}{value:10.4g}" for name, value in figures.items()]
    print(json.dumps(figures) if options.json else "\n".join(lines))


def compare(labels_file: Path, truth_file: Path) -> dict[str, float]:
    """Return the figures, shares from 0 to 1, over the images that both indexes label.

    Raises:
        InputError: an index cannot be read, no image is in both, their classes differ, or a mask is wrong.
    """
    labels, truth = Index.read(labels_file), Index.read(truth_file)
    rows = {row["path"]: row for row in truth.table.to_pylist()}
    pairs = [(row, rows[row["path"]]) for row in labels.table.to_pylist() if row["path"] in rows]
    if not pairs:
        raise InputError(f"no image of {labels_file} is in {truth_file}: both must name them from the same folder on")
    figures: dict[str, float] = {"images": len(pairs)}
    if _both_have(BOXES, labels, truth):
        figures |= compare_boxes([pair for pair in pairs if None not in (pair[0]["boxes"], pair[1]["boxes"])])
    if _both_have(SEGMENTATION, labels, truth):
        figures |= _compare_masks(pairs, (labels_file.parent, truth_file.parent), len(labels.classes["segmentation"]))
    return figures


def compare_boxes(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, float]:
    """Return precision and recall of boxes in (found, true) rows of an index."""
    num_found = num_true = num_matched = 0
    for found, true in pairs:
        boxes, labels = zip(*map(_boxes, (found, true)), strict=True)
        num_found += len(boxes[0])
        num_true += len(boxes[1])
        num_matched += num_matches(boxes[0], boxes[1], labels[0][:, None] == labels[1][None])
    return {
        "boxes": num_found,
        "true_boxes": num_true,
        "box_precision": num_matched / max(1, num_found),
        "box_recall": num_matched / max(1, num_true),
    }


def num_matches(found: Tensor, true: Tensor, same_class: Tensor) -> int:
    """Match boxes [n, 4] and [m, 4], the best IoU first, each once; ``same_class`` [n, m] says which may be matched."""
    overlaps = box_iou(found, true) * same_class
    count = 0
    while overlaps.numel() and overlaps.max() >= MIN_IOU:
        row, column = divmod(int(overlaps.argmax()), overlaps.shape[1])
        overlaps[row], overlaps[:, column] = 0, 0
        count += 1
    return count


def _compare_masks(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], roots: tuple[Path, Path], num_classes: int
) -> dict[str, float]:
    num_pixels = num_ignored = num_judged = num_right = 0
    for rows in pairs:
        if any(row["segmentation"] is None for row in rows):
            continue
        size = (rows[0]["width"], rows[0]["height"])
        found, true = (
            read_mask(root / row["segmentation"], num_classes, size) for root, row in zip(roots, rows, strict=True)
        )
        judged = (found != IGNORE) & (true != IGNORE)
        num_pixels += found.numel()
        num_ignored += int((found == IGNORE).sum())
        num_judged += int(judged.sum())
        num_right += int((judged & (found == true)).sum())
    return {"mask_accuracy": num_right / max(1, num_judged), "ignored_share": num_ignored / max(1, num_pixels)}


def _both_have(target: Target, labels: Index, truth: Index) -> bool:
    if target not in labels.targets or target not in truth.targets:
        return False
    mine, theirs = (index.classes[target.name] for index in (labels, truth))
    if mine != theirs:
        raise InputError(
            f"the classes of '{target.name}' differ: {', '.join(mine[:5])} in {labels.origin}, {', '.join(theirs[:5])} "
            f"in {truth.origin}"
        )
    return True


def _boxes(row: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    return torch.tensor(row["boxes"]).reshape(-1, 4), torch.tensor(row["box_labels"], dtype=torch.int64)


def _index_file(path: Path) -> Path:
    return path / "index.parquet" if path.is_dir() else path


if __name__ == "__main__":
    main()
