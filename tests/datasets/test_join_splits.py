"""Images of several places become one split, each with the labels that it has."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from datasets.join_splits import main
from fbnetv5.data.index import Index

SPLITS = (
    "{images: images/val, labels: labels_val.csv, masks: masks/val}",
    "{images: images/train, boxes: held.json}",
)


@pytest.fixture
def root(tmp_path):
    for folder in ("images/val", "images/train", "masks/val"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("val/a", "val/b", "train/c", "train/d"):
        Image.new("RGB", (40, 32)).save(tmp_path / "images" / f"{name}.jpg")
    Image.fromarray(np.ones((32, 40), np.uint8)).save(tmp_path / "masks/val/a.png")
    (tmp_path / "labels_val.csv").write_text("file_name,label\na.jpg,cat\nb.jpg,dog\n")
    document = {
        "images": [{"id": 1, "file_name": "c.jpg", "width": 40, "height": 32}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 9, 9], "area": 81, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "head"}],
    }
    (tmp_path / "held.json").write_text(json.dumps(document))
    return tmp_path


def given(root, *splits: str) -> list[str]:
    options = [text for split in splits for text in ("--split", split)]
    return [str(root / "val.parquet"), "--root", str(root), "--mask-classes", "ground", "pet", *options]


def test_every_image_has_the_labels_of_its_place(root, capsys):
    main(given(root, *SPLITS))
    index = Index.read(root / "val.parquet", root)
    paths = [index.value("path", row) for row in range(len(index))]
    assert paths == ["images/val/a.jpg", "images/val/b.jpg", "images/train/c.jpg"]  # d is labelled for nothing
    assert [list(index.labelled(name)) for name in ("label", "segmentation", "boxes")] == [[0, 1], [0], [2]]
    assert (index.classes["label"], index.classes["boxes"]) == (("cat", "dog"), ("head",))
    assert "3 images; labelled: 2 label, 1 segmentation, 1 boxes" in capsys.readouterr().out


def test_images_that_are_judged_on_are_left_out_of_a_training(root):
    (root / "labels_train.csv").write_text("file_name,label\nc.jpg,cat\nd.jpg,dog\n")
    main([*given(root, "{images: images/train, labels: labels_train.csv}"), "--without", SPLITS[1]])
    index = Index.read(root / "val.parquet", root)
    assert [index.value("path", row) for row in range(len(index))] == ["images/train/d.jpg"]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("{labels: a.csv}",), "give {images: FOLDER} and any of labels, boxes"),
        (("{images: [",), "{images: ["),
        ((SPLITS[0], SPLITS[0]), "val.parquet"),  # an image is in both
    ],
)
def test_what_is_wrong_is_said_in_one_line(root, capsys, splits, message):
    with pytest.raises(SystemExit) as ended:
        main(given(root, *splits))
    assert ended.value.code != 0
    assert message in capsys.readouterr().err
    assert not (root / "val.parquet").exists()
