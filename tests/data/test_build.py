from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LoadFailure
from fbnetv5.data.build import BOXES, LABEL, SEGMENTATION, build_index
from fbnetv5.data.dataset import MultitaskDataset
from fbnetv5.data.index import IndexSource
from fbnetv5.data.sources import build_folder_source
from fbnetv5.data.tars import is_folder
from fbnetv5.data.transforms import eval_transform
from tests.data.conftest import HEIGHT, WIDTH, Folder

PETS = Path(__file__).parents[2] / ".." / "shared" / "data" / "pets"


def test_any_subset_of_tasks_can_be_indexed(folder: Folder) -> None:
    arguments = folder.all_labels
    full = build_index(**arguments)
    assert full.targets == (LABEL, BOXES, SEGMENTATION)
    assert full.classes == {
        "label": ("cat", "dog"),
        "boxes": ("head", "tail"),
        "segmentation": ("background", "animal"),
    }
    assert [full.num_labelled(name) for name in full.classes] == [2, 2, 2]
    for name, target in (("labels", LABEL), ("boxes", BOXES), ("masks", SEGMENTATION)):
        part = build_index(folder.root, "images", mask_classes=("background", "animal"), **{name: arguments[name]})
        assert part.targets == (target,)
        for key in target.keys:
            assert part.table[key].equals(full.table[key])
    assert build_index(folder.root, "images").targets == ()


def test_an_image_that_the_json_does_not_list_is_unlabelled_for_boxes(folder: Folder) -> None:
    index = build_index(folder.root, "images", boxes="boxes.json", unannotated="empty")
    assert index.table["boxes"].to_pylist() == [[[2, 3, 12, 7]], [], None]
    index = build_index(folder.root, "images", boxes="boxes.json", unannotated="unlabelled")
    assert index.table["boxes"].to_pylist() == [[[2, 3, 12, 7]], None, None]


def test_sizes_missing_in_the_json_come_from_the_header(folder: Folder) -> None:
    del folder.coco["images"][0]["width"]
    folder.write_coco()
    (folder.images / "b.jpg").write_bytes(b"")
    del folder.coco["images"][1]["height"]
    folder.write_coco()
    index = build_index(folder.root, "images", boxes="boxes.json")
    assert index.table["width"].to_pylist() == [WIDTH, None, None]
    assert index.table["height"].to_pylist() == [HEIGHT, None, None]


def test_class_folders_are_labels(tmp_path: Path, folder: Folder) -> None:
    for place, name in (("train/n02/x.JPEG", "a"), ("train/n01/y.JPEG", "b")):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes((folder.images / f"{name}.jpg").read_bytes())
    index = build_index(tmp_path, "train", labels="train")
    assert index.classes["label"] == ("n01", "n02")
    assert index.table["path"].to_pylist() == ["train/n01/y.JPEG", "train/n02/x.JPEG"]
    assert index.table["label"].to_pylist() == [0, 1]


def test_classes_of_another_split_settle_the_ids(folder: Folder) -> None:
    index = build_index(folder.root, "images", labels="labels.csv", label_classes=("ant", "dog", "cat"))
    assert index.classes["label"] == ("ant", "dog", "cat")
    assert index.table["label"].to_pylist() == [1, 2, None]
    with pytest.raises(InputError, match=r"labels.csv: image 'a.jpg': 'dog'"):
        build_index(folder.root, "images", labels="labels.csv", label_classes=("dogs", "cat"))


def test_damaged_images_do_not_stop_the_index_and_are_found_when_they_are_loaded(folder: Folder) -> None:
    whole = (folder.images / "a.jpg").read_bytes()
    (folder.images / "a.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (folder.images / "b.jpg").write_bytes(b"")
    source = IndexSource(build_index(**folder.all_labels), folder.root)
    strict = MultitaskDataset(source, [LABEL], eval_transform(8, 8), seed=0)
    lenient = MultitaskDataset(source, [LABEL], eval_transform(8, 8), seed=0, undecodable="skip")
    failure, item = strict[1], lenient[0]
    assert isinstance(failure, LoadFailure)
    assert failure.message.endswith("images/b.jpg: cannot read this image: the file is empty")
    assert not isinstance(item, LoadFailure)
    assert item.name == "images/c.jpg"
    assert [name in message for name, message in zip(("a.jpg", "b.jpg"), item.skipped, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([2, 3, 19, 4], r"boxes.json: image 'images/a.jpg': box \[2, 3, 21, 7\]"),
        ([12, 3, -5, 4], r"boxes.json: image 'images/a.jpg': box \[12, 3, 7, 7\]"),
    ],
)
def test_a_wrong_box_is_named(folder: Folder, box: list[float], message: str) -> None:
    folder.coco["annotations"][0]["bbox"] = box
    folder.write_coco()
    with pytest.raises(InputError, match=message):
        build_index(**folder.all_labels)


def test_annotations_of_images_that_do_not_exist_are_refused(folder: Folder) -> None:
    (folder.images / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"labels.csv: image 'a.jpg'"):
        build_index(folder.root, "images", labels="labels.csv")
    with pytest.raises(InputError, match=r"boxes.json: image 'a.jpg'"):
        build_index(folder.root, "images", boxes="boxes.json")


def test_a_mask_of_another_size_or_with_other_values_is_named_when_it_is_loaded(folder: Folder) -> None:
    folder.write_mask("a.png", np.zeros((HEIGHT, WIDTH + 1), np.uint8))
    folder.write_mask("b.png", np.full((HEIGHT, WIDTH), 2, np.uint8))
    source = IndexSource(build_index(**folder.all_labels), folder.root)
    with pytest.raises(InputError, match=r"masks/a.png"):
        source.load(0)
    with pytest.raises(InputError, match=r"masks/b.png: mask value 2"):
        source.load(1)


def test_what_is_missing_is_named(folder: Folder) -> None:
    with pytest.raises(InputError, match="nowhere: no such data folder"):
        build_index(folder.root / "nowhere", "images")
    with pytest.raises(InputError, match="data/other: no such folder"):
        build_index(folder.root, "other")
    with pytest.raises(InputError, match="masks: mask_classes"):
        build_index(folder.root, "images", masks="masks")


@pytest.mark.skipif(not PETS.is_dir(), reason="the pets sample is not here")
def test_pets() -> None:
    indexes = [
        build_index(
            PETS,
            f"images/{split}",
            labels=f"labels_{split}.csv",
            boxes=f"instances_{split}.json",
            masks=f"masks/{split}",
            mask_classes=("background", "pet"),
            unannotated="unlabelled",
        )
        for split in ("train", "val")
    ]
    train, val = indexes
    assert (len(train), len(val)) == (300, 298)
    assert train.classes["label"] == val.classes["label"] == ("Abyssinian", "Bengal", "american_bulldog")
    assert train.classes["boxes"] == ("head",)
    assert [train.num_labelled(name) for name in train.classes] == [300, 296, 300]
    assert [val.num_labelled(name) for name in val.classes] == [298, 0, 298]
    source = IndexSource(train, PETS)
    sample = source.load(0)
    assert sample.name == "images/train/Abyssinian_1.jpg"
    assert sample.target["segmentation"].shape == sample.image.shape[1:]
    assert set(sample.target["segmentation"].unique().tolist()) <= {0, 1, 255}


def test_keypoints_for_images_of_another_size_than_boxes_are_refused(folder: Folder) -> None:
    point = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 1, 2]}
    entry = {"id": 1, "file_name": "a.jpg", "width": 2 * WIDTH, "height": HEIGHT}
    category = {"id": 1, "name": "person", "keypoints": ["nose"]}
    document = {"images": [entry], "annotations": [point], "categories": [category]}
    (folder.root / "k.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"k\.json: image 'a\.jpg' has {2 * WIDTH}x{HEIGHT} pixels here, {WIDTH}x"):
        build_index(folder.root, "images", boxes="boxes.json", keypoints="k.json")


def test_what_is_named_and_no_image_that_is_read_is_said_to_be_so(folder: Folder) -> None:
    (folder.root / "other.csv").write_text("file_name,label\na.tif,cat\n")
    with pytest.raises(InputError, match=r"image 'a\.tif' is not among the images.*(\.jpg|did you mean)"):
        build_index(folder.root, "images", labels="other.csv")


def test_a_folder_that_may_not_be_entered_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", stat)
    assert not is_folder(Path("/nowhere/at/all"))
    with pytest.raises(InputError, match="no such data folder"):
        build_folder_source(Path("/nowhere/at/all"))
