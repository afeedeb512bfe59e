"""Which file gives the names of classes: by its whole name, of several the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from fbnetv5.onboarding.survey import survey
from tests.onboarding.folders import HEIGHT, WIDTH, mask, photos, text, voc, write_coco


@pytest.fixture
def boxes_and_masks(root):
    photos(root / "images", [f"{k}.jpg" for k in range(4)])
    for k in range(4):
        text(root / "labels" / f"{k}.txt", f"{k % 2} 0.5 0.5 0.5 0.5\n")
        mask(root / "masks" / f"{k}.png", np.full((HEIGHT, WIDTH), k % 2))
    return root


MADE_UP = ("class_0", "class_1")


@pytest.mark.parametrize(
    ("files", "of_boxes", "of_masks"),
    [
        ({"mask_classes.txt": "sea\nland"}, MADE_UP, ("sea", "land")),
        ({"classes.txt": "cat\ndog", "mask_classes.txt": "sea\nland"}, ("cat", "dog"), ("sea", "land")),
        ({"a/mask_classes.txt": "x\ny", "masks/Mask_Classes.txt": "sea\nland"}, MADE_UP, ("sea", "land")),
        ({"a/classes.txt": "x\ny", "labels/classes.txt": "cat\ndog"}, ("cat", "dog"), ("x", "y")),
        ({"obj.names": "x\ny", "labels/classes.txt": "cat\ndog"}, ("cat", "dog"), ("background", "foreground")),
        ({"my_labels.txt": "x\ny", "my_labels.json": '["x", "y"]'}, MADE_UP, ("background", "foreground")),
    ],
)
def test_names_of_classes(boxes_and_masks, files, of_boxes, of_masks):
    for name, content in files.items():
        text(boxes_and_masks / name, content)
    found = survey(boxes_and_masks).found
    assert (found["boxes"].classes, found["masks"].classes) == (of_boxes, of_masks)


def yolo(root, folder, number):
    photos(root / folder / "images", [f"{k}.jpg" for k in range(4)], seed=number)
    for k in range(4):
        text(root / folder / "labels" / f"{k}.txt", f"{k % 2} 0.5 0.5 0.5 0.5\n")


@pytest.mark.parametrize("names", ["[{}, {}]", "{{0: {}, 1: {}}}", "{{'0': {}, '1': {}}}"])
def test_exports_side_by_side_have_names_of_their_own(root, names):
    for number, own in enumerate((("cat", "dog"), ("dog", "cat"))):
        yolo(root, f"ds{number}", 10 * number)
        text(root / f"ds{number}" / "data.yaml", f"names: {names.format(*own)}\n")
    found = survey(root).found["boxes"]
    assert found.classes == ("cat", "dog")
    labels = {image: boxes[0].label for image, boxes in found.values.items()}
    assert (labels["ds0/images/0.jpg"], labels["ds1/images/0.jpg"]) == ("cat", "dog")
    assert found.where[:2] == ("ds0/data.yaml", "ds1/data.yaml")


def test_lists_of_names_beside_txt_files_are_theirs(root):
    for number, own in enumerate(("cat", "dog\ncow\nhen")):
        yolo(root, f"ds{number}", 10 * number)
        text(root / f"ds{number}" / "labels" / "classes.txt", own)
    found = survey(root).found["boxes"]
    assert found.classes == ("cat", "class_1", "dog", "cow", "hen")
    assert found.values["ds1/images/1.jpg"][0].label == "cow"
    assert "class ids go to 1, but 1 have names" in found.notes


def test_classes_of_one_name_are_one_and_that_is_said(root):
    yolo(root, "ds", 0)
    text(root / "data.yaml", "names: [cat, cat]\n")
    found = survey(root).found["boxes"]
    assert found.classes == ("cat",)
    assert "several class ids are called cat: they are taken as one class" in found.notes


def test_names_that_differ_in_case_alone_are_told_apart(root):
    photos(root, ["a0.jpg", "A0.jpg"])
    for name, number in (("a0.txt", 0), ("A0.txt", 1)):
        text(root / name, f"{number} 0.5 0.5 0.5 0.5\n")
    values = survey(root).found["boxes"].values
    assert {image: boxes[0].label for image, boxes in values.items()} == {"a0.jpg": "class_0", "A0.jpg": "class_1"}


@pytest.mark.parametrize("other", ["vis", "raw", "zoom"])
@pytest.mark.parametrize("kind", ["yolo", "coco", "masks", "voc"])
def test_labels_are_of_the_images_not_of_pictures_of_the_same_names(root, kind, other):
    names = [f"{k}.jpg" for k in range(4)]
    photos(root / "images", names)
    photos(root / other, [name.replace("jpg", "png") for name in names] if kind == "voc" else names, seed=50)
    for k, name in enumerate(names):
        if kind == "yolo":
            text(root / "labels" / f"{k}.txt", "0 0.5 0.5 0.5 0.5\n")
        if kind == "masks":
            mask(root / "masks" / f"{k}.png", np.full((HEIGHT, WIDTH), k % 2))
        if kind == "voc":
            text(root / "xmls" / f"{k}.xml", voc(name, [("cat", (2, 2, 20, 20), 0)], (WIDTH, HEIGHT)))
    if kind == "coco":
        write_coco(
            root / "a.json", names, [{"image": k, "category_id": 3, "bbox": [5, 5, 9, 9]} for k in range(4)], ["x"]
        )
    (found,) = survey(root).found.values()
    assert {image.split("/")[0] for image in found.values} == {"images"}
