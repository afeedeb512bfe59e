"""Faults of labels that are seen without opening an image."""

from __future__ import annotations

from collections import Counter

from fbnetv5.data.index_checks import BORDER_TOLERANCE
from fbnetv5.onboarding.findings import Findings
from fbnetv5.onboarding.found import Box
from fbnetv5.onboarding.split_labels import SplitLabels

RARE = 10  # images of a class that are few to learn from
SMALLEST = 1.0  # pixel: boxes with a shorter side are dots


def check_labels(read: SplitLabels, findings: Findings) -> None:
    """Add what is wrong with the labels of a split."""
    for target, values in read.labelled().items():
        bare = [name for name in read.images if name not in values]
        if values and bare:
            findings.add("images without labels", f"images without '{target}'", bare, split=read.split)
    _check_boxes(read, findings)
    _check_people(read, findings)


def class_counts(read: SplitLabels) -> dict[str, Counter[str]]:
    """Return, by target, how many images show each class; masks are counted where they are opened."""
    counts: dict[str, Counter[str]] = {}
    if "label" in read.classes:
        counts["label"] = Counter(read.labels.values())
    if "boxes" in read.classes:
        shown = ({box.label for box in boxes if not box.crowd} for boxes in read.boxes.values())
        counts["boxes"] = Counter(label for labels in shown for label in labels)
    if "keypoints" in read.classes:
        names = read.classes["keypoints"]
        points = (point for people in read.people.values() for point in enumerate(people[0]))
        counts["keypoints"] = Counter(names[place] for place, (_, _, visibility) in points if visibility)
    return counts


def check_classes(read: SplitLabels, target: str, counts: Counter[str], findings: Findings) -> None:
    """Add the classes that no image of a split shows, and in training those that few show."""
    names = read.classes[target]
    empty = [name for name in names if not counts[name]]
    findings.add("empty classes", f"classes of '{target}' without an image", empty, split=read.split)
    if read.split == "train":
        rare = [f"{name} ({counts[name]})" for name in names if 0 < counts[name] < RARE]
        findings.add("rare classes", f"classes of '{target}' in fewer than {RARE} images", rare, split=read.split)


def _check_boxes(read: SplitLabels, findings: Findings) -> None:
    outside, inverted, empty, dots = [], [], [], []
    for name, boxes in read.boxes.items():
        size = read.sizes.get(name)
        for box in boxes:
            where = f"{name} {_text(box)}"
            width, height = box.x2 - box.x1, box.y2 - box.y1
            if width == 0 or height == 0:
                empty.append(where)
            elif not (width > 0 and height > 0):
                inverted.append(where)
            elif size is not None and _is_outside(box, size) and not box.crowd:
                outside.append(f"{where} in {size[0]}x{size[1]}")
            elif min(width, height) < SMALLEST:
                dots.append(where)
    findings.add("boxes outside", "boxes reach out of their image", outside, split=read.split, stops=True)
    findings.add("boxes inverted", "boxes are inverted", inverted, split=read.split, stops=True)
    findings.add(
        "boxes empty",
        "boxes without area, not learnt from; of a json, AP counts them as missed",
        empty,
        split=read.split,
    )
    findings.add("boxes tiny", "boxes with a side below one pixel", dots, split=read.split)


def _check_people(read: SplitLabels, findings: Findings) -> None:
    crowded = [name for name, people in read.people.items() if len(people) > 1]
    text = "images of several people with keypoints; datasets/prepare_keypoints.py cuts them out"
    findings.add("several people", text, crowded, split=read.split, stops=True)
    outside = []
    for name, people in read.people.items():
        width, height = read.sizes.get(name, (float("inf"), float("inf")))
        points = [(x, y) for person in people for x, y, visibility in person if visibility]
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in points):
            outside.append(name)
    findings.add("keypoints outside", "images with keypoints outside of them", outside, split=read.split)


def _is_outside(box: Box, size: tuple[int, int]) -> bool:
    edge = BORDER_TOLERANCE
    return box.x1 < -edge or box.y1 < -edge or box.x2 > size[0] + edge or box.y2 > size[1] + edge


def _text(box: Box) -> str:
    return f"{box.label} [{box.x1:g}, {box.y1:g}, {box.x2:g}, {box.y2:g}]"
