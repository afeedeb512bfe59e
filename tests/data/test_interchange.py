"""An index that is exported and imported is the index that it was, whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, DEPTH, KEYPOINTS, LABEL, SEGMENTATION, Target, TargetKind
from fbnetv5.data.build import build_index
from fbnetv5.data.index import Index
from fbnetv5.data.interchange import export_index, import_index
from scripts import convert_index

FACES = Target("faces", TargetKind.BOXES)
BREED = Target("breed", TargetKind.SCALAR)
TARGETS = (LABEL, BREED, BOXES, FACES, SEGMENTATION, DEPTH)
CLASSES = {
    "label": ("cat", 'a "dog", or so', "10", "é\n", "\r"),
    "breed": ("x",),
    "boxes": ("head", "tail", "x"),
    "faces": ("x", "head"),
    "segmentation": ("background", "animal"),
}
SIDES = ["20", 20.5, 10**12, 0, True, [20]]  # that an image cannot have
NAMES = ["a.jpg", "dir/b.PNG", "dir/c, d.jpg", 'e"f".jpg', "ü.jpg", "g.jpg", "h.jpg", " i.jpg", "j\rk.jpg"]


def random_boxes(random, size, num_classes):
    """Boxes of float32 corners, also half a pixel out of the image and of hardly any size; or none; or unlabelled."""
    count = random.integers(-1, 4)
    if count < 0:
        return None, None
    corners = np.stack([random.uniform(-0.5, np.array([w, w]) + 0.5, (count, 2)) for w in size], 2).astype(np.float32)
    corners = np.sort(corners, 1)
    corners[:, 1] = np.maximum(corners[:, 1], np.nextafter(corners[:, 0], np.float32(1e9)))
    return corners.reshape(-1, 4).tolist(), random.integers(0, num_classes, count).tolist()


def random_index(seed, root):
    """An index of all kinds of targets, any of them missing in an image, and its masks and maps below ``root``."""
    random = np.random.default_rng(seed)
    targets = [target for target in TARGETS if random.random() < 0.8] or [LABEL]
    rows = []
    for name in NAMES[: random.integers(1, len(NAMES) + 1)]:
        width, height = (int(side) for side in random.integers(1, 300, 2))
        row = {"path": name, "width": width, "height": height}
        if random.random() < 0.2:
            row["width"] = row["height"] = None
        for target in targets:
            if target.kind is TargetKind.BOXES:
                boxes = random_boxes(random, (width, height), len(CLASSES[target.name]))
                row[target.name], row[target.labels_key] = boxes
                crowds = random_boxes(random, (width, height), len(CLASSES[target.name]))
                if boxes[0] is not None and crowds[0]:
                    row[target.crowds_key], row[target.crowd_labels_key] = crowds
            elif random.random() < 0.7 and target.kind is TargetKind.SCALAR:
                row[target.name] = int(random.integers(len(CLASSES[target.name])))
            elif random.random() < 0.7 and target.kind is not TargetKind.SCALAR:
                row[target.name] = f"{target.name}/{len(rows)}/{name}.png"
                path = root / row[target.name]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 2, (height, width), np.uint8)).save(path)
        rows.append(row)
    scales = {"depth": 256.5} if DEPTH in targets else None
    return Index.from_rows(rows, targets, CLASSES, "test", scales)


@pytest.mark.parametrize("seed", range(40))
def test_export_and_import_give_an_equal_table(tmp_path, seed):
    root = tmp_path / "root"
    index = random_index(seed, root)
    export_index(index, root, tmp_path / "exported")
    back = import_index(tmp_path / "exported")
    assert back.table.equals(index.table)
    assert (back.targets, back.classes, back.scales) == (index.targets, index.classes, index.scales)
    for target in (SEGMENTATION, DEPTH):
        if target in index.targets:
            for name in index.table[target.name].drop_null().to_pylist():
                assert (tmp_path / "exported" / name).read_bytes() == (root / name).read_bytes()


def one_of_each(tmp_path):
    rows = [
        {"path": "a.jpg", "width": 20, "height": 10, "boxes": [[1, 2, 11, 5.5]], "box_labels": [1], "label": 0},
        {"path": "b.jpg", "width": 20, "height": 10, "boxes": [], "box_labels": []},
        {"path": "c.jpg", "width": 20, "height": 10},
    ]
    return Index.from_rows(rows, [LABEL, BOXES], CLASSES, "test")


def test_the_json_is_read_by_others(tmp_path, capsys):
    export_index(one_of_each(tmp_path), tmp_path, tmp_path / "out")
    coco = COCO(tmp_path / "out" / "instances.json")
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert (annotation["bbox"], annotation["area"], annotation["image_id"]) == ([1, 2, 10, 3.5], 35, 1)
    assert coco.cats[annotation["category_id"]]["name"] == "tail"
    assert (tmp_path / "out" / "labels.csv").read_text() == "file_name,label\na.jpg,cat\n"


def test_the_project_tells_empty_from_unlabelled_in_it(tmp_path):
    export_index(one_of_each(tmp_path), tmp_path, tmp_path / "out")
    (tmp_path / "out" / "images").mkdir()
    for name in "abc":
        Image.new("RGB", (20, 10)).save(tmp_path / "out" / "images" / f"{name}.jpg")
    index = build_index(tmp_path / "out", "images", labels="labels.csv", boxes="instances.json")
    assert [row["boxes"] for row in index.table.to_pylist()] == [[[1, 2, 11, 5.5]], [], None]


def test_edits_are_imported(tmp_path):
    export_index(one_of_each(tmp_path), tmp_path, tmp_path / "out")
    path = tmp_path / "out" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"] += [{"image_id": 3, "category_id": 1, "bbox": [0, 0, 5, 5]}]
    content["annotations"] += [{"image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1}]
    path.write_text(json.dumps(content))
    rows = import_index(path.parent).table.to_pylist()
    assert [row["boxes"] for row in rows][1:] == [[], [[0, 0, 5, 5]]]
    assert [row["box_crowds"] for row in rows] == [None, [[0, 0, 5, 5]], None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("targets"), "'targets' does not say"),
        (lambda c: c["images"][0].pop("labelled"), "image 'a.jpg' needs 'labelled'"),
        (lambda c: c["images"][1].update(id=1), "'b.jpg'"),
        (lambda c: c["annotations"][0].update(image_id=9), "annotation 1"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2]), "annotation 1 .*bbox"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 100, 2]), "lies outside of the image of 20x10"),
        (lambda c: c["categories"][0].update(name="nose"), "category 'nose'"),
        (
            lambda c: c["categories"][0].update(supercategory="label"),
            "'supercategory'",
        ),
        (lambda c: c["categories"][0].update(supercategory=["boxes"]), "which is no target of boxes"),
        (lambda c: c["categories"][0].update(id=[1]), "an entry of 'categories'"),
        (lambda c: c["annotations"][0].update(image_id=[1]), "annotation 1"),
        (lambda c: c["annotations"][0].update(category_id={}), "annotation 1"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 10**400, 1]), "needs a 'bbox' of four numbers"),
        *((lambda c, side=side: c["images"][0].update(width=side), "positive whole numbers") for side in SIDES),
        (lambda c: c["targets"]["label"].update(classes=[1]), "'targets' does not say"),
        (lambda c: c["targets"]["label"].update(classes="cat"), "'targets' does not say"),
        (lambda c: c["images"].pop(0) and c["annotations"].clear(), "'a.jpg'"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, message):
    export_index(one_of_each(tmp_path), tmp_path, tmp_path / "out")
    path = tmp_path / "out" / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        import_index(path.parent)
    assert "\n" not in str(caught.value)


def test_masks_are_named_by_text(tmp_path):
    index = Index.from_rows([{"path": "a.jpg"}], [SEGMENTATION], CLASSES, "test")
    export_index(index, tmp_path, tmp_path / "out")
    path = tmp_path / "out" / "instances.json"
    content = json.loads(path.read_text())
    content["images"][0]["files"] = {"segmentation": 3}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"image 'a.jpg': 'files'"):
        import_index(path.parent)


def test_targets_that_would_share_a_file_are_refused(tmp_path):
    targets = [LABEL, Target("labels", TargetKind.SCALAR)]
    row = {"path": "a.jpg", "label": 0, "labels": 0}
    index = Index.from_rows([row], targets, {"label": ("x",), "labels": ("y",)}, "test")
    with pytest.raises(InputError, match="'label' and 'labels'"):
        export_index(index, tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", ["../outside.png", "/etc/outside.png", "missing.png"])
def test_masks_that_cannot_be_copied_leave_nothing(tmp_path, mask):
    index = Index.from_rows([{"path": "a.jpg", "segmentation": mask}], [SEGMENTATION], CLASSES, "test")
    with pytest.raises(InputError, match=r"lies outside of|no such file, though the index names it"):
        export_index(index, tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_classes_that_share_a_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="test: the classes of 'label' name 'x' twice"):
        Index.from_rows([{"path": "a.jpg", "label": 0}], [LABEL], {"label": ("x", "x")}, "test")
    index = Index.from_rows([{"path": "a.jpg", "label": 0}], [LABEL], {"label": ("x", "")}, "test")
    with pytest.raises(InputError, match="a class of 'label' has no name"):
        export_index(index, tmp_path, tmp_path / "out")


def test_the_command_line(tmp_path, capsys):
    root = tmp_path / "root"
    index = random_index(3, root)
    index.write(root / "index.parquet")
    exported = tmp_path / "exported"
    convert_index.main(["export", str(root / "index.parquet"), str(exported)])
    convert_index.main(["import", str(exported)])
    assert (exported / "index.parquet").read_bytes() == (root / "index.parquet").read_bytes()
    with pytest.raises(SystemExit):
        convert_index.main(["export", str(root / "index.parquet"), str(exported)])
    assert capsys.readouterr().err == f"error: {exported} exists already; choose another folder\n"
    assert Path(exported).is_dir()


def test_several_people_of_an_image_are_refused_and_unlabelled_ones_and_crowds_passed_over(tmp_path):
    rows = [{"path": "a.jpg", "keypoints": [[5, 5, 2]]}]
    export_index(Index.from_rows(rows, [KEYPOINTS], {"keypoints": ("nose",)}, "test"), tmp_path, tmp_path / "out")
    path = tmp_path / "out" / "instances.json"
    content = json.loads(path.read_text())
    (person,) = content["annotations"]
    none = {**person, "keypoints": [0, 0, 0]}
    content["annotations"] = [none, person, none, {**person, "iscrowd": 1}]
    path.write_text(json.dumps(content))
    assert import_index(path.parent).table.to_pylist()[0]["keypoints"] == [[5, 5, 2]]
    content["annotations"] = [person, person]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="its image has 'keypoints' already"):
        import_index(path.parent)
