"""The part of the schema that says how images are labelled by pretrained models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fbnetv5.base.limits import MAX_IMAGES
from fbnetv5.config.option import option


@dataclass
class LabelConfig:
    """Labelling images with pretrained models."""

    images: str | None = option(None, "folder of images, searched with its subfolders; nothing is written to it")
    labels: str | None = option(
        None, "csv with the columns file_name,label; or label.images again where each class has a folder"
    )
    boxes: dict[str, Any] | None = option(None, "{_target_: class, its options}, the teacher that finds objects")
    masks: dict[str, Any] | None = option(None, "{_target_: class, its options}, the teacher that classifies pixels")
    frame: str = option(
        "upright",
        "pixels that labels are in: of images as a person sees them, or as they are stored, their EXIF orientation "
        "ignored",
        choices=("upright", "stored"),
    )
    box_threshold: float = option(0.5, "boxes of a lower score are dropped", minimum=0, maximum=1)
    pixel_threshold: float = option(
        0.5, "pixels whose likeliest class has a lower probability are ignored (255)", minimum=0, maximum=1
    )
    batch_size: int = option(8, "images that a teacher sees at a time, a process", minimum=1, maximum=MAX_IMAGES)
    shard_size: int = option(
        1000, "images whose labels are written at once; what a killed run does again at most", minimum=1
    )
    num_drawn: int = option(16, "images that are drawn with their labels", minimum=0)
