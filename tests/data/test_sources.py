from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import DataConfig, FilesConfig, ShapesConfig
from fbnetv5.data.build import build_index
from fbnetv5.data.index import IndexSource
from fbnetv5.data.sources import build_folder_source, build_source, build_val_source
from tests.data.conftest import Folder

CLASSES = {"label": ("cat", "dog"), "boxes": ("head", "tail"), "segmentation": ("background", "animal")}


def config(folder: Folder, **val: Any) -> DataConfig:
    train = FilesConfig(images="images", labels="labels.csv", boxes="boxes.json", masks="masks")
    return DataConfig(root=str(folder.root), train=train, val=FilesConfig(**val), mask_classes=["background", "animal"])


def test_the_shapes_world_has_a_validation_split_of_its_own() -> None:
    data = DataConfig(shapes=ShapesConfig(num_images=40, num_val_images=30, size=32))
    train, val = build_source(data), build_val_source(data, build_source(data).classes)
    assert val is not None
    assert (len(train), len(val)) == (40, 30)
    assert not {train.load(i).name for i in range(40)} & {val.load(i).name for i in range(30)}
    assert not any(torch.equal(train.load(i).image, val.load(j).image) for i in range(40) for j in range(3))
    larger = build_val_source(replace(data, shapes=ShapesConfig(num_images=90, num_val_images=5, size=32)), {})
    assert larger is not None
    assert torch.equal(larger.load(2).image, val.load(2).image)  # whatever the training split holds


def test_the_classes_of_the_shapes_world_are_compared_too() -> None:
    with pytest.raises(InputError, match="the classes of 'label'"):
        build_val_source(DataConfig(), {"label": ("cat", "dog")})


def test_without_files_there_is_no_validation_split(folder: Folder) -> None:
    assert build_val_source(config(folder), CLASSES) is None


def test_files_without_a_root_are_refused() -> None:
    with pytest.raises(InputError, match=r"data.val"):
        build_val_source(DataConfig(val=FilesConfig(images="images")), CLASSES)


def test_class_ids_are_those_of_the_training_split(folder: Folder) -> None:
    (folder.root / "val.csv").write_text("file_name,label\na.jpg,dog\n")
    folder.coco["categories"], folder.coco["annotations"][0]["category_id"] = [{"id": 1, "name": "tail"}], 1
    (folder.root / "val.json").write_text(json.dumps(folder.coco))
    data = config(folder, images="images", labels="val.csv", boxes="val.json", masks="masks")
    val = build_val_source(data, build_source(data).classes)
    assert val is not None
    assert val.classes == CLASSES
    target = val.load(0).target
    assert (target["label"], target["box_labels"].tolist()) == (1, [1])


def test_class_folders_take_their_ids_from_the_training_split(folder: Folder) -> None:
    for split, names in (("train", "abc"), ("val", "bc")):
        for name in names:
            place = folder.root / split / f"is_{name}"
            place.mkdir(parents=True)
            shutil.copy(folder.images / f"{name}.jpg", place)
    data = DataConfig(
        root=str(folder.root),
        train=FilesConfig(images="train", labels="train"),
        val=FilesConfig(images="val", labels="val"),
    )
    val = build_val_source(data, build_source(data).classes)
    assert val is not None
    assert val.classes["label"] == ("is_a", "is_b", "is_c")
    assert [val.load(index).target["label"] for index in range(2)] == [1, 2]
    with pytest.raises(InputError, match="'is_c' is not a class"):
        build_val_source(data, {"label": ("is_a", "is_b")})


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"boxes": ("head", "leg")}, "the classes of 'boxes' .*: class 1"),
        ({"label": ("cat", "dog", "eel")}, "the classes of 'label' .*: 2 instead of 3"),
    ],
)
def test_an_index_with_other_classes_is_refused(folder: Folder, classes: dict[str, Any], message: str) -> None:
    build_index(**folder.all_labels).write(folder.root / "val.parquet")
    data = config(folder, index="val.parquet")
    assert isinstance(build_val_source(data, CLASSES), IndexSource)
    with pytest.raises(InputError, match=message):
        build_val_source(data, {**CLASSES, **classes})


def test_mask_classes_come_from_the_training_split_where_the_config_names_none(folder: Folder) -> None:
    data = replace(config(folder, images="images", masks="masks"), mask_classes=[])
    val = build_val_source(data, {"segmentation": ("sky", "pet")})
    assert val is not None
    assert val.classes == {"segmentation": ("sky", "pet")}
    with pytest.raises(InputError, match="'segmentation'"):
        build_val_source(config(folder, images="images", masks="masks"), {"segmentation": ("sky", "pet")})


def test_labels_without_images_are_refused(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"give data.val.images"):
        build_val_source(config(folder, labels="labels.csv"), CLASSES)


def test_a_photo_whose_name_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / b"caf\xe9.png".decode(errors="surrogateescape")
    Image.new("RGB", (4, 4)).save(place)
    with pytest.raises(InputError, match="does not fit its column"):
        build_folder_source(place)


def test_a_folder_is_a_source_of_its_images_and_those_of_its_subfolders(folder: Folder, tmp_path: Path) -> None:
    (folder.images / "more").mkdir()
    shutil.copy(folder.images / "a.jpg", folder.images / "more" / "d.jpg")
    (folder.images / "notes.txt").write_text("no image")
    source = build_folder_source(folder.images)
    assert [source.load(i).name for i in range(len(source))] == ["a.jpg", "b.jpg", "c.jpg", "more/d.jpg"]
    assert source.load(3).target == {}
    assert source.num_labelled("label") == 0
    (tmp_path / "empty").mkdir()
    for place, message in (("empty", "no images here"), ("nowhere", "no such data folder")):
        with pytest.raises(InputError, match=message):
            build_folder_source(tmp_path / place)
