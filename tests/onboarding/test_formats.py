"""What is found in folders of each format, and what a run then reads of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fbnetv5.config.read import load_config
from fbnetv5.onboarding.initialise import initialise
from fbnetv5.onboarding.survey import held_out, survey
from tests.onboarding.folders import HEIGHT, WIDTH, coco, mask, photo, photos, text, voc, write_coco
from tests.onboarding.reading import Read, boxes_of

SQUARE = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 20, 30]]}  # a triangle in a square


def test_coco_in_the_layout_that_runs_read_is_named_as_it_is(root, init):
    for split in ("train", "val"):
        photos(root / "images" / split, [f"{split}_{k}.jpg" for k in range(4)])
        annotations = [{"image": k, "category_id": 5, "bbox": [10, 10, 20, 20]} for k in range(4)]
        write_coco(
            root / f"instances_{split}.json", [f"{split}_{k}.jpg" for k in range(4)], annotations, ["cat", "dog"]
        )
    text(root / "LICENSE.md", "")
    read, said = init(root)
    assert vars(read.search.data.train)["boxes"] == "instances_train.json"
    assert not list(read.output.parent.glob("*_labels"))
    assert read.train.classes["boxes"] == ("cat", "dog")
    assert set(read.tasks) == {"det"}
    assert "COCO json (instances_train.json, instances_val.json): 8 images (train 4, val 4), 8 boxes, 2 classes" in said
    assert "files of other types, passed over: 1 .md" in said
    assert "_labels" not in said


def test_coco_masks_are_drawn_and_crowds_are_no_boxes(root, init):
    names = [f"{k}.jpg" for k in range(6)]
    photos(root, names)
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[:5, :7] = 1
    runs = [int(n) for n in np.diff(np.flatnonzero(np.diff(inside.T.ravel(), prepend=0, append=0)), prepend=0)]
    runs.append(WIDTH * HEIGHT - sum(runs))
    crowd = {"bbox": [0, 0, 7, 5], "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}, "iscrowd": 1}
    annotations = [{"image": k, "category_id": 5, **SQUARE} for k in range(6)]
    write_coco(root / "all.json", names, [*annotations, {"image": 2, "category_id": 3, **crowd}], ["tree", "car"])
    read, said = init(root)
    assert read.train.classes["segmentation"] == ("background", "tree", "car")
    assert len(read.val) == len(held_out(names)) >= 1
    for name, sample in read.samples().items():
        assert boxes_of(sample) == [(10, 10, 30, 30)]
        ids = sample.target["segmentation"]
        assert ids[11, 20] == 2
        assert ids[29, 11] == 0
        assert (ids == 2).sum() == pytest.approx(200, abs=25)  # half of the square
        assert (ids == 1).sum() == (35 if name == "2.jpg" else 0)
    assert "1 crowd regions are not learnt from" in said
    assert "no validation split" in said


def test_coco_that_a_run_would_refuse_is_mended_in_a_copy(root, init):
    for split in ("train", "valid"):  # as Roboflow lays them out
        photos(root / split, ["a.jpg", "b.jpg"], seed=len(split))
        annotations = [
            {"image": 0, "category_id": 3, "bbox": [50, 30, 20, 20], "segmentation": []},
            {"image": 1, "category_id": 3, "bbox": [1, 1, 5, 5]},
            {"image": 2, "category_id": 3, "bbox": [1, 1, 5, 5]},
            {"image": 1, "category_id": 99, "bbox": [1, 1, 5, 5]},
        ]
        write_coco(root / split / "_annotations.coco.json", ["a.jpg", "b.jpg", "gone.jpg"], annotations, ["cat"])
    read, said = init(root)
    assert boxes_of(read.samples()["a.jpg"]) == [(50, 30, 60, 40)]
    written = json.loads((read.output.parent / "my_labels" / "instances_train.json").read_text())
    assert [entry["file_name"] for entry in written["images"]] == ["a.jpg", "b.jpg"]
    assert len(written["annotations"]) == 2
    assert "2 images that the json files list are not here" in said


def test_keypoints_of_one_person_an_image(root, init):
    joints = {"name": "person", "keypoints": ["nose", "left_eye", "right_eye"]}
    names = [f"{k}.jpg" for k in range(8)]
    photos(root / "photos", names)
    person = {"category_id": 3, "bbox": [10, 10, 20, 20], "keypoints": [15, 15, 2, 12, 12, 1, 0, 0, 0]}
    annotations = [{"image": k, **person} for k in range(8)]
    write_coco(root / "person_keypoints.json", names, [*annotations, {"image": 7, **person}], [joints])
    read, said = init(root)
    samples = read.samples()
    assert samples["0.jpg"].target["keypoints"].tolist() == [[15.5, 15.5, 2], [12.5, 12.5, 1], [0, 0, 0]]
    assert "keypoints" not in samples["7.jpg"].target
    assert "boxes" in samples["7.jpg"].target
    assert "1 images show several people" in said
    assert read.search.data.flip


@pytest.mark.parametrize(
    ("names", "is_mirrored"),
    [
        (["left_eye", "nose"], False),
        (["nose", "tail"], False),
        (["nose", "L_Eye", "R_Eye"], True),
        (["L_Eye", "R_Eye"], True),
    ],
)
def test_keypoints_without_sides_or_partners_are_not_mirrored(root, init, names, is_mirrored):
    photos(root, [f"{k}.jpg" for k in range(3)])
    entry = {"category_id": 3, "bbox": [10, 10, 20, 20], "keypoints": [15, 15, 2] * len(names)}
    annotations = [{"image": k, **entry} for k in range(3)]
    write_coco(root / "k.json", [f"{k}.jpg" for k in range(3)], annotations, [{"name": "x", "keypoints": names}])
    read, said = init(root)
    assert read.search.data.flip == is_mirrored
    assert ("images are not mirrored" in said) == (not is_mirrored)


@pytest.mark.parametrize("pair", [["left hand", "right hand"], ["Turn Left", "Turn Right"], ["hand_L", "hand_R"]])
def test_classes_of_left_and_right_change_places(root, init, pair):
    photos(root, [f"{k}.jpg" for k in range(4)])
    text(root / "data.yaml", f"names: [{pair[0]}, {pair[1]}, bright, right]\n")
    for k in range(4):
        text(root / f"{k}.txt", f"{k} 0.5 0.5 0.5 0.25\n")
    read, _ = init(root)
    for config in (read.search, load_config(read.output.with_name("my_det.yaml"))):
        assert (config.data.flip, config.data.flip_pairs) == (True, [pair])


SIGN = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}  # its outline is its box
LINE = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 30]]}


@pytest.mark.parametrize(
    ("annotations", "painted", "lost"),
    [
        ([SQUARE, SIGN, SIGN], ["0.jpg", "1.jpg", "2.jpg"], 0),
        ([SIGN, SIGN, SIGN], [], 0),  # boxes alone
        ([SQUARE, LINE, {"bbox": SQUARE["bbox"]}], ["0.jpg"], 2),
        ([SQUARE, SQUARE | {"segmentation": [*SQUARE["segmentation"], [1, 2]]}], ["0.jpg", "1.jpg"], 0),
        ([SQUARE | {"image": 0}, LINE | {"image": 0}], [], 1),
    ],
)
@pytest.mark.parametrize("has_sizes", [True, False])
def test_images_whose_objects_all_have_outlines_have_masks(root, annotations, painted, lost, has_sizes):
    names = [f"{k}.jpg" for k in range(3)]
    photos(root, names)
    content = coco(names, [{"image": k, "category_id": 3, **entry} for k, entry in enumerate(annotations)], ["sign"])
    if not has_sizes:
        content["images"] = [{key: entry[key] for key in ("id", "file_name")} for entry in content["images"]]
    text(root / "all.json", json.dumps(content))
    found = survey(root)
    masks = found.found.get("masks")
    assert ([] if masks is None else [*masks.values]) == painted
    assert masks is None or masks.values["0.jpg"].size == (WIDTH, HEIGHT)
    notes = [*found.notes, *(masks.notes if masks else ())]
    assert any(f"{lost} images have no mask" in note for note in notes) == bool(lost)


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_yolo_boxes(root, init, layout):
    for split in ("train", "val"):
        photos(root / layout.format(split), [f"{k}.jpg" for k in range(3)], seed=len(split))
        labels = root / layout.format(split).replace("images", "labels")
        text(labels / "0.txt", "1 0.5 0.5 0.5 0.25\n0 0.95 0.5 0.2 0.5\n")
        text(labels / "1.txt", "")
        text(labels / "2.txt", "0 0.5 0.5 1 1")
    text(root / "data.yaml", "train: ../train/images\nnc: 2\nnames: ['yes', dog]\n")
    read, said = init(root)
    sample = read.train.load(0)
    torch.testing.assert_close(sample.target["boxes"], torch.tensor([[15, 15, 45, 25], [51, 10, 60, 30.0]]))
    assert sample.target["box_labels"].tolist() == [1, 0]
    assert read.train.classes["boxes"] == ("yes", "dog")
    assert [len(read.train.load(k).target["boxes"]) for k in range(3)] == [2, 0, 1]
    assert (read.output.parent / "my_labels" / "instances_train.json").is_file()
    assert "YOLO txt (data.yaml, " in said


def test_yolo_polygons_become_masks_and_boxes(root, init):
    photos(root, ["a.jpg", "b.jpg", "c.jpg"])
    for name in ("a", "b"):
        text(root / f"{name}.txt", "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    text(root / "c.txt", "0 0.5 0.5 0.5 0.5\n")
    read, said = init(root)
    assert "1 images have no mask" in said
    assert read.train.classes["segmentation"] == ("background", "class_0")
    for name, sample in read.samples().items():
        assert boxes_of(sample) == [(15, 10, 45, 30)]
        if name == "c.jpg":
            assert "segmentation" not in sample.target
            continue
        expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        expected[10:30, 15:45] = 1
        assert torch.equal(sample.target["segmentation"], expected)


def test_yolo_is_for_the_upright_photo(root, init):
    for name in ("a", "b"):
        photo(root / f"{name}.jpg", orientation=6)
        text(root / f"{name}.txt", "0 0.25 0.5 0.5 1\n")
    for sample in init(root)[0].samples().values():
        assert sample.image.shape[1:] == (WIDTH, HEIGHT)
        assert boxes_of(sample) == [(0, 0, HEIGHT / 2, WIDTH)]


def test_voc_boxes_masks_and_splits(root, init):
    names = [f"2007_{k:06}" for k in range(5)]
    photos(root / "JPEGImages", [f"{name}.jpg" for name in names])
    objects = [("dog", (11, 11, 30, 30), 0), ("cat", (1, 1, 60, 40), 1)]
    for name in names:
        text(root / "Annotations" / f"{name}.xml", voc(f"{name}.jpg", objects, (WIDTH, HEIGHT)))
    for name in names[:3]:
        pixels = np.zeros((HEIGHT, WIDTH))
        pixels[10:30, 10:30], pixels[9] = 12, 255
        mask(root / "SegmentationClass" / f"{name}.png", pixels, "P")
        mask(root / "SegmentationObject" / f"{name}.png", pixels / 12, "P")
    text(root / "ImageSets" / "Main" / "train.txt", "\n".join(names[1:]))
    text(root / "ImageSets" / "Main" / "val.txt", names[0])
    text(root / "ImageSets" / "Main" / "dog_train.txt", f"{names[0]}  1\n")
    read, said = init(root)
    assert (len(read.train), len(read.val)) == (4, 1)
    sample = read.val.load(0)
    assert boxes_of(sample) == [(10, 10, 30, 30)]
    assert sample.target["box_crowds"].tolist() == [[0, 0, 60, 40]]  # the difficult one
    assert read.train.classes["boxes"] == ("cat", "dog")
    assert read.train.classes["segmentation"][12] == "dog"
    assert sorted(set(sample.target["segmentation"].flatten().tolist())) == [0, 12, 255]
    assert "5 objects marked difficult" in said
    assert "SegmentationObject" in said


def test_voc_beside_its_photos_counts_difficult_objects_as_crowds(root, init):
    objects = [("dog", (0, 0, 30, 30), 0), ("dog", (5, 5, 9, 9), 1)]
    for split in ("train", "valid"):
        photos(root / split, ["a.jpg", "b.jpg"], seed=len(split))
        for name in ("a", "b"):
            text(root / split / f"{name}.xml", voc(f"{name}.jpg", objects, (WIDTH, HEIGHT)))
    text(root / "train" / "bomb.xml", '<!DOCTYPE x [<!ENTITY a "aa">]><annotation>&a;</annotation>')
    read, said = init(root)
    written = json.loads((read.output.parent / "my_labels" / "instances_val.json").read_text())
    assert [(a["bbox"], a["iscrowd"]) for a in written["annotations"][:2]] == [
        ([0, 0, 30, 30], 0),  # 0 is among the coordinates: they do not count from 1
        ([5, 5, 4, 4], 1),
    ]
    assert "1 xml files cannot be read, such as train/bomb.xml" in said


@pytest.mark.parametrize(
    ("values", "mode", "expected", "is_direct"),
    [
        ((0, 1, 2, 255), "L", (0, 1, 2, 255), True),
        ((0, 1, 2), "P", (0, 1, 2), True),
        ((0, 255), "L", (0, 1), False),
        ((0, 80, 160, 240), "L", (0, 1, 2, 3), False),
    ],
)
def test_masks(root, init, values, mode, expected, is_direct):
    pixels = np.repeat(np.array(values), WIDTH // len(values))[None].repeat(HEIGHT, 0)
    for split in ("train", "val"):
        photos(root / "images" / split, ["a.png", "sub/b.png"], seed=len(split))
        for name in ("a.png", "sub/b.png"):
            mask(root / "masks" / split / name, pixels, mode)
    read, _ = init(root)
    assert read.search.data.train.masks == (
        "masks/train" if is_direct else str(read.output.parent / "my_labels/masks_train")
    )
    ids = read.train.load(1).target["segmentation"]
    assert tuple(sorted(set(ids.flatten().tolist()))) == expected
    assert len(read.train.classes["segmentation"]) == len([value for value in expected if value != 255])


@pytest.mark.parametrize("is_rgb", [False, True])
def test_masks_that_are_written_anew_are_read_to_the_last(root, init, monkeypatch, is_rgb):
    for module in ("masks", "mask_colours"):
        monkeypatch.setattr(f"fbnetv5.onboarding.{module}.SAMPLED", 2)
    photos(root / "images", [f"{k}.jpg" for k in range(6)])
    for k in range(6):
        pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
        pixels[:, :20], pixels[:, 20:40] = 80, 160 if k == 5 else 0
        mask(root / "masks" / f"{k}.png", pixels[..., None].repeat(3, 2) if is_rgb else pixels)
    read, said = init(root)
    assert "values 0, 80, 160 become 0 to 2" in said
    assert read.samples()["5.jpg"].target["segmentation"][0, ::20].tolist() == [1, 2, 0]


def test_masks_with_an_ending_and_names(root, init):
    photos(root / "data", [f"{k}.jpg" for k in range(4)])
    for k in range(4):
        mask(root / "data_masks" / f"{k}_mask.png", np.full((HEIGHT, WIDTH), k % 2))
    text(root / "mask_classes.txt", "0: water\n1: land\n")
    read, said = init(root)
    assert read.train.classes["segmentation"] == ("water", "land")
    assert len(read.train) + len(read.val) == 4
    assert "class names: mask_classes.txt" in said


def test_grey_images_are_no_masks_and_their_masks_are(root, init):
    for k in range(5):
        mask(root / "segmentation set" / "images" / f"{k}.png", np.full((HEIGHT, WIDTH), 40 * k))
        mask(root / "segmentation set" / "masks" / f"{k}.png", np.full((HEIGHT, WIDTH), k % 2))
        mask(root / "depth" / f"{k}.png", np.full((HEIGHT, WIDTH), k))
        photo(root / "segmentation set" / "labels rgb" / f"{k}.png")
    read, said = init(root)
    assert len(read.train) + len(read.val) == 5
    assert read.samples()["3.png"].target["segmentation"].unique().tolist() == [1]
    assert "depth: 5 PNG files left out" in said
    assert "labels rgb: 5 masks in colours (RGB) left out: no table of colours: give class_dict.csv" in said


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("class_dict.csv", "name,r,g,b\nRoad, 128,64,128\nClass 1,0,0,192\nVoid,0,0,0\n"),
        ("label_colors.txt", "128 64 128\t\tRoad\n0 0 192\tClass 1\n0 0 0\tVoid\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nRoad:128,64,128::\nClass 1:0,0,192::\nvoid:0,0,0::\n"),
        (None, ""),  # Cityscapes' colours: sidewalk, car, and static, which is ignored
    ],
)
@pytest.mark.parametrize("ending", ["", "_L"])
def test_masks_in_colours(root, init, table, content, ending):
    colours = [(128, 64, 128), (0, 0, 192), (0, 0, 0)] if table else [(244, 35, 232), (0, 0, 142), (70, 70, 70)]
    pixels = np.repeat(np.array(colours), WIDTH // 3, axis=0)[None].repeat(HEIGHT, 0)
    for split in ("train", "val"):
        photos(root / split, ["a.png", "b.png"], seed=len(split))
        for name in ("a", "b"):
            mask(root / f"{split}_labels" / f"{name}{ending}.png", pixels)
    if table and not ending:  # a stray colour, which is ignored
        pixels[-1, 0] = 1, 2, 3
        mask(root / "val_labels" / "b.png", pixels)
    if table:
        text(root / table, content)
    read, said = init(root)
    names = read.train.classes["segmentation"]
    assert (names == ("Road", "Class 1")) if table else (names[1:3] == ("sidewalk", "building"))
    assert read.search.data.train.masks.endswith("masks_train" if ending else "train_labels")
    assert bool(read.search.data.mask_values) == (not ending)
    ids = read.train.load(0).target["segmentation"][0, :: WIDTH // 3].tolist()
    assert ids == ([0, 1, 255] if table else [1, 13, 2])
    assert (f"colours are those of {table or 'Cityscapes'}") in said
    assert ("1 others, such as #010203, are ignored" in said) == bool(table and not ending)
    assert table is None or ending or read.samples()["b.png"].target["segmentation"][-1, 0] == 255


def test_class_folders_with_and_without_splits(root, init, tmp_path):
    for split in ("train", "val"):
        for number, name in enumerate(("yes", "no cat", "train")):
            photos(root / split / name, [f"{k}.jpg" for k in range(2)], seed=10 * number + len(split))
    read, _ = init(root)
    assert read.train.classes["label"] == ("no cat", "train", "yes")
    assert (read.search.data.train.images, read.search.data.train.labels) == ("train", "train")
    whole = tmp_path / "whole"
    for name in ("1", "2", "10"):
        photos(whole / "pictures" / name, [f"{k}.jpg" for k in range(9)])
    initialise(whole, tmp_path / "other" / "my.yaml", start="scratch")
    read = Read(tmp_path / "other" / "my.yaml")
    assert read.train.classes["label"] == ("1", "2", "10")
    assert len(read.train) + len(read.val) == 27
    assert {read.val.load(k).name for k in range(len(read.val))} == held_out(
        f"pictures/{name}/{k}.jpg" for name in ("1", "2", "10") for k in range(9)
    )


@pytest.mark.parametrize(
    ("header", "row", "encoding", "is_direct"),
    [
        ("file_name,label", "{},{}", "utf-8", True),
        ("file_name,label", "{},{}", "utf-8-sig", True),
        ("file_name,label", "{},{} ", "utf-8", False),
        ("Image;Class", "{};{}", "utf-8-sig", False),
        ("path\tlabel", "/home/me/x/{}\t{}", "utf-8", False),
    ],
)
def test_csv(root, init, header, row, encoding, is_direct):
    for split in ("train", "val"):
        photos(root / split, ["a ü.jpg", "b.jpg", "unlabelled.jpg"], seed=len(split))
        rows = [row.format(name, label) for name, label in (("a ü.jpg", "cat"), ("b.jpg", "dog"))]
        text(root / f"{split}.csv", "\n".join([header, *rows]) + "\n", encoding)
    read, said = init(root)
    labels = {name: sample.target.get("label") for name, sample in read.samples().items()}
    assert labels["a ü.jpg"] == 0
    assert labels["b.jpg"] == 1
    assert labels.get("unlabelled.jpg") is None
    assert (read.search.data.train.labels == "train.csv") == is_direct
    assert "2 images without any label" in said


def test_csv_with_a_column_of_splits(root, init):
    photos(root / "images", [f"{k}.jpg" for k in range(4)])
    rows = "\n".join(f"{k},{'a' if k % 2 else 'b'},{'valid' if k > 1 else 'train'}" for k in range(4))
    text(root / "labels.csv", f"id,label,split\n{rows}\n")
    read, _ = init(root)
    assert [read.val.load(k).name for k in range(2)] == ["images/2.jpg", "images/3.jpg"]
