"""Counts of what was found in labelled images, shard by shard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from fbnetv5.base.documents import parse_json
from fbnetv5.base.types import BOXES, IGNORE, LABEL, SEGMENTATION, Target
from fbnetv5.engine.log import clock
from fbnetv5.labeling.labeler import Labelled

NUM_SHOWN = 10  # of the most frequent classes


@dataclass
class Tally:
    """Counts that add up.

    Attributes:
        num_images: those that were labelled.
        num_unreadable: those that could not be read.
        num_without_boxes: those in which no object was found.
        labels, boxes, pixels: how many of each class id; ``pixels`` holds those ignored as its last entry.
        seconds: that the processes took, loading included, all of them together.
    """

    num_images: int = 0
    num_unreadable: int = 0
    num_without_boxes: int = 0
    labels: list[int] = field(default_factory=list)
    boxes: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def empty(cls, classes: Mapping[Target, Sequence[str]]) -> Tally:
        """Return a tally of nothing, for the targets and classes of a labeler."""
        num = {target: len(names) for target, names in classes.items()}
        pixels = num[SEGMENTATION] + 1 if SEGMENTATION in num else 0
        return cls(labels=[0] * num.get(LABEL, 0), boxes=[0] * num.get(BOXES, 0), pixels=[0] * pixels)

    def count(self, labelled: Labelled) -> None:
        """Count one image."""
        self.num_images += 1
        if (label := labelled.row.get("label")) is not None:
            self.labels[label] += 1
        if self.boxes:
            self.num_without_boxes += not labelled.row["boxes"]
            for label in labelled.row["box_labels"]:
                self.boxes[label] += 1
        if labelled.mask is not None:
            counts = torch.bincount(labelled.mask.flatten(), minlength=IGNORE + 1).tolist()
            found = [*counts[: len(self.pixels) - 1], counts[IGNORE]]
            self.pixels = [total + more for total, more in zip(self.pixels, found, strict=True)]

    def add(self, other: Tally) -> None:
        """Add another tally of the same classes."""
        for name, value in asdict(other).items():
            own = getattr(self, name)
            both = [a + b for a, b in zip(own, value, strict=True)] if isinstance(value, list) else own + value
            setattr(self, name, both)

    @property
    def ignored_share(self) -> float:
        """The share of the pixels that are ignored, 0 to 1."""
        return self.pixels[-1] / max(1, sum(self.pixels)) if self.pixels else 0.0

    def to_json(self) -> str:
        """Return the counts as JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """Read what :meth:`to_json` has written. Raises ValueError or TypeError where that is damaged."""
        tally = cls(**parse_json(text))
        counts = [
            count for value in asdict(tally).values() for count in (value if isinstance(value, list) else [value])
        ]
        if not all(type(count) in (int, float) and 0 <= count < math.inf for count in counts):
            raise ValueError("a count is below 0, or no number")
        return tally


def summary(tally: Tally, classes: Mapping[Target, Sequence[str]]) -> dict[str, Any]:
    """Return the counts by the names of the classes, as ``summary.json`` holds them."""
    content: dict[str, Any] = {"images": tally.num_images, "unreadable": tally.num_unreadable}
    if LABEL in classes:
        content["labels"] = dict(zip(classes[LABEL], tally.labels, strict=True))
    if BOXES in classes:
        content["boxes"] = dict(zip(classes[BOXES], tally.boxes, strict=True))
        content["images_without_boxes"] = tally.num_without_boxes
    if SEGMENTATION in classes:
        content["pixels"] = dict(zip(classes[SEGMENTATION], tally.pixels[:-1], strict=True))
        content["ignored_pixels"] = tally.pixels[-1]
        content["ignored_share"] = round(tally.ignored_share, 6)
    content["process_seconds"] = round(tally.seconds, 3)
    return content


def summary_text(tally: Tally, classes: Mapping[Target, Sequence[str]]) -> str:
    """Return the counts as a few lines to print, with the most frequent classes."""
    speed = tally.num_images / max(tally.seconds, 1e-9)
    lines = [
        f"labelled {tally.num_images:,} images in {clock(tally.seconds)} of one process "
        f"({speed:,.1f} images/s); {tally.num_unreadable:,} unreadable"
    ]
    if BOXES in classes:
        lines.append(
            f"boxes: {sum(tally.boxes):,}; {_most(tally.boxes, classes[BOXES])}; "
            f"{tally.num_without_boxes:,} images without"
        )
    if SEGMENTATION in classes:
        total = max(1, sum(tally.pixels))
        shares = _most(tally.pixels[:-1], classes[SEGMENTATION], lambda count: f"{count / total:.1%}")
        lines.append(f"pixels: {tally.ignored_share:.1%} ignored; {shares}")
    return "\n".join(lines)


def _most(counts: Sequence[int], names: Sequence[str], shown: Any = "{:,}".format) -> str:
    order = sorted(range(len(counts)), key=lambda index: -counts[index])
    text = ", ".join(f"{names[index]} {shown(counts[index])}" for index in order[:NUM_SHOWN])
    return text + (f" and {len(order) - NUM_SHOWN} more classes" if len(order) > NUM_SHOWN else "")
