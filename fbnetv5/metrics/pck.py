"""The percentage of correct keypoints, those nearer to the truth than a share of the person's size.

=========  =====  ===================================================================================================
name       share  of what
=========  =====  ===================================================================================================
PCKh@0.5   0.5    the head, MPII's size of it: 0.6 of its box's diagonal (Andriluka et al., CVPR 2014)
tPCK@0.2   0.2    the torso: a shoulder to the hip of the other side, the longer of the two where both are labelled
PCK@0.2    0.2    the long side of the person's box (Yang and Ramanan, TPAMI 2013)
=========  =====  ===================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fbnetv5.data.keypoints import plain_name
from fbnetv5.metrics.keypoint_truth import TruePerson

TORSOS = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
NOT_IN_PCKH = ("pelvis", "thorax")  # MPII's mean leaves them out


class Measure(NamedTuple):
    """A kind of PCK: its name, the share, the size of a person in pixels (0: unknown), points left out of the mean."""

    name: str
    share: float
    size: Callable[[TruePerson, Sequence[str]], float]
    left_out: tuple[str, ...] = ()


def head_size(person: TruePerson, names: Sequence[str]) -> float:
    """Return the size of the head in pixels; 0 where it is unknown."""
    return person.head_size or 0.0


def torso_size(person: TruePerson, names: Sequence[str]) -> float:
    """Return the length of the torso in pixels; 0 where it is unknown."""
    plain = list(map(plain_name, names))
    rows = [[plain.index(name) for name in ends] for ends in TORSOS if set(ends) <= set(plain)]
    ends = [person.points[row] for row in rows if (person.points[row, 2] > 0).all()]
    return max((float(np.linalg.norm(a[:2] - b[:2])) for a, b in ends), default=0.0)


def box_size(person: TruePerson, names: Sequence[str]) -> float:
    """Return the long side of the person's box in pixels."""
    return max(person.box[2:])


MEASURES = (
    Measure("PCKh@0.5", 0.5, head_size, NOT_IN_PCKH),
    Measure("tPCK@0.2", 0.2, torso_size),
    Measure("PCK@0.2", 0.2, box_size),
)


def correct_keypoints(
    found: np.ndarray, truth: np.ndarray, sizes: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Count, for each of K keypoints, the right ones and the labelled ones, int [K] both.

    Args:
        found: [n, K, 2], x and y in pixels.
        truth: [n, K, 3]: x, y, and above 0 where labelled.
        sizes: [n], of the people in pixels; people of size 0 do not count.
        share: of the size, that the distance may have at most.
    """
    counted = (truth[:, :, 2] > 0) & (sizes[:, None] > 0)
    distances = np.linalg.norm(found - truth[:, :, :2], axis=2)
    return (counted & (distances <= share * sizes[:, None])).sum(0), counted.sum(0)


def pck(found: Sequence[np.ndarray], people: Sequence[TruePerson], names: Sequence[str]) -> dict[str, float]:
    """Return each PCK that the truth defines for someone: its mean over all keypoints, and ``PCK@0.2/<keypoint>``.

    Args:
        found: keypoints [K, 2 or more] of each person, x and y in pixels.
        people: the truth.
        names: of the K keypoints.
    """
    located = np.stack(found)[:, :, :2].astype(np.float64)
    truth = np.stack([person.points for person in people])
    values, single = {}, {}
    for measure in MEASURES:
        sizes = np.array([measure.size(person, names) for person in people])
        right, labelled = correct_keypoints(located, truth, sizes, measure.share)
        chosen = np.array([name not in measure.left_out for name in names]) & (labelled > 0)
        if chosen.any():
            values[measure.name] = float(right[chosen].sum() / labelled[chosen].sum())
        for name, number, total in zip(names, right.tolist(), labelled.tolist(), strict=True):
            if total:
                single[f"{measure.name}/{name}"] = number / total
    return values | single
