"""Which folders are classes, which are splits, and what is said of those that are taken for neither."""

from __future__ import annotations

import json

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.onboarding.survey import held_out, survey
from tests.onboarding.folders import coco, photos, text


def folders(root, counts: dict[str, int]) -> None:
    for seed, (name, count) in enumerate(counts.items()):
        photos(root / name, [f"{name.replace('/', '-')}-{k}.jpg" for k in range(count)], seed=100 * seed)


def test_a_word_of_a_split_in_the_name_of_a_class_is_none(root):
    folders(root, {"beaker": 6, "test tube": 6, "dev board": 6})
    found = survey(root)
    assert not found.test
    assert {image.split("/")[0] for image in found.train} == {"beaker", "test tube", "dev board"}
    assert 0 < len(found.val) < 9


def test_lists_of_images_come_before_words_in_the_names_of_classes(root):
    folders(root, {"beaker": 6, "test tube": 6, "dev board": 6})
    every = [str(path.relative_to(root)) for path in sorted(root.rglob("*.jpg"))]
    text(root / "val.txt", "\n".join(every[::3]))
    text(root / "train.txt", "\n".join(one for one in every if one not in every[::3]))
    assert list(survey(root).val) == every[::3]


@pytest.mark.parametrize("name", ["test", "Val"])
def test_a_split_beside_class_folders_is_no_class(root, name):
    folders(root, {"cat": 4, "dog": 4, "sea": 4, name: 5})
    found = survey(root)
    assert found.found["labels"].classes == ("cat", "dog", "sea")
    assert not any(image.startswith(name) for image in (*found.train, *found.val, *found.test))
    assert f"{name}: its images are in no folder of a class, and not taken" in found.notes


def test_a_split_of_class_folders_beside_them_is_that_split(root):
    folders(root, {"cat": 4, "dog": 4, "val/cat": 2, "val/dog": 2})
    found = survey(root)
    assert found.found["labels"].classes == ("cat", "dog")
    assert len(found.train) == 8
    assert len(found.val) == 4
    assert all(image.startswith("val/") for image in found.val)


def test_a_test_split_without_classes_is_passed_over(root):
    folders(root, {"train/cat": 4, "train/dog": 4, "test": 5})
    found = survey(root)
    assert found.found["labels"].classes == ("cat", "dog")
    assert all(image.startswith("train/") for image in (*found.train, *found.val))


def test_a_few_images_may_lie_beside_class_folders(root):
    folders(root, {"cat": 12, "dog": 12})
    photos(root, ["overview.jpg"])
    assert len(survey(root).found["labels"].values) == 24
    photos(root, [f"{k}.jpg" for k in range(9)])
    found = survey(root)
    assert not found.found
    assert "folders are not taken as classes, as 10 images lie beside them, such as 0.jpg" in found.notes


def test_a_stray_picture_does_not_hide_few_images(root):
    folders(root, {"cat": 3, "dog": 3})
    photos(root, ["overview.jpg"])
    assert len(survey(root).found["labels"].values) == 6


@pytest.mark.parametrize(
    ("counts", "said"), [({"mask": 3, "no_mask": 3}, "mask is no usual name"), ({"cats": 4}, "one class alone")]
)
def test_what_is_not_taken_is_said(root, counts, said):
    folders(root, counts)
    assert any(said in note for note in survey(root).notes)


def test_a_class_of_the_validation_split_alone_is_a_class(root, init, tmp_path):
    folders(root, {"train/cat": 3, "train/dog": 3, "val/cat": 2, "val/emu": 2})
    assert survey(root).found["labels"].classes == ("cat", "dog", "emu")
    read, _ = init(root)
    assert read.train.classes["label"] == read.val.classes["label"] == ("cat", "dog", "emu")


def test_labels_are_not_validated_on_what_few_boxes_had_split_off(root):
    names = [f"{k}.jpg" for k in range(30)]
    photos(root / "images", names)
    text(root / "labels.csv", "file_name,label\n" + "".join(f"{name},{'ab'[len(name) % 2]}\n" for name in names))
    boxes = [{"image": k, "category_id": 3, "bbox": [1, 1, 20, 20]} for k in range(4)]
    text(root / "boxes.json", json.dumps(coco(names[:4], boxes, ["x"])))
    found = survey(root)
    assert found.split_off.keys() == {"labels", "boxes"}
    assert held_out(f"images/{name}" for name in names) <= set(found.val)


def test_a_folder_of_photos_that_cannot_be_read_says_what_is_there(root):
    for k in range(3):
        text(root / f"{k}.heic", "x")
    with pytest.raises(InputError, match=r"no images here .*3 \.heic"):
        survey(root)
