"""Pascal VOC's xml files, a file an image."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from xml.etree import ElementTree

from fbnetv5.onboarding.claims import nearest
from fbnetv5.onboarding.found import Box, Found, left_out_boxes, unread_images
from fbnetv5.onboarding.listing import Claim, Listing

FORMAT = "Pascal VOC xml"
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


@dataclass
class Read:
    """What the files say, by image: rows of name, x1 y1 x2 y2 as they stand there, and whether it is difficult."""

    objects: dict[str, list[tuple[str, tuple[float, ...], bool]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @property
    def num_objects(self) -> int:
        """Objects of all images."""
        return sum(map(len, self.objects.values()))


def find_voc(listing: Listing) -> tuple[list[Found], list[str]]:
    """Return the boxes of xml files, and notes."""
    read = _read_files(listing)
    if not any(read.objects.values()):
        return [], _left_out(read)
    # the first pixel is 1 in VOC, and 0 in the files of some programs
    first = min(min(box[:2]) for objects in read.objects.values() for _, box, _ in objects)
    shift = 1.0 if first >= 1 else 0.0
    values = {image: _boxes(objects, read.sizes[image], shift) for image, objects in read.objects.items()}
    classes = tuple(sorted({box.label for boxes in values.values() for box in boxes}))
    difficult = sum(box.crowd for boxes in values.values() for box in boxes)
    num_outside = read.num_objects - sum(map(len, values.values()))
    notes = [
        *listing.size_notes(read.sizes),
        *left_out_boxes(num_outside),
        *([f"{difficult:,} objects marked difficult are not learnt from"] if difficult else []),
        *_left_out(read),
        *(["boxes count pixels from 0 here, not from 1 as VOC's own do"] if not shift else []),
    ]
    places = tuple(sorted({str(PurePosixPath(name).parent) for name in listing.with_suffix(".xml")})[:2])
    return [Found("boxes", FORMAT, places, values, classes, sizes=read.sizes, notes=tuple(notes))], []


def _left_out(read: Read) -> list[str]:
    """Return a note on files that are no image's, on those that cannot be read, and on images that cannot."""
    orphans, wrong, others, unread = read.orphans, read.wrong, read.others, read.unread
    return [
        *([f"{len(orphans):,} xml files without an image of their own, such as {orphans[0]}"] if orphans else []),
        *([f"{len(wrong):,} xml files cannot be read, such as {_first(wrong)}"] if wrong else []),
        *([f"{len(others):,} xml files are none of VOC's, such as {_first(others)}"] if others else []),
        *([unread_images(unread)] if unread else []),
    ]


def text_of_xml(content: bytes) -> str:
    """Return the text of a document, in the encoding that it declares; UTF-8 without a word of it.

    Raises:
        ValueError: it is not in that encoding, or there is no such encoding.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    declared = re.match(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""", content)
    name = declared[1].decode("ascii") if declared else "utf-8"
    try:
        return content.decode("utf-8-sig" if name.lower() in ("utf-8", "utf8") else name)
    except (UnicodeDecodeError, LookupError) as error:
        raise ValueError(f"it is not {name}") from error


def parse_xml(text: str) -> ElementTree.Element:
    """Parse a document.

    Raises:
        ValueError: it is malformed, or declares entities, which could expand without end.
    """
    if re.search(r"<!\s*(ENTITY|DOCTYPE)", text, re.IGNORECASE):
        raise ValueError("it declares entities")
    try:
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error


def _read_files(listing: Listing) -> Read:
    """Read all files; of several of one image, the nearest to it."""
    read, claims, parsed = Read(), {}, {}
    for name in listing.with_suffix(".xml"):
        try:
            root = parse_xml(text_of_xml((listing.root / name).read_bytes()))
            if root.tag != "annotation":
                read.others[name] = f"it begins with <{root.tag}>, not with VOC's <annotation>"
                continue
            objects = [_object(node) for node in root.iter("object")]
        except (OSError, ValueError) as error:
            read.wrong[name] = str(error)
            continue
        parsed[name] = objects, _told_size(root)
        told = root.findtext("filename") or ""
        names = (told, name) if PurePosixPath(told).stem == PurePosixPath(name).stem else (name, told)
        image = next((found for one in names if (found := listing.image_of(one, name))), None)
        if image is not None:
            claims[Claim(name, name)] = image
    held = {claim.name: image for claim, image in nearest(claims).items()}
    read.orphans = [name for name in parsed if name not in held]
    for name, image in held.items():
        objects, told_size = parsed[name]
        if (size := told_size or listing.size(image)) is not None:
            read.sizes[image], read.objects[image] = size, objects
        elif objects:
            read.unread.append(image)
    return read


def _first(wrong: Mapping[str, str]) -> str:
    name, why = next(iter(wrong.items()))
    return f"{name}: {' '.join(why.split())}"


def _object(node: ElementTree.Element) -> tuple[str, tuple[float, ...], bool]:
    box = node.find("bndbox")
    if box is None:
        raise ValueError("an object without bndbox")
    corners = tuple(float(box.findtext(key) or "nan") for key in ("xmin", "ymin", "xmax", "ymax"))
    if any(corner != corner for corner in corners):
        raise ValueError("a bndbox that is no numbers")
    return (node.findtext("name") or "object").strip(), corners, (node.findtext("difficult") or "0").strip() == "1"


def _told_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        size = int(root.findtext("size/width") or 0), int(root.findtext("size/height") or 0)
    except ValueError:
        return None
    return size if min(size) > 0 else None


def _boxes(objects: list[tuple[str, tuple[float, ...], bool]], size: tuple[int, int], shift: float) -> list[Box]:
    """Boxes from the image's corner: VOC's last pixel lies inside of a box, its first one too."""
    boxes = []
    for name, (x1, y1, x2, y2), difficult in objects:
        corners = max(0.0, x1 - shift), max(0.0, y1 - shift), min(size[0], x2), min(size[1], y2)
        if corners[2] > corners[0] and corners[3] > corners[1]:
            boxes.append(Box(*corners, name, difficult))
    return boxes
