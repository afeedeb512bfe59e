"""Keypoints in YOLO's txt files, and boxes in csv files."""

from __future__ import annotations

import pytest

from fbnetv5.onboarding.survey import survey
from tests.onboarding.folders import HEIGHT, WIDTH, photo, photos, text
from tests.onboarding.reading import boxes_of


def pose(root, shape, flip_idx, line):
    photos(root / "images", [f"{k}.jpg" for k in range(4)])
    flip = "" if flip_idx is None else f"flip_idx: {flip_idx}\n"
    text(root / "data.yaml", f"names: [hand]\nkpt_shape: {shape}\n{flip}")
    for k in range(4):
        text(root / "labels" / f"{k}.txt", line if k else f"{line}{line}")


def test_yolo_pose(root, init):
    pose(root, [3, 3], [0, 2, 1], "0 0.5 0.5 0.5 0.5 0.5 0.5 2 0.25 0.75 1 0 0 0\n")
    read, said = init(root)
    samples = read.samples()
    assert samples["1.jpg"].target["keypoints"].tolist() == [[30, 20, 2], [15, 30, 1], [0, 0, 0]]
    assert boxes_of(samples["1.jpg"]) == [(15, 10, 45, 30)]
    assert "keypoints" not in samples["0.jpg"].target
    assert read.train.classes["keypoints"] == ("point_0", "left_point_1", "right_point_1")
    assert read.search.data.flip
    assert "1 images show several objects with keypoints" in said


def test_a_single_keypoint_has_no_extent_to_measure_errors_by(root):
    pose(root, [1, 3], [0], "0 0.5 0.5 0.5 0.5 0.5 0.5 2\n")
    found = survey(root)
    assert set(found.found) == {"boxes"}
    assert "YOLO txt, pose: one keypoint left out: it has no extent, by which errors are measured (PCK)" in found.notes


@pytest.mark.parametrize(
    ("flip_idx", "name", "flip"),
    [([0, *(k + 1 if k % 2 else k - 1 for k in range(1, 17))], "left_eye", True), (None, "point_1", False)],
)
def test_names_and_mirroring_of_yolo_poses(root, init, flip_idx, name, flip):
    pose(root, [17, 2], flip_idx, f"0 0.5 0.5 0.5 0.5 0 0 {'0.5 0.25 ' * 16}\n")
    read, _ = init(root)
    assert read.samples()["1.jpg"].target["keypoints"][:2].tolist() == [[0, 0, 0], [30, 10, 2]]
    assert (read.train.classes["keypoints"][1], read.search.data.flip) == (name, flip)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,xmin,ymin,xmax,ymax,class", "{name},10,5,30,25,{label}"),
        ("\ufefffilename;width;height;class;xmin;ymin;xmax;ymax", "photos/{name};60;40;{label};10;5;30;25"),
        ("image_id,bbox_x,bbox_y,bbox_width,bbox_height,label", "{name},10,5,20,20,{label}"),
        (None, "/else/where/{name},10,5,30,25,{label}"),
        ("ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax", "{stem},{label},1,0.16667,0.5,0.125,0.625"),
        ("image,xmin,ymin,xmax,ymax,class,split", "{name},10,5,30,25,{label}"),  # rows end before their last column
    ],
)
def test_boxes_in_csv(root, init, header, row):
    names = [f"my {k}.jpg" for k in range(4)]
    photos(root / "photos", names)
    rows = [row.format(name=n, stem=n[:-4], label="cat" if k % 2 else "dog") for k, n in enumerate(names)]
    wrong = row.replace("10", "x").replace("0.16667", "x").format(name=names[0], stem="my 0", label="cat")
    text(root / "boxes.csv", "\n".join([*([header] if header else []), *rows, wrong]) + "\n")
    read, said = init(root)
    for sample in read.samples().values():
        assert boxes_of(sample)[0] == pytest.approx((10, 5, 30, 25), abs=0.01)
    assert read.train.classes["boxes"] == ("cat", "dog")
    assert "csv of boxes (boxes.csv): 4 images" in said
    assert "1 rows without four numbers are left out" in said
    assert ("shares of the image's sides" in said) == ("0.16667" in row)


def test_a_csv_row_without_corners_says_that_nothing_is_there(root, init):
    photo(root / "train" / "a.jpg", orientation=6)
    photos(root / "train", ["b.jpg"], seed=1)
    photos(root / "val", ["c.jpg", "d.jpg"], seed=2)
    for split, (first, second) in {"train": "ab", "val": "cd"}.items():
        text(root / f"{split}.csv", f"{first}.jpg,0,0,{HEIGHT},{WIDTH},cat\n{second}.jpg,,,,,\ngone.jpg,1,1,2,2,cat\n")
    read, said = init(root)
    assert boxes_of(read.samples()["a.jpg"]) == [(0, 0, HEIGHT, WIDTH)]
    assert boxes_of(read.samples()["b.jpg"]) == []
    assert len(read.val) == 2
    assert "2 rows name images that are not here" in said


def test_shares_that_rounding_made_larger_than_one_are_shares(root):
    photos(root, ["a.jpg", "b.jpg"])
    text(root / "boxes.csv", "image,xmin,ymin,xmax,ymax,class\na.jpg,0.5,0.5,1.000001,1,cat\nb.jpg,0,0,0.5,0.5,cat\n")
    found = survey(root).found["boxes"].values
    assert found["a.jpg"] == [(WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT, "cat", False)]
    assert found["b.jpg"] == [(0, 0, WIDTH / 2, HEIGHT / 2, "cat", False)]


def test_images_with_several_labels_are_left_out(root, init):
    photos(root, [f"{k}.jpg" for k in range(6)])
    rows = [*(f"{k}.jpg,{'ab'[k % 2]}" for k in range(6)), "0.jpg,b", "1.jpg,b"]
    text(root / "labels.csv", "\n".join(["file_name,label", *rows]))
    read, said = init(root)
    assert {name for name, sample in read.samples().items() if "label" in sample.target} == {
        f"{k}.jpg" for k in range(1, 6)
    }
    assert "labels.csv: 1 images with several labels, such as 0.jpg (a, b), are left out" in said


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("epoch,loss,lr,ap,time,step\n1,2,3,4,5,6\n", "it has epoch, loss, lr, ap, time ..."),
        ("image,label\n1.jpg,a\n2.jpg,b\n", "few of the images that it names are here"),
        ("image,label\n0.jpg,\n", "it gives no image a label"),
        ("image,bbox\n0.jpg,1 2 3 4\n", "it has image, bbox"),
    ],
)
def test_a_csv_that_is_not_understood_is_named(root, content, note):
    photos(root, ["0.jpg"])
    text(root / "some.csv", content)
    (said,) = survey(root).notes
    assert said.startswith("some.csv: left out")
    assert said.endswith(note)
