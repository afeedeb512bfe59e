"""Which images validate, as lists, data.yaml and folders say."""

from __future__ import annotations

import pytest

from fbnetv5.onboarding.survey import survey
from tests.onboarding.folders import HEIGHT, WIDTH, photos, text, voc

NAMES = ("a", "my photo", "b 2", "c")


@pytest.fixture
def yolo(root):
    photos(root / "images", [f"{name}.jpg" for name in NAMES])
    for name in NAMES:
        text(root / "labels" / f"{name}.txt", "0 0.5 0.5 0.5 0.5\n")
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"train.txt": "images/a.jpg\nimages/c.jpg", "val.txt": "images/my photo.jpg\nimages/b 2.jpg"},
        {"lists/Valid.txt": "my photo\nb 2\n\n"},
        {"val.txt": "my photo.jpg 7\nb 2.jpg -1\n", "trainval.txt": "\n".join(NAMES)},
        {"ImageSets/Main/valid.txt": "my photo\nb 2", "ImageSets/Main/trainval.txt": "\n".join(NAMES)},
        {
            "one.txt": "./images/a.jpg\n./images/c.jpg",
            "two.txt": "/home/me/images/my photo.jpg\n/home/me/images/b 2.jpg",
        }
        | {"data.yaml": "names: [x]\npath: /home/me\ntrain: one.txt\nval: [two.txt]\n"},
    ],
)
def test_lists_of_splits(yolo, files):
    for name, content in files.items():
        text(yolo / name, content)
    assert survey(yolo).val == ("images/b 2.jpg", "images/my photo.jpg")


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ("train: ../one/images\nval: ../two/images", "one/images", "two/images"),
        ("path: /somewhere\ntrain: images\nvalidation: images/two", "images", "images/two"),
        ("train: /home/me/data/images/one\nval: /home/me/data/images/two/", "mine/images/one", "mine/images/two"),
        ("train: images\nval: images", "images/train", "images/val"),  # folders tell more
        ("train: images", "images/train", "images/val"),
    ],
)
def test_folders_that_data_yaml_names(root, settings, first, second):
    text(root / "data.yaml", f"names: [x]\n{settings}\n")
    for seed, folder in enumerate((first, second)):
        names = [f"{seed}{k}" for k in range(3)]
        photos(root / folder, [f"{name}.jpg" for name in names], seed=10 * seed)
        for name in names:
            text(root / folder.replace("images", "labels") / f"{name}.txt", "0 0.5 0.5 0.5 0.5\n")
    found = survey(root)
    assert found.train == tuple(f"{first}/0{k}.jpg" for k in range(3))
    assert found.val == tuple(f"{second}/1{k}.jpg" for k in range(3))


def test_a_list_of_vocs_names_the_images_of_its_split(root):
    for split in ("train", "val"):
        photos(root / split, ["0.jpg", "1.jpg"], seed=len(split))
        text(root / "lists" / f"{split}.txt", "0\n1\n2\n")
        for k in range(2):
            text(root / split / f"{k}.xml", voc(f"{k}.jpg", [("cat", (1, 1, 9, 9), 0)], (WIDTH, HEIGHT)))
    assert survey(root).val == ("val/0.jpg", "val/1.jpg")
