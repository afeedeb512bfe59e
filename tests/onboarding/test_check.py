"""What ``fbnetv5 check`` says of each fault."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.base.types import LABEL, Target, TargetKind
from fbnetv5.cli import commands
from fbnetv5.data.index import Index
from fbnetv5.onboarding.image_checks import picture_hash
from tests.onboarding.folders import HEIGHT, WIDTH, coco, mask, photo, photos, text
from tests.stores import open_store

CONFIG = """
defaults: [/search/small, _self_]
name: c
data:
  root: data
  train: {images: images/train, labels: labels_train.csv, boxes: boxes_train.json, masks: masks/train}
  val: {images: images/val, labels: labels_val.csv, boxes: boxes_val.json, masks: masks/val}
  mask_classes: [ground, pet, bird]
tasks:
  cls: {_target_: fbnetv5.tasks.classification.Classification}
  det: {_target_: fbnetv5.tasks.detection.Detection}
"""
NAMES = [f"{k}.jpg" for k in range(12)]


class Folder:
    """A sound data set, to be damaged by a test."""

    def __init__(self, top: Path) -> None:
        self.top, self.root = top, top / "data"
        text(top / "c.yaml", CONFIG)
        self.coco = {}
        for number, split in enumerate(("train", "val")):
            photos(self.root / "images" / split, NAMES, seed=100 * number)
            rows = [f"{name},{'cat' if k % 2 else 'dog'}" for k, name in enumerate(NAMES)]
            text(self.root / f"labels_{split}.csv", "\n".join(["file_name,label", *rows]) + "\n")
            annotations = [{"image": k, "category_id": 3 + 2 * (k % 2), "bbox": [5, 5, 20, 20]} for k in range(12)]
            self.coco[split] = coco(NAMES, annotations, ["head", "tail"])
            for k, name in enumerate(NAMES):
                mask(self.mask(split, name), np.full((HEIGHT, WIDTH), k % 3))

    def image(self, split: str, name: str) -> Path:
        return self.root / "images" / split / name

    def mask(self, split: str, name: str) -> Path:
        return (self.root / "masks" / split / name).with_suffix(".png")

    def check(self, *overrides: str) -> tuple[int, dict[str, dict]]:
        """The exit status, and the findings by kind."""
        for split, content in self.coco.items():
            (self.root / f"boxes_{split}.json").write_text(json.dumps(content))
        try:
            commands.main(["check", "c.yaml", "--json", "found.json", *overrides])
            status = 0
        except SystemExit as end:
            status = end.code
        report = json.loads((self.top / "found.json").read_text())
        assert report["stops"] == (status == 1)
        return status, {entry["kind"]: entry for entry in report["findings"]}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


def test_sound_data_have_a_sheet_and_nothing_to_stop_for(folder, capsys):
    status, found = folder.check()
    assert status == 0
    assert set(found) <= {"rare classes"}
    said = capsys.readouterr().out
    assert "train label: 12 of 12 images; images of a class: dog 6, cat 6" in said
    assert "train segmentation: 12 of 12 images; images of a class: ground 4, pet 4, bird 4" in said
    assert "nothing here stops a run" in said
    with Image.open(folder.top / "c_sheet.jpg") as sheet:
        assert sheet.width > 4 * 480


def damage(folder: Folder) -> None:
    path = folder.image("train", "1.jpg")
    path.write_bytes(path.read_bytes()[:300])


def missing_image(folder: Folder) -> None:
    folder.image("train", "1.jpg").unlink()


def unlabelled(folder: Folder) -> None:
    photo(folder.image("train", "new.jpg"), seed=77)


def outside(folder: Folder) -> None:
    folder.coco["train"]["annotations"][4]["bbox"] = [50, 5, 20, 20]


def flat(folder: Folder) -> None:
    folder.coco["train"]["annotations"][4]["bbox"] = [5, 5, 0, 20]


def tiny(folder: Folder) -> None:
    folder.coco["train"]["annotations"][4]["bbox"] = [5, 5, 0.5, 20]


def inverted(folder: Folder) -> None:
    folder.coco["val"]["annotations"][4]["bbox"] = [25, 5, -20, 20]


def category(folder: Folder) -> None:
    folder.coco["train"]["annotations"][4]["category_id"] = 99


def empty_class(folder: Folder) -> None:
    folder.coco["train"]["categories"].append({"id": 9, "name": "wing"})


def mask_value(folder: Folder) -> None:
    mask(folder.mask("val", "3.jpg"), np.full((HEIGHT, WIDTH), 7))


def mask_size(folder: Folder) -> None:
    mask(folder.mask("train", "3.jpg"), np.zeros((9, 9)))


def mask_alone(folder: Folder) -> None:
    mask(folder.mask("train", "new.jpg"), np.zeros((9, 9)))


def size(folder: Folder) -> None:
    folder.coco["train"]["images"][2]["width"] = 61


def turned(folder: Folder) -> None:
    photo(folder.image("train", "2.jpg"), (WIDTH, HEIGHT), seed=2, orientation=3)


def copied(folder: Folder) -> None:
    shutil.copy(folder.image("train", "2.jpg"), folder.image("val", "5.jpg"))


def alike(folder: Folder) -> None:
    with Image.open(folder.image("train", "2.jpg")) as image:
        image.save(folder.image("val", "5.jpg"), quality=70)


def twice(folder: Folder) -> None:
    shutil.copy(folder.image("train", "2.jpg"), folder.image("train", "5.jpg"))


def no_csv(folder: Folder) -> None:
    text(folder.root / "labels_train.csv", "name,label\n")


FAULTS = [
    (damage, "damaged images", "train", True, "1.jpg"),
    (missing_image, "labels without images", "train", True, "1.jpg"),
    (unlabelled, "images without labels", "train", False, "new.jpg"),
    (outside, "boxes outside", "train", True, "4.jpg head [50, 5, 70, 25] in 60x40"),
    (flat, "boxes empty", "train", False, "4.jpg head [5, 5, 5, 25]"),
    (tiny, "boxes tiny", "train", False, "4.jpg"),
    (inverted, "boxes inverted", "val", True, "4.jpg head [25, 5, 5, 25]"),
    (category, "annotations", "train", True, "unknown category"),
    (empty_class, "empty classes", "train", False, "wing"),
    (mask_value, "masks", "val", True, "mask value 7"),
    (mask_size, "masks", "train", True, "9x9"),
    (mask_alone, "masks without images", "train", False, "new.png"),
    (size, "sizes", "train", True, "2.jpg: 61x40 in the labels, 60x40 in the file"),
    (turned, "orientation", "train", False, "2.jpg (3)"),
    (copied, "duplicates across splits", "", False, "5.jpg = 2.jpg"),
    (alike, "look-alikes across splits", "", False, "5.jpg = 2.jpg"),
    (twice, "duplicates", "train", False, "2.jpg = 5.jpg"),
    (no_csv, "unreadable", "train", True, "no column 'file_name'"),
]


@pytest.mark.parametrize(("fault", "kind", "split", "stops", "example"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_a_fault_is_named(folder, fault, kind, split, stops, example):
    fault(folder)
    status, found = folder.check()
    entry = found[kind]
    assert (entry["split"], entry["stops"], entry["count"]) == (split, stops, 1)
    assert example in entry["examples"][0]
    assert status == stops


def test_damaged_images_stop_nothing_where_they_are_skipped(folder):
    damage(folder)
    status, found = folder.check("data.undecodable=skip")
    assert status == 0
    assert not found["damaged images"]["stops"]


def test_a_task_without_labels_stops_a_run(folder, capsys):
    status, found = folder.check("data.train.labels=null", "data.val.labels=null")
    assert status == 1
    assert found["no labels"]["examples"] == ["tasks.cls needs 'label'"]
    assert "STOPS labels are missing in data.train: tasks.cls needs 'label'" in capsys.readouterr().out


def test_a_task_of_ones_own_lies_beside_the_config(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", [*sys.path])
    place = tmp_path / "elsewhere"
    text(place / "own_task_beside.py", "from fbnetv5.tasks.classification import Classification as Own\n")
    own = "defaults: [/search/small, _self_]\nname: mine\ntasks: {cls: {_target_: own_task_beside.Own}}\n"
    data = f"{{root: '{folder.root}', train: {{images: images/train, labels: labels_train.csv}}}}"
    text(place / "mine.yaml", f"{own}data: {data}\n")
    commands.main(["check", str(place / "mine.yaml")])
    assert "nothing here stops a run" in capsys.readouterr().out


def test_a_config_without_files_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(["check", "quickstart"])
    assert end.value.code == 1
    assert "data.root is null" in capsys.readouterr().err


def test_a_config_that_makes_labels_has_none_to_check(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("defaults: [/fbnetv5/schema, _self_]\njob: label\nname: mine\nlabel: {images: photos}\n")
    with pytest.raises(SystemExit):
        commands.main(["check", str(file)])
    assert "whose images have no labels to check yet" in capsys.readouterr().err


def test_plain_pictures_do_not_look_alike():
    assert picture_hash(torch.full((3, 50, 50), 9, dtype=torch.uint8)) is None
    steps = torch.arange(81, dtype=torch.uint8).reshape(9, 9).repeat_interleave(5, 0).repeat_interleave(5, 1)
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 72), np.uint8))
    assert picture_hash(steps.expand(3, -1, -1)) is None  # ever brighter: nothing to tell it by
    assert picture_hash(noise) == picture_hash(noise.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert picture_hash(noise) != picture_hash(noise.flip(2))


def test_a_single_class_stops_a_run_as_a_run_says(folder, capsys):
    for split in ("train", "val"):
        text(folder.root / f"labels_{split}.csv", "\n".join(["file_name,label", *(f"{name},cat" for name in NAMES)]))
    status, found = folder.check()
    assert status == 1
    assert "'label' has one class, 'cat', and nothing can be learnt from it" in found["one class"]["examples"][0]


def test_images_without_boxes_count_as_the_config_says(folder, capsys):
    folder.coco["train"]["annotations"] = folder.coco["train"]["annotations"][:3]
    assert folder.check("data.unannotated=unlabelled")[0] == 0
    assert "train boxes: 3 of 12 images" in capsys.readouterr().out
    folder.check()
    assert "train boxes: 12 of 12 images" in capsys.readouterr().out


DEPTH = ["data.depth_scale=1000", "data.train.depth_maps=depth", "data.val.depth_maps=depth"]
DEPTH += ["+tasks.depth._target_=fbnetv5.tasks.depth.Depth"]


def test_depth_maps_are_labels_and_are_looked_at(folder, capsys):
    (folder.root / "depth").mkdir()
    for name in NAMES:
        Image.fromarray(np.full((HEIGHT, WIDTH), 900, np.uint16)).save(
            folder.root / "depth" / name.replace("jpg", "png")
        )
    assert folder.check(*DEPTH)[0] == 0
    assert "train depth: 12 of 12 images" in capsys.readouterr().out
    mask(folder.root / "depth" / "3.png", np.zeros((HEIGHT, WIDTH)))
    status, found = folder.check(*DEPTH)
    assert status == 1
    assert "a depth map has one channel of 16 bits" in found["masks"]["examples"][0]


def test_data_at_a_uri_are_checked_as_runs_read_them(folder):
    folder.root.rename(open_store(folder.top / "store") / "data")
    folder.root = folder.top / "store" / "data"
    assert folder.check("data.root='store://data'")[0] == 0


def test_a_sheet_that_can_be_no_picture_is_refused_before_anything_is_read(folder, capsys):
    with pytest.raises(SystemExit):
        commands.main(["check", "c.yaml", "--sheet", "sheet"])
    said = capsys.readouterr()
    assert "error: --sheet sheet: a picture is called like sheet.jpg" in said.err
    assert "images" not in said.out


def test_masks_of_photos_that_are_turned_tell_their_frame(folder):
    for number, name in enumerate(NAMES[:4]):
        photo(folder.image("train", name), (WIDTH, HEIGHT), seed=number, orientation=6)
        is_upright = number % 2
        mask(folder.mask("train", name), np.full((WIDTH, HEIGHT) if is_upright else (HEIGHT, WIDTH), number % 3))
    status, found = folder.check("data.train.boxes=null", "data.val.boxes=null", "tasks.det=null")
    assert not status, found
    assert "masks" not in found


def test_targets_of_ones_own_are_passed_over(folder):
    weather = Target("weather", TargetKind.SCALAR)
    rows = [{"path": f"images/train/{name}", "label": k % 2, "weather": 0} for k, name in enumerate(NAMES)]
    index = Index.from_rows(rows, (LABEL, weather), {"label": ("cat", "dog"), "weather": ("sun", "rain")}, "test")
    index.write(folder.root / "index.parquet")
    own = [
        "data.train={index: index.parquet, images: null, labels: null, boxes: null, masks: null}",
        "data.val={index: index.parquet, images: null, labels: null, boxes: null, masks: null}",
        "tasks.det=null",
        "data.mask_classes=[]",
    ]
    status, found = folder.check(*own)
    assert not status, found
    assert found["own targets"]["examples"] == ["weather"]
