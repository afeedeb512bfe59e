"""People cut out by the command line, then read as a data set."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.data.build import build_index
from fbnetv5.data.images import read_image
from fbnetv5.data.index import IndexSource

SCRIPT = Path(__file__).parents[2] / "datasets" / "prepare_keypoints.py"


def prepare(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments), "--workers", "1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_two_people_of_an_image_become_two_pictures(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    pixels = np.zeros((60, 80, 3), np.uint8)
    people = []
    for number, (x, y) in enumerate([(20, 30), (60, 25)]):
        pixels[y - 8 : y + 8, x - 8 : x + 8] = 200
        people.append(
            {"id": number, "image_id": 3, "category_id": 1, "bbox": [x - 8, y - 8, 16, 16], "area": 256}
            | {"keypoints": [x - 0.5, y - 0.5, 2]}
        )
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    document = {
        "images": [{"id": 3, "file_name": "a.png"}],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": ["navel"]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    out = tmp_path / "people"
    prepare(monkeypatch, tmp_path / "coco.json", tmp_path / "images", out, "val", "--aspect", 0.75)
    assert "2 people of 1 images" in capsys.readouterr().out
    source = IndexSource(build_index(out, "val", keypoints="person_keypoints_val.json"), out)
    assert len(source) == 2
    for row in range(2):
        sample = source.load(row)
        assert sample.image.shape == (3, 27, 20)
        ((x, y, _),) = sample.target["keypoints"].tolist()
        assert abs(x - 10) <= 0.5
        assert abs(y - 13.5) <= 0.5
        assert sample.image[:, int(y), int(x)].float().mean() > 190
    assert torch.equal(source.load(0).image, read_image(out / "val" / "a_0.jpg"))


@pytest.mark.parametrize("size", [(60, 80), (80, 60), None])
def test_people_are_cut_out_in_the_frame_that_their_labels_are_for(tmp_path, monkeypatch, size):
    """A photo that is stored 80x60 and seen 60x80; without a size it is taken as a person sees it."""
    is_upright = size != (80, 60)
    x, y = (15, 70) if is_upright else (20, 30)
    pixels = np.zeros((80, 60, 3) if is_upright else (60, 80, 3), np.uint8)
    pixels[y - 4 : y + 4, x - 4 : x + 4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(pixels).rotate(90, expand=True) if is_upright else Image.fromarray(pixels)
    (tmp_path / "images").mkdir()
    stored.save(tmp_path / "images" / "a.png", exif=exif)
    sides = {} if size is None else dict(zip(("width", "height"), size, strict=True))
    person = {"id": 1, "image_id": 3, "category_id": 1, "bbox": [x - 8, y - 8, 16, 16], "keypoints": [x, y, 2]}
    document = {
        "images": [{"id": 3, "file_name": "a.png", **sides}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": ["navel"]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    prepare(monkeypatch, tmp_path / "coco.json", tmp_path / "images", tmp_path / "people", "val")
    picture = read_image(tmp_path / "people" / "val" / "a_1.jpg")
    assert picture[:, 10, 10].float().mean() > 190


def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        prepare(monkeypatch, tmp_path / "none.json", tmp_path, tmp_path / "people", "val")
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none.json'}: cannot read")


@pytest.mark.parametrize("name", ["../mine/a.jpg", "{root}/images/a.jpg"])
def test_pictures_are_written_into_their_own_folder_alone(tmp_path, monkeypatch, capsys, name):
    """Beside the person's photos they could replace some."""
    person = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1, 1, 9, 9],
        "keypoints": [5, 5, 2],
        "num_keypoints": 1,
    }
    content = {
        "images": [{"id": 1, "file_name": name.format(root=tmp_path), "width": 20, "height": 20}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        prepare(monkeypatch, tmp_path / "coco.json", tmp_path / "images", tmp_path / "people", "val")
    assert "should be named relative to the folder of images" in capsys.readouterr().err
    assert not (tmp_path / "people").exists()


def test_an_image_of_another_size_than_its_labels_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "a.png")
    person = {"id": 1, "image_id": 3, "category_id": 1, "bbox": [50, 40, 20, 16], "keypoints": [60, 50, 2]}
    document = {
        "images": [{"id": 3, "file_name": "a.png", "width": 80, "height": 60}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": ["navel"]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    with pytest.raises(SystemExit):
        prepare(monkeypatch, tmp_path / "coco.json", tmp_path / "images", tmp_path / "people", "val")
    assert "a.png: 80x60 by its labels, 40x30 in the file" in capsys.readouterr().err
