"""Small data sets in the formats' own conventions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 40


def photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), *, seed: int = 0, orientation: int = 1) -> None:
    """Write a photo, different for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, exif=exif)


def photos(folder: Path, names: Iterable[str], seed: int = 0) -> None:
    for number, name in enumerate(names):
        photo(folder / name, seed=seed + number)


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


def mask(path: Path, pixels: np.ndarray, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels.astype(np.uint8))
    if mode == "P":
        picture.putpalette([value for k in range(256) for value in (k, 255 - k, 90)])
    picture.save(path)


def coco(
    names: Iterable[str], annotations: Iterable[dict[str, Any]], categories: Iterable[str | dict[str, Any]]
) -> dict[str, Any]:
    """A COCO file of images of 60x40 pixels; ``image`` of an annotation is the position of its image."""
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in categories]
    given = [
        {"image_id": 10 + entry["image"], "id": 1 + k, "iscrowd": 0, **entry} for k, entry in enumerate(annotations)
    ]
    return {
        "images": [{"id": 10 + k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(names)],
        "annotations": given,
        "categories": [{"id": 3 + 2 * k, **entry} for k, entry in enumerate(entries)],
    }


def write_coco(path: Path, *args: Any) -> None:
    text(path, json.dumps(coco(*args)))


def voc(name: str, objects: Iterable[tuple[str, tuple[int, int, int, int], int]], size: tuple[int, int]) -> str:
    """An xml file as VOC's are: pixels count from 1, and the last one lies inside of the box."""
    parts = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2), difficult in objects
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{sides}{parts}</annotation>"
