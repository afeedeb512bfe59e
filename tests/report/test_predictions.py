"""Predictions on disk are read back as what they were; pictures show them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION, Target, TargetKind
from fbnetv5.data.coco import read_coco
from fbnetv5.data.folders import find_masks, read_labels
from fbnetv5.data.images import read_mask
from fbnetv5.report.colours import class_colours, palette
from fbnetv5.report.pictures import contact_sheet, draw_prediction, draw_predictions
from fbnetv5.report.predictions import PredictionWriter, mask_paths
from tests.processes import two_ranks

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
CLASSES = ("cat", "dog", "größe, 3", "cow", "emu", "fox")
NAMES = ["val/b.jpg", "val/a.jpg", "val/sub/ü x.png"]
SIZES = [(40, 60), (50, 30), (8, 9)]  # height, width


def write(folder: Path, target: Target, predictions: list, names: list[str] = NAMES, **options) -> None:
    writer = PredictionWriter(folder, target, CLASSES, ALONE, **options)
    writer.add(names[:1], predictions[:1], SIZES[:1])
    writer.add(names[1:], predictions[1:], SIZES[1 : len(names)])
    writer.close()


def detections() -> list[dict[str, torch.Tensor]]:
    some = {"boxes": torch.tensor([[1.5, 2, 11.5, 22], [0.1, 0.2, 3.3, 4.4]]), "box_labels": torch.tensor([5, 0])}
    none = {"boxes": torch.zeros(0, 4), "box_labels": torch.zeros(0).long(), "scores": torch.zeros(0)}
    one = {"boxes": torch.tensor([[0.0, 0, 8, 8]]), "box_labels": torch.tensor([2]), "scores": torch.tensor([0.5])}
    return [some | {"scores": torch.tensor([0.1, 0.9])}, none, one]


def masks(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(6, SIZES[k % 3], generator=generator, dtype=torch.uint8) for k in range(count)]


def test_labels_are_a_csv_file_that_reads_as_one_of_labels(tmp_path):
    probabilities = torch.tensor([[0.1, 0.5, 0.2, 0.15, 0.04, 0.01], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0.3, 0.7]])
    write(tmp_path, LABEL, list(probabilities))
    assert read_labels(tmp_path / "predictions.csv") == dict(zip(NAMES, ("dog", "größe, 3", "fox"), strict=True))
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == sorted(NAMES)
    row = rows[1]
    assert [row["label"], *(row[f"label_{k}"] for k in range(2, 6))] == ["dog", "größe, 3", "cow", "cat", "emu"]
    assert [row["score"], *(row[f"score_{k}"] for k in range(2, 6))] == ["0.5", "0.2", "0.15", "0.1", "0.04"]


def test_boxes_are_a_coco_file_that_read_coco_reads(tmp_path):
    write(tmp_path, BOXES, detections())
    classes, images = read_coco(tmp_path / "predictions.json")
    assert classes == CLASSES
    assert list(images) == sorted(NAMES)
    assert (images["val/b.jpg"].height, images["val/b.jpg"].width) == (40, 60)
    assert images["val/a.jpg"].boxes == []
    assert images["val/b.jpg"].labels == [0, 5]  # likeliest first
    assert images["val/b.jpg"].boxes == [pytest.approx([0.1, 0.2, 3.3, 4.4]), [1.5, 2, 11.5, 22]]
    assert json.loads((tmp_path / "results.json").read_text()) == [
        {"image_id": 2, "category_id": 1, "bbox": [0.1, 0.2, 3.2, 4.2], "score": 0.9},
        {"image_id": 2, "category_id": 6, "bbox": [1.5, 2.0, 10.0, 20.0], "score": 0.1},
        {"image_id": 3, "category_id": 3, "bbox": [0.0, 0.0, 8.0, 8.0], "score": 0.5},
    ]
    annotation = json.loads((tmp_path / "predictions.json").read_text())["annotations"][1]
    assert (annotation["id"], annotation["area"], annotation["iscrowd"], annotation["score"]) == (2, 200.0, 0, 0.1)


def test_boxes_have_the_ids_of_the_splits_own_file(tmp_path):
    categories = [{"id": 90 - label, "name": name} for label, name in enumerate(CLASSES[:5])]  # no fox
    images = [{"id": 139, "file_name": "b.jpg"}, {"id": 285, "file_name": "a.jpg"}]  # not the third
    (tmp_path / "own.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    write(tmp_path, BOXES, detections(), coco_json=tmp_path / "own.json")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in results] == [(139, 90), (139, 91), (286, 88)]
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert {image["file_name"]: image["id"] for image in content["images"]}["val/a.jpg"] == 285


def test_masks_are_png_files_that_read_as_masks(tmp_path):
    write(tmp_path, SEGMENTATION, masks())
    found = find_masks(tmp_path / "masks", NAMES)
    assert set(found) == set(NAMES)
    for name, mask, (height, width) in zip(NAMES, masks(), SIZES, strict=True):
        assert read_mask(tmp_path / "masks" / found[name], len(CLASSES), (width, height)).equal(mask)
    with Image.open(tmp_path / "masks/val/sub/ü x.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:18] == [level for colour in class_colours(6) for level in colour]
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["val/a.jpg", "masks/val/a.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "predictions.csv"]


def test_masks_replace_those_of_an_earlier_run_as_a_whole(tmp_path):
    write(tmp_path, SEGMENTATION, masks())
    unfinished = PredictionWriter(tmp_path, SEGMENTATION, CLASSES, ALONE)
    unfinished.add(["c.jpg"], masks(1), SIZES[:1])
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 3
    write(tmp_path, SEGMENTATION, masks(1), ["d.jpg"])
    assert [path.name for path in (tmp_path / "masks").rglob("*.png")] == ["d.png"]


def test_names_of_masks_are_distinct_and_stay_in_their_folder():
    names = [
        "a.jpg",
        "a.png",
        "A.bmp",
        "a.jpg.png",
        "b/c.jpg",
        "../../etc/x.jpg",
        "/root/y.jpg",
        "",
        "..",
        "x\\..\\z\n.jpg",
    ]
    names += [f"{'n' * 250}.jpg", f"{'n' * 250}.png", "d.png/e.jpg", "d.jpg", "ü" * 120 + "1.jpg", "ü" * 120 + "2.jpg"]
    paths = mask_paths(names)
    assert paths.keys() == set(names)
    assert len({path.casefold() for path in paths.values()}) == len(names)
    assert paths["b/c.jpg"] == "b/c.png"
    assert [paths[name] for name in names[:4]] == ["a.jpg_2.png", "a.png.png", "A.bmp.png", "a.jpg.png"]
    folders = {str(folder) for path in paths.values() for folder in Path(path).parents}
    assert not folders & set(paths.values())
    for path in paths.values():
        parts = Path(path).parts
        assert not Path(path).is_absolute()
        assert ".." not in parts
        assert path.isprintable()
        assert path.endswith(".png")
        assert all(len(part.encode()) < 240 for part in parts)


def test_odd_names_are_written(tmp_path):
    names = ["../out.jpg", 'a "b",\nc.jpg', "n" * 251 + ".jpg"]
    write(tmp_path / "run", SEGMENTATION, masks(), names)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with (tmp_path / "run/predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["file_name"]: row["mask"] for row in csv.DictReader(file)}
    assert rows.keys() == set(names)
    assert all((tmp_path / "run" / path).is_file() for path in rows.values())


def test_nothing_to_write_is_written(tmp_path):
    for target, files in ((LABEL, 1), (BOXES, 2), (SEGMENTATION, 2)):
        PredictionWriter(tmp_path / target.name, target, CLASSES, ALONE).close()
        assert len(list((tmp_path / target.name).iterdir())) == files


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="target 'depth': predictions of kind 'dense' cannot be written"):
        PredictionWriter(tmp_path, Target("depth", TargetKind.DENSE), CLASSES, ALONE)
    writer = PredictionWriter(tmp_path, LABEL, CLASSES, ALONE)
    writer.add(["a", "a"], [torch.rand(6)] * 2, SIZES[:2])
    with pytest.raises(ValueError, match="image 'a' were added more than once"):
        writer.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        PredictionWriter(tmp_path / "file", SEGMENTATION, CLASSES, ALONE)


def work(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    world = World(rank, 2, torch.device("cpu"))
    share = slice(0, 0) if rank == 0 else slice(0, 3)
    for name, target, predictions in (("all", SEGMENTATION, masks()), ("boxes", BOXES, detections())):
        writer = PredictionWriter(folder / name, target, CLASSES, world)
        writer.add(NAMES[share], predictions[share], SIZES[share])
        writer.close()
    share = slice(0, 1) if rank == 1 else slice(1, 3)
    writer = PredictionWriter(folder / "split", SEGMENTATION, CLASSES, world)
    writer.add(NAMES[share], masks()[share], SIZES[share])
    writer.close()
    dist.destroy_process_group()


def test_two_processes_write_what_one_writes(tmp_path):
    two_ranks(work, tmp_path)
    for name, target, predictions in (
        ("all", SEGMENTATION, masks()),
        ("split", SEGMENTATION, masks()),
        ("boxes", BOXES, detections()),
    ):
        write(tmp_path / "alone" / name, target, predictions)
        content = [
            {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (tmp_path / name, tmp_path / "alone" / name)
        ]
        assert content[0] == content[1]
        assert len(content[0]) > 1


def test_colours_are_distinct():
    assert len(set(class_colours(150))) == 150
    assert class_colours(150)[:7] == class_colours(7)
    assert len(palette(class_colours(150))) == len(palette(class_colours(255))) == 768
    assert palette(class_colours(255))[-3:] == [255] * 3


def test_a_mask_is_drawn_over_its_image_and_named():
    image = torch.full((3, 96, 64), 100, dtype=torch.uint8)
    mask = torch.zeros(96, 64, dtype=torch.uint8)
    mask[48:] = 1
    picture = draw_prediction(image, mask, TargetKind.MASK, ("background", "pet"), {"segmentation": mask * 255})
    pixels = np.asarray(picture)
    top, painted, ignored = pixels[26 + 100, 100], pixels[26 + 400, 100], pixels[26 + 400, 320 + 8 + 100]
    assert top.tolist() == [100, 100, 100]
    assert painted.tolist() == [round(45 + 0.55 * level) for level in class_colours(2)[1]]
    assert ignored.tolist() == [45, 45, 45]
    assert picture.width == 2 * 320 + 8
    assert (pixels[26 + 480 :] == class_colours(2)[1]).all(-1).any()  # in the legend


def test_boxes_are_drawn_where_they_are():
    image = torch.zeros(3, 48, 96, dtype=torch.uint8)
    prediction = {
        "boxes": torch.tensor([[20.0, 20, 40, 40], [60, 20, 80, 40]]),
        "box_labels": torch.tensor([1, 0]),
        "scores": torch.tensor([0.9, 0.2]),
    }
    pixels = np.asarray(draw_prediction(image, prediction, TargetKind.BOXES, CLASSES))
    assert pixels.shape == (240 + 26, 480, 3)
    assert tuple(pixels[26 + 150, 101]) == class_colours(2)[1]  # its left edge
    assert pixels[26 + 30 :, 250:].max() == 0  # the other has too low a score
    with_truth = draw_prediction(image, prediction, TargetKind.BOXES, CLASSES, prediction)
    assert tuple(np.asarray(with_truth)[26 + 150, 488 + 301]) == class_colours(2)[0]


@pytest.mark.parametrize(("truth", "colour"), [(2, (26, 127, 75)), (0, (190, 40, 60)), (None, (91, 104, 118))])
def test_a_right_class_is_green_and_a_wrong_one_red(truth, colour):
    image = torch.zeros(3, 32, 20, dtype=torch.uint8)
    target = None if truth is None else {"label": truth}
    picture = draw_prediction(image, torch.tensor([0.1, 0.1, 0.8]), TargetKind.SCALAR, CLASSES[:3], target)
    assert picture.getpixel((300, 480 + 4 + 11)) == colour


def test_hard_cases_are_drawn():
    image = torch.zeros(3, 1, 300, dtype=torch.uint8)
    outside = {"boxes": torch.tensor([[-9.0, -9, 900, 0.5]]), "box_labels": torch.tensor([0]), "scores": torch.ones(1)}
    draw_prediction(image, outside, TargetKind.BOXES, ["long name " * 40], {"label": 3})
    draw_prediction(image, torch.tensor([1.0]), TargetKind.SCALAR, ["long name " * 40], {})
    draw_prediction(image, torch.zeros(1, 300).byte(), TargetKind.MASK, ["background"], {})
    with pytest.raises(ValueError, match="'dense'"):
        draw_prediction(image, None, TargetKind.DENSE, [])


def test_a_sheet_holds_all_pictures():
    colours = [(10 * k, 0, 0) for k in range(1, 6)]
    sheet = contact_sheet([Image.new("RGB", (20 + k, 30), colour) for k, colour in enumerate(colours)], 2)
    assert sheet.size == (24 + 23 + 3 * 12, 3 * 30 + 4 * 12)
    assert set(colours) <= {colour for _, colour in sheet.getcolors()}
    assert contact_sheet([Image.new("RGB", (5, 5))], 4).size == (29, 29)
    with pytest.raises(ValueError, match="0 pictures"):
        contact_sheet([], 2)


def test_predictions_of_several_tasks_are_drawn_over_each_other():
    """The truth at the right; boxes over the mask; boxes of low score are left out; a legend for the mask."""
    image = torch.full((3, 60, 80), 90, dtype=torch.uint8)
    mask = torch.zeros(60, 80, dtype=torch.uint8)
    mask[30:] = 1
    boxes = {
        "boxes": torch.tensor([[10.0, 10.0, 40.0, 50.0], [50.0, 5.0, 70.0, 20.0]]),
        "box_labels": torch.tensor([0, 1]),
    }
    found = {"det": boxes | {"scores": torch.tensor([0.9, 0.1])}, "seg": mask, "cls": torch.tensor([0.2, 0.8])}
    targets = {"cls": LABEL, "det": BOXES, "seg": SEGMENTATION}
    classes = {"cls": ("in", "out"), "det": ("cat", "dog"), "seg": ("background", "grass")}
    alone = np.asarray(draw_predictions(image, found, targets, classes))
    both = np.asarray(draw_predictions(image, found, targets, classes, {**boxes, "label": 1}))
    assert (alone.shape[1], both.shape[1]) == (480, 2 * 480 + 8)
    assert len(alone) > 26 + 360  # the title, the photo, and a legend
    bar, scale = 26, 480 / 80
    photo = alone[bar : bar + 360]
    assert (photo[10, 470] == 90).all()  # neither painted nor in a box
    assert (photo[300, 400] != 90).any()  # painted
    assert (photo[int(30 * scale), 10 * 6 - 1 : 10 * 6 + 2] != 90).any()  # the likely box's left edge
    assert (photo[int(12 * scale), 50 * 6 - 2 : 50 * 6 + 3] == 90).all()  # the unlikely box's
    right = both[bar : bar + 360, 488:]
    assert (right[300, 400] == 90).all()  # the truth has no mask
    assert (right[int(12 * scale), 50 * 6 - 1 : 50 * 6 + 2] != 90).any()
