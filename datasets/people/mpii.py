"""Reads the people of MPII Human Pose (Andriluka et al., CVPR 2014): its own mat file, or the common json of it.

Coordinates in both count from 1 at the centre of the first pixel, as Matlab does; here from the image's corner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from fbnetv5.base.errors import InputError
from fbnetv5.data.keypoints import Point
from people.pictures import Cut

JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "thorax", "upper_neck", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)
SIDE = 200  # pixels of a person's side at scale 1
BELOW = 15  # pixels at scale 1 that the centre is lowered by, because it lies too high (SimpleBaseline)
HEAD_SHARE = 0.6  # of the diagonal of the head's box: the size of the head
ONE_BASED = 0.5  # pixels from the image's corner to the coordinate 1 - 0.5


def read_mpii_json(path: Path, heads: Path | None = None) -> list[Cut]:
    """Read SimpleBaseline's ``train.json``, ``valid.json`` or ``trainval.json``: people who have a labelled joint.

    Args:
        path: a list of objects with image, center, scale, joints [16][2] and joints_vis [16] (0 or 1).
        heads: ``gt_valid.mat``, whose head boxes belong to the people of ``valid.json``, in its order.

    Raises:
        InputError: a file cannot be read, or is not what it should be.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        sizes = _head_sizes(heads, len(entries)) if heads else [None] * len(entries)
        people = []
        for number, (entry, head) in enumerate(zip(entries, sizes, strict=True)):
            joints = zip(entry["joints"], entry["joints_vis"], strict=True)
            points = [_point(x, y, 2 if labelled else 0) for (x, y), labelled in joints]
            if len(points) != len(JOINTS):
                raise InputError(f"{path}: person {number} has {len(points)} joints instead of {len(JOINTS)}")
            if any(visibility for _, _, visibility in points):
                x, y = entry["center"]
                box = _box(float(x), float(y), float(entry["scale"]))
                people.append(Cut(str(entry["image"]), number, points, box, head_size=head))
    except OSError as error:
        raise InputError(f"{path}: cannot read this annotation file: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not MPII's people as SimpleBaseline lists them: {error}") from error
    return people


def read_mpii_mat(path: Path) -> list[Cut]:
    """Read the training people of ``mpii_human_pose_v1_u12_1.mat`` who have a labelled joint, with their heads' sizes.

    Raises:
        InputError: it cannot be read, or is not what it should be.
    """
    release: Any = _load(path).get("RELEASE")
    try:
        chosen = np.flatnonzero(np.atleast_1d(release.img_train))
        images = np.atleast_1d(release.annolist)
        return [
            cut
            for number in chosen
            for cut in _people(str(images[number].image.name), _structs(images[number], "annorect"))
        ]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not MPII's annotations: {error}") from error


def _people(image: str, entries: Iterator[Any]) -> Iterator[Cut]:
    for number, entry in enumerate(entries):
        marked = [joint for annopoints in _structs(entry, "annopoints") for joint in _structs(annopoints, "point")]
        centre = next(_structs(entry, "objpos"), None)
        if not marked or centre is None:
            continue
        points: list[Point] = [(0.0, 0.0, 0)] * len(JOINTS)
        for joint in marked:
            hidden = str(getattr(joint, "is_visible", 1)) == "0"
            points[int(joint.id)] = _point(joint.x, joint.y, 1 if hidden else 2)
        head = HEAD_SHARE * math.hypot(float(entry.x2) - float(entry.x1), float(entry.y2) - float(entry.y1))
        box = _box(float(centre.x), float(centre.y), float(entry.scale))
        yield Cut(image, number, points, box, head_size=head)


def _structs(owner: Any, name: str) -> Iterator[Any]:
    """Yield the structs of a field, of which Matlab may store none, one or many."""
    for entry in np.atleast_1d(np.asarray(getattr(owner, name, []), dtype=object)):
        if hasattr(entry, "_fieldnames"):
            yield entry


def _head_sizes(path: Path, count: int) -> list[float]:
    boxes = _load(path).get("headboxes_src")  # [2 corners, x and y, people]
    if boxes is None or boxes.ndim != 3 or boxes.shape != (2, 2, count):
        found = None if boxes is None else boxes.shape
        raise InputError(f"{path}: headboxes_src has the shape {found}; the people need (2, 2, {count})")
    return [float(size) for size in HEAD_SHARE * np.linalg.norm(boxes[1] - boxes[0], axis=0)]


def _load(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = loadmat(path, squeeze_me=True, struct_as_record=False)
    except (MatReadError, OSError, TypeError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: cannot read this mat file: {error}") from error
    return content


def _point(x: Any, y: Any, visibility: int) -> Point:
    return (float(x) - ONE_BASED, float(y) - ONE_BASED, visibility) if visibility else (0.0, 0.0, 0)


def _box(x: float, y: float, scale: float) -> tuple[float, float, float, float]:
    side = SIDE * scale
    return x - ONE_BASED - side / 2, y - ONE_BASED + BELOW * scale - side / 2, side, side
