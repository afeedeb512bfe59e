"""Predictions of upright photos, written in the pixels of the photos as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.types import Size
from fbnetv5.data.images import image_header
from fbnetv5.data.orientation import inverse, turned_size
from fbnetv5.report.joint_predictions import JointWriter
from fbnetv5.report.predictions import PredictionWriter

Turn = Callable[[Any, tuple[int, int], int], Any]  # predictions, (width, height) of the upright image, orientation


class StoredFrameWriter:
    """A receiver of predictions that hands them on in the stored frame of their images.

    Args:
        writer: takes them.
        images: the folder that names are relative to.
        in_stored_frame: turns what a model predicts for one image; see :class:`~fbnetv5.model.photos.PhotoModel`.
    """

    def __init__(self, writer: PredictionWriter | JointWriter, images: Path, in_stored_frame: Turn) -> None:
        self.writer = writer
        self.images = images
        self.in_stored_frame = in_stored_frame

    def add(self, names: Sequence[str], predictions: Sequence[Any], sizes: Sequence[Size]) -> None:
        """Take one prediction an image, with the image's name and its upright (height, width)."""
        for name, prediction, (height, width) in zip(names, predictions, sizes, strict=True):
            header = image_header(self.images / name)
            orientation = 1 if header is None else header[1]
            stored = self.in_stored_frame(prediction, (width, height), orientation)
            stored_width, stored_height = turned_size((width, height), inverse(orientation))
            self.writer.add([name], [stored], [(stored_height, stored_width)])

    def close(self) -> None:
        """Finish what was written."""
        self.writer.close()
