"""Predictions of upright photos, written in the pixels of the photos as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.types import Size, TargetKind
from fbnetv5.data.images import image_header
from fbnetv5.data.orientation import inverse, to_stored, turned_size
from fbnetv5.report.predictions import PredictionWriter


class StoredFrameWriter:
    """A receiver of predictions that hands them on in the stored frame of their images.

    Args:
        writer: takes them.
        images: the folder that names are relative to.
        kind: of the target.
    """

    def __init__(self, writer: PredictionWriter, images: Path, kind: TargetKind) -> None:
        self.writer = writer
        self.images = images
        self.kind = kind

    def add(self, names: Sequence[str], predictions: Sequence[Any], sizes: Sequence[Size]) -> None:
        """Take one prediction an image, with the image's name and its upright (height, width)."""
        for name, prediction, (height, width) in zip(names, predictions, sizes, strict=True):
            header = image_header(self.images / name)
            orientation = 1 if header is None else header[1]
            stored = to_stored(prediction, self.kind, (width, height), orientation)
            stored_width, stored_height = turned_size((width, height), inverse(orientation))
            self.writer.add([name], [stored], [(stored_height, stored_width)])

    def close(self) -> None:
        """Finish what was written."""
        self.writer.close()
