"""Lines that look like another format's, labels of which little can be read, and names that are written in two ways."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from fbnetv5.onboarding.survey import Survey, survey
from tests.onboarding.folders import HEIGHT, WIDTH, coco, photos, text, voc, write_coco

NAMES = [f"{k}.jpg" for k in range(6)]
BOX = "0.5 0.5 0.2 0.2"


def notes(found: Survey) -> str:
    return "\n".join([*found.notes, *(note for one in found.found.values() for note in one.notes)])


def yolo(root: Path, line: str, names: list[str] = NAMES) -> Survey:
    photos(root, names)
    for name in names:
        text(root / name.replace("jpg", "txt"), f"{line}\n")
    return survey(root)


@pytest.mark.parametrize("points", ["0.45 0.45 1 0.5 0.55 1 0 0 0 0.55 0.5 1", "0.45 0.45 0.5 0.55", "0.6 0.4 0.4 0.6"])
def test_boxes_with_keypoints_are_no_outlines(root, points):
    found = yolo(root, f"0 {BOX} {points}")
    assert set(found.found) == {"boxes"}
    assert found.found["boxes"].values["0.jpg"][0][:4] == pytest.approx((24, 16, 36, 24))
    assert "kpt_shape" in notes(found)


def test_outlines_are_no_boxes_with_keypoints(root):
    found = yolo(root, "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9")
    assert set(found.found) == {"boxes", "masks"}
    assert found.found["boxes"].values["0.jpg"][0][:4] == pytest.approx((6, 4, 54, 36))


@pytest.mark.parametrize("more", ["0.45 0.45 2 0.5 0.55 2", "-1 -1 -1 -1 -1 -1", "0.9 37", "0.1 0.2 0.3"])
def test_lines_that_are_neither_are_named(root, more):
    found = yolo(root, f"0 {BOX} {more}")
    assert not found.found
    assert "6 txt files named as images left out: they hold no lines of YOLO's" in notes(found)


def test_a_detectors_confidence_is_no_part_of_a_box(root):
    assert yolo(root, f"0 {BOX} 0.93").found["boxes"].values["0.jpg"][0][:4] == pytest.approx((24, 16, 36, 24))


def test_few_photos_with_boxes_among_many_without_are_found(root):
    names = [f"{k:03}.jpg" for k in range(120)]
    photos(root, names)
    for name in names:
        text(root / name.replace("jpg", "txt"), f"0 {BOX}\n" if name in ("017.jpg", "101.jpg") else "")
    assert survey(root).found["boxes"].num_things == 2


@pytest.mark.parametrize("labels", ["yolo", "voc", "csv"])
def test_labelled_photos_that_cannot_be_read_are_counted(root, labels):
    photos(root, NAMES)
    for name in NAMES:
        if labels == "yolo":
            text(root / name.replace("jpg", "txt"), f"0 {BOX}\n")
        elif labels == "voc":
            content = voc(name, [("cat", (1, 1, 9, 9), 0)], (WIDTH, HEIGHT))
            text(root / name.replace("jpg", "xml"), content.replace("width>", "w>"))
    if labels == "csv":
        text(root / "boxes.csv", "image,xmin,ymin,xmax,ymax,class\n" + "".join(f"{n},1,1,9,9,cat\n" for n in NAMES))
    (root / "3.jpg").write_bytes(b"")
    assert "1 labelled images cannot be read, and are left out, such as 3.jpg" in notes(survey(root))


@pytest.mark.parametrize("encoding", ["iso-8859-1", "gb2312", "utf-8", "utf-16"])
def test_xml_is_read_in_its_own_encoding(root, encoding):
    label = "苹果" if encoding == "gb2312" else "für"
    photos(root, NAMES)
    for name in NAMES:
        content = voc(name, [(label, (1, 1, 9, 9), 0)], (WIDTH, HEIGHT))
        text(root / name.replace("jpg", "xml"), f'<?xml version="1.0" encoding="{encoding}"?>\n{content}', encoding)
    assert survey(root).found["boxes"].classes == (label,)


def test_xml_that_is_not_in_the_encoding_it_declares_is_named(root):
    photos(root, NAMES)
    text(root / "0.xml", voc("0.jpg", [("für", (1, 1, 9, 9), 0)], (WIDTH, HEIGHT)), "iso-8859-1")
    text(root / "1.xml", voc("1.jpg", [("cat", (1, 1, 9, 9), 0)], (WIDTH, HEIGHT)))
    found = survey(root)
    assert found.found["boxes"].classes == ("cat",)
    assert "1 xml files cannot be read, such as 0.xml: it is not utf-8" in notes(found)


def test_what_none_can_be_read_of_is_named(root):
    photos(root, NAMES)
    text(root / "0.xml", f"<!DOCTYPE annotation>{voc('0.jpg', [('cat', (1, 1, 9, 9), 0)], (WIDTH, HEIGHT))}")
    text(root / "boxes.csv", "image,xmin,ymin,xmax,ymax,class\n9.jpg,1,1,9,9,cat\n")
    text(root / "commas.csv", 'image,xmin,ymin,xmax,ymax,class\n1.jpg,"1,5","1,5","9,5","9,5",cat\n')
    write_coco(root / "empty.json", NAMES, [], ["cat"])
    found = survey(root)
    assert not found.found
    said = notes(found)
    assert "1 xml files cannot be read, such as 0.xml: it declares entities" in said
    assert "boxes.csv, commas.csv: 1 rows name images that are not here" in said
    assert "boxes.csv, commas.csv: 1 rows without four numbers are left out" in said
    assert "empty.json: left out, as it has no annotations" in said


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_the_same_however_their_accents_are_written(root, form):
    names = [f"Müller {k}.jpg" for k in range(4)]
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    photos(root, [unicodedata.normalize(form, name) for name in names])
    boxes = [{"image": k, "category_id": 3, "bbox": [5, 5, 20, 20]} for k in range(4)]
    content = coco([unicodedata.normalize(other, name) for name in names], boxes, ["cat"])
    text(root / "instances.json", json.dumps(content))
    assert survey(root).found["boxes"].num_things == 4


def test_a_class_may_have_a_line_break_in_its_name(root, init):
    photos(root, NAMES)
    rows = "".join(f'{name},"a\n{k % 2}"\n' for k, name in enumerate(NAMES))
    text(root / "labels.csv", f"image,label\n{rows}")
    read, _ = init(root)
    assert read.train.classes["label"] == ("a\n0", "a\n1")
