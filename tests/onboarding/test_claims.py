"""Which file labels which image, where several name one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from fbnetv5.onboarding.survey import Survey, survey
from tests.onboarding.folders import HEIGHT, WIDTH, coco, mask, photos, text, voc, write_coco

TRIANGLE = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 20, 30]]}


def yolo(root: Path, names: list[str]) -> None:
    for k, name in enumerate(names):
        text(root / "labels" / f"{name}.txt", f"{k} 0.5 0.5 0.5 0.5\n")


def xml(root: Path, names: list[str]) -> None:
    for k, name in enumerate(names):
        box = (f"class_{k}", (1, 1, 9, 9), 0)
        text(root / "Annotations" / f"{name}.xml", voc(f"{name}.jpg", [box], (WIDTH, HEIGHT)))


def grey(root: Path, names: list[str]) -> None:
    for k, name in enumerate(names):
        mask(root / "masks" / f"{name}.png", np.full((HEIGHT, WIDTH), k))


def labels(root: Path, names: list[str]) -> None:
    text(root / "all.csv", "\n".join(["image,label", *(f"{name}.jpg,class_{k}" for k, name in enumerate(names))]))


def boxes(root: Path, names: list[str]) -> None:
    text(root / "all.csv", "\n".join(f"{name}.jpg,10,5,30,25,class_{k}" for k, name in enumerate(names)))


def boxes_of_splits(root: Path, names: list[str]) -> None:
    rows = {name: f"{Path(name).name}.jpg,10,5,30,25,class_{k}" for k, name in enumerate(names)}
    for split in ("train", "val"):
        text(root / f"{split}.csv", "\n".join(row for name, row in rows.items() if name.startswith(split)))


def listed(root: Path, names: list[str]) -> None:
    annotations = [{"image": k, "category_id": 3 + 2 * k, **TRIANGLE} for k in range(len(names))]
    write_coco(root / "all.json", [f"{name}.jpg" for name in names], annotations, [f"class_{k}" for k in range(3)])


def listed_by_split(root: Path, names: list[str]) -> None:
    for split in ("train", "val"):
        own = [k for k, name in enumerate(names) if name.startswith(split)]
        annotations = [{"image": place, "category_id": 3 + 2 * k, **TRIANGLE} for place, k in enumerate(own)]
        files = [f"{Path(names[k]).name}.jpg" for k in own]
        write_coco(root / f"{split}.json", files, annotations, [f"class_{k}" for k in range(3)])


def marks(found: Survey, image: str) -> list[object]:
    """What labels an image, first of all with boxes."""
    value = (found.found.get("boxes") or next(iter(found.found.values()))).values.get(image, [])
    return [box.label for box in value] if isinstance(value, list) else [getattr(value, "path", value)]


@pytest.mark.parametrize("write", [yolo, xml, grey, labels, boxes, boxes_of_splits, listed, listed_by_split])
@pytest.mark.parametrize("here", ["train/0", "val/0"])
def test_labels_of_an_absent_image_go_to_no_other_of_its_name(root, write, here):
    photos(root / "images", [f"{here}.jpg", "train/1.jpg"])
    names = ["train/0", "val/0", "train/1"]
    write(root, names)
    expected = f"masks/{here}.png" if write is grey else f"class_{names.index(here)}"
    assert marks(survey(root), f"images/{here}.jpg") == [expected]


def test_a_file_of_one_split_may_label_images_in_the_folder_of_another(root):
    photos(root / "train_images", [f"{k}.jpg" for k in range(4)])
    for split, own in (("train", [0, 1, 2]), ("val", [3])):
        annotations = [{"image": k, "category_id": 3, **TRIANGLE} for k in range(len(own))]
        write_coco(root / f"{split}.json", [f"{k}.jpg" for k in own], annotations, ["cat"])
    found = survey(root)
    assert (len(found.train), found.val) == (3, ("train_images/3.jpg",))


def boxes_json(root: Path, name: str, images: Iterable[int], label: str, classes: list[str]) -> None:
    names = [f"{k}.jpg" for k in images]
    annotations = [{"image": k, "category_id": 3 + 2 * classes.index(label), **TRIANGLE} for k in range(len(names))]
    text(root / f"{name}.json", json.dumps(coco(names, annotations, classes)))


def boxes_csv(root: Path, name: str, images: Iterable[int], label: str, classes: list[str]) -> None:
    lines = [f"{k}.jpg,10,10,30,30,{label}" for k in images]
    text(root / f"{name}.csv", "\n".join(["image,xmin,ymin,xmax,ymax,class", *lines]))


@pytest.mark.parametrize("write", [boxes_json, boxes_csv])
@pytest.mark.parametrize("folder", ["photos", "train_images"])
class TestFilesThatShareImages:
    def test_those_of_different_classes_are_taken_together(self, root, write, folder):
        photos(root / folder, [f"{k}.jpg" for k in range(4)])
        for label in ("cat", "dog"):
            write(root, label, range(4), label, ["cat", "dog"])
        found = survey(root).found["boxes"]
        assert [[box.label for box in boxes] for boxes in found.values.values()] == [["cat", "dog"]] * 4
        assert any("taken together" in note for note in found.notes)
        assert not found.ready

    def test_the_first_of_the_same_classes_is_taken_and_all_tell_splits(self, root, write, folder):
        photos(root / folder, [f"{k}.jpg" for k in range(10)])
        for end, images in {"": range(10), "_train": range(6), "_val": (6, 7)}.items():
            write(root, f"annotations{end}", images, "cat", ["cat"])
        found, suffix = survey(root), "json" if write is boxes_json else "csv"
        assert all(len(boxes) == 1 for boxes in found.found["boxes"].values.values())
        assert found.val == (f"{folder}/6.jpg", f"{folder}/7.jpg")
        assert len(found.train) == 8
        notes = "\n".join([*found.notes, *found.found["boxes"].notes])
        assert all(f"annotations{end}.{suffix}: left out" in notes for end in ("_train", "_val"))

    def test_what_others_do_not_label_is_taken_of_each(self, root, write, folder):
        photos(root / folder, [f"{k}.jpg" for k in range(5)])
        write(root, "a", range(3), "cat", ["cat"])
        write(root, "b", range(2, 5), "cat", ["cat"])
        found = survey(root).found["boxes"]
        assert len(found.values) == found.num_things == 5
        assert any("1 of its images are labelled by other files" in note for note in found.notes)


def test_masks_of_classes_in_files_of_their_own_are_one(root):
    photos(root, [f"{k}.jpg" for k in range(4)])
    for label in ("cat", "dog"):
        boxes_json(root, label, range(4), label, ["cat", "dog"])
    found = survey(root).found["masks"]
    assert found.classes == ("background", "cat", "dog")
    assert [region.label for region in found.values["0.jpg"].regions] == ["cat", "dog"]
