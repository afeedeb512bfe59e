"""Cuts people out of images: a picture of one person each, and a COCO file of their keypoints.

SimpleBaseline (1804.06208) sees a person in a box that is widened to the network's shape and enlarged by 1.25. The
pictures are that box, cut at whole pixels and not resized, so keypoints, areas and head sizes stay what they were but
for an offset, which the file keeps (``source_id``, ``offset``; ``metrics.keypoint_truth`` reads them). For training,
they are larger by a margin, to be turned and scaled in. What lies outside of the image is the mean colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.data.coco_file import box_of, told_size
from fbnetv5.data.images import read_stored
from fbnetv5.data.keypoints import Point, coco_points, read_people
from fbnetv5.data.orientation import Extent, Frames, turn_pixels

PADDING = 1.25
QUALITY = 95  # of the pictures' JPEGs


@dataclass(frozen=True)
class Cut:
    """A person to be cut out, in pixels from the image's corner.

    Attributes:
        image: file name, relative to the folder of images.
        number: of the person; with ``image`` it names the picture.
        points: keypoints.
        box: x, y, width, height.
        area: in square pixels; None if unknown.
        head_size: in pixels; None if unknown.
        source_id: of the image; None: its file name.
        size: (width, height) of the image that points and box are for; None if unknown.
    """

    image: str
    number: int | str
    points: list[Point]
    box: tuple[float, float, float, float]
    area: float | None = None
    head_size: float | None = None
    source_id: int | str | None = None
    size: Extent | None = None


class Region(NamedTuple):
    """Whole pixels of an image, or beside it."""

    left: int
    top: int
    width: int
    height: int


def read_coco_cuts(path: Path) -> tuple[tuple[str, ...], list[Cut]]:
    """Return the keypoints' names and the people of a COCO file who have a labelled keypoint and are no crowd.

    Raises:
        InputError: as :func:`~fbnetv5.data.keypoints.read_people`, a person has no box, or an image's name leads out of
            the folder of images, and its pictures would out of theirs.
    """
    names, images, _ = read_people(path)
    cuts = []
    for name, image in images.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path}: image '{name}' should be named relative to the folder of images")
        for position, person in enumerate(image.people):
            entry = person.entry
            box = box_of(entry, f"{path}: image '{name}'")
            number = entry.get("id", position)
            size = told_size(image.entry)
            cuts.append(Cut(name, number, person.points, box, entry.get("area"), None, image.entry["id"], size))
    return names, cuts


def person_region(box: Sequence[float], aspect: float, *, padding: float = PADDING) -> Region:
    """Return the region of a person: the box widened or heightened to a shape, and enlarged.

    Args:
        box: x, y, width, height.
        aspect: width / height.
        padding: the factor.
    """
    x, y, width, height = box
    width, height = max(width, height * aspect), max(height, width / aspect)
    sides = [max(1, round(side * padding)) for side in (width, height)]
    left, top = round(x + box[2] / 2 - sides[0] / 2), round(y + box[3] / 2 - sides[1] / 2)
    return Region(left, top, *sides)


def cut_out(image: Tensor, region: Region) -> Tensor:
    """Return the pixels of a region of an image uint8 [3, H, W], with the mean colour outside of the image."""
    mean = torch.tensor(IMAGENET.colour, dtype=torch.uint8)
    picture = mean[:, None, None].repeat(1, region.height, region.width)
    left, top = max(0, region.left), max(0, region.top)
    seen = image[:, top : max(0, region.top + region.height), left : max(0, region.left + region.width)]
    row, column = top - region.top, left - region.left
    picture[:, row : row + seen.shape[1], column : column + seen.shape[2]] = seen
    return picture


def picture_name(cut: Cut) -> str:
    """Return the file name of a person's picture, relative to their folder."""
    path = PurePosixPath(cut.image)
    return str(path.with_name(f"{path.stem}_{cut.number}.jpg"))


def write_pictures(
    cuts: Sequence[Cut], images: Path, folder: Path, aspect: float, padding: float, frames: Frames
) -> None:
    """Write the pictures of people of one image.

    Args:
        cuts: the people.
        images: the folder of the image.
        folder: for the pictures.
        aspect, padding: see :func:`person_region`.
        frames: which images are turned upright.

    Raises:
        UndecodableImageError: the image cannot be read.
        InputError: it has another size than its labels say, or a picture cannot be written.
    """
    image, orientation = read_stored(images / cuts[0].image)
    if frames.turns(orientation, (image.shape[2], image.shape[1]), cuts[0].size):
        image = turn_pixels(image, orientation)
    size, told = (image.shape[2], image.shape[1]), cuts[0].size
    if told not in (None, size):
        raise InputError(
            f"{images / cuts[0].image}: {told[0]}x{told[1]} by its labels, {size[0]}x{size[1]} in the file"
        )
    for cut in cuts:
        pixels = cut_out(image, person_region(cut.box, aspect, padding=padding))
        with atomic_path(folder / picture_name(cut)) as temporary:
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(temporary, quality=QUALITY)


def people_content(cuts: Sequence[Cut], names: Sequence[str], aspect: float, padding: float) -> dict[str, Any]:
    """Return the COCO file of the pictures, one person each, in pixels of the pictures."""
    images, annotations = [], []
    for number, cut in enumerate(cuts, start=1):
        region = person_region(cut.box, aspect, padding=padding)
        images.append(
            {
                "id": number,
                "file_name": picture_name(cut),
                "width": region.width,
                "height": region.height,
                "source_id": cut.image if cut.source_id is None else cut.source_id,
                "offset": [region.left, region.top],
            }
        )
        moved = [(x - region.left, y - region.top, visibility) for x, y, visibility in cut.points]
        known = {"area": cut.area, "head_size": cut.head_size}
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": [round(value, 3) for value in coco_points(moved)],
                "num_keypoints": sum(visibility > 0 for _, _, visibility in cut.points),
                "bbox": [round(cut.box[0] - region.left, 3), round(cut.box[1] - region.top, 3), *cut.box[2:]],
                **{key: value for key, value in known.items() if value is not None},
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(names)}
    return {"images": images, "annotations": annotations, "categories": [category]}
