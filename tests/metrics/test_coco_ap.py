"""COCO's numbers against pycocotools, and what becomes of the ones that are not defined."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, LABEL
from fbnetv5.data.build import build_index
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.metrics.coco_ap import NUMBERS, CocoAP
from fbnetv5.metrics.coco_truth import common_prefix, read_coco_truth

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
CLASSES = ("cat", "dog", "cow", "emu")
NO_BOXES = {"boxes": torch.zeros(0, 4), "box_labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
Image = dict[str, Any]  # name, truth (list of COCO annotations), prediction


def random_images(seed: int, num_images: int = 24, crowds: bool = True, num_labels: int = 3) -> list[Image]:
    """Images of 200 pixels; a third without truth, a third without detections; class "emu" has no instance."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(num_images):
        truth, found = [], []
        for _ in range(rng.integers(0, 8) if rng.random() > 0.3 else 0):
            box = np.concatenate([rng.uniform(0, 100, 2), rng.uniform(5, 50, 2) * rng.choice([0.5, 2, 4])]).round(2)
            crowd = int(crowds and rng.random() < 0.2)
            area = float(box[2] * box[3] * rng.uniform(0.3, 1)) if crowds else float(box[2] * box[3])
            label = int(rng.integers(0, num_labels))
            truth.append({"bbox": box.tolist(), "category": label, "area": area, "iscrowd": crowd})
            for _ in range(rng.integers(0, 3)):
                found.append((box + rng.normal(0, 3, 4), label if rng.random() < 0.8 else 3))
        found += [(rng.uniform(10, 90, 4), int(rng.integers(0, 4))) for _ in range(rng.integers(0, 6))]
        found = found if rng.random() > 0.3 else []
        boxes = torch.tensor(np.array([box for box, _ in found]).reshape(-1, 4), dtype=torch.float32)
        boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].clamp(min=1)
        scores = torch.tensor(rng.random(len(found)).round(1), dtype=torch.float32)  # many are equal
        labels = torch.tensor([label for _, label in found], dtype=torch.int64)
        prediction = {"boxes": boxes, "box_labels": labels, "scores": scores}
        images.append({"name": f"sub/{index:03}.jpg", "truth": truth, "prediction": prediction})
    return images


def coco_file(images: list[Image]) -> dict[str, Any]:
    """Category ids are 7, 17, ... in the reverse order of the classes, image ids are 5, 8, ..."""
    annotations = []
    for index, image in enumerate(images):
        for truth in image["truth"]:
            entry = {key: truth[key] for key in ("bbox", "area", "iscrowd")}
            entry |= {"id": len(annotations) + 1, "image_id": 3 * index + 5}
            annotations.append(entry | {"category_id": 7 + 10 * (3 - truth["category"])})
    entries = [
        {"id": 3 * i + 5, "file_name": image["name"], "width": 200, "height": 200} for i, image in enumerate(images)
    ]
    categories = [{"id": 7 + 10 * (3 - label), "name": name} for label, name in enumerate(CLASSES)]
    return {"images": entries, "categories": categories, "annotations": annotations}


def official(images: list[Image]) -> tuple[dict[str, float], COCOeval]:
    """The twelve numbers as pycocotools has them; -1 is undefined."""
    results = []
    for index, image in enumerate(images):
        found = image["prediction"]
        for box, label, score in zip(*(found[key].double().tolist() for key in NO_BOXES), strict=True):
            bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            category = 7 + 10 * (3 - int(label))
            results.append({"image_id": 3 * index + 5, "category_id": category, "bbox": bbox, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco_file(images)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NUMBERS, evaluation.stats.tolist(), strict=True)), evaluation


def targets_of(image: Image) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([truth["bbox"] for truth in image["truth"]], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return {"boxes": boxes, "box_labels": torch.tensor([truth["category"] for truth in image["truth"]]).long()}


def evaluate(images: list[Image], file: Path | None = None, prefix: str = "images/") -> dict[str, float]:
    evaluator = build_evaluator(BOXES, CLASSES, file)
    for image in images:
        evaluator.update([image["prediction"]], [targets_of(image)], [prefix + image["name"]])
    return evaluator.compute(ALONE)


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("seed", range(6))
def test_all_numbers_are_pycocotools_with_a_file_of_crowds_and_areas(seed, tmp_path, capfd):
    images = random_images(seed)
    found = evaluate(images, write(tmp_path / "instances.json", coco_file(images)))
    assert capfd.readouterr() == ("", "")
    expected, evaluation = official(images)
    assert {name: found.get(name, -1) for name in NUMBERS} == pytest.approx(expected, abs=1e-6)
    for label, name in enumerate(CLASSES[:3]):
        precision = evaluation.eval["precision"][:, :, 3 - label, 0, 2]
        assert found[f"AP/{name}"] == pytest.approx(precision.mean(), abs=1e-6)
        assert found[f"AP50/{name}"] == pytest.approx(precision[0].mean(), abs=1e-6)
    assert found["AP"] == pytest.approx(np.mean([found[f"AP/{name}"] for name in CLASSES[:3]]))
    assert "AP/emu" not in found
    assert "AP50/emu" not in found
    assert found["num_images"] == 24


@pytest.mark.parametrize("seed", range(3))
def test_all_numbers_are_pycocotools_with_the_targets_as_truth(seed):
    images = random_images(seed, crowds=False)
    found = evaluate(images)
    assert {name: found.get(name, -1) for name in NUMBERS} == pytest.approx(official(images)[0], abs=1e-6)


def test_a_file_counts_crowds_and_areas_that_the_targets_do_not_hold(tmp_path):
    images = random_images(1)
    with_file = evaluate(images, write(tmp_path / "instances.json", coco_file(images)))
    assert with_file["AP"] != pytest.approx(evaluate(images)["AP"], abs=1e-3)


def test_an_area_that_is_null_is_that_of_the_box(tmp_path):
    images = random_images(1)
    found = []
    for area in ({}, {"area": None}):
        content = coco_file(images)
        for entry in content["annotations"]:
            del entry["area"]
            entry.update(area)
        found.append(evaluate(images, write(tmp_path / "instances.json", content)))
    assert found[0] == found[1]


@pytest.mark.parametrize("seed", range(3))
def test_an_index_counts_crowds_as_the_file_that_it_was_made_of(seed, tmp_path):
    images = random_images(seed)
    for truth in (truth for image in images for truth in image["truth"]):
        truth["area"] = truth["bbox"][2] * truth["bbox"][3]  # an index has no others
    content = coco_file(images)
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for entry in content["images"]:
        entry.update(width=310, height=310)
        PIL.Image.new("L", (310, 310)).save(tmp_path / "images" / entry["file_name"])
    file = write(tmp_path / "instances.json", content)
    build_index(tmp_path, "images", boxes=file.name, box_classes=CLASSES).write(tmp_path / "val.parquet")
    source = IndexSource(Index.read(tmp_path / "val.parquet"), tmp_path)
    evaluator = build_evaluator(BOXES, CLASSES)
    for number, image in enumerate(images):
        sample = source.load(number, BOXES.judged_keys)
        assert sample.name == f"images/{image['name']}"
        evaluator.update([image["prediction"]], [sample.target], [sample.name])
        assert set(source.load(number, BOXES.keys).target) == set(BOXES.keys)  # what a training sees
    assert evaluator.compute(ALONE) == pytest.approx(evaluate(images, file), abs=1e-6)


def test_only_the_evaluated_images_of_a_file_count(tmp_path):
    images = random_images(2)
    file = write(tmp_path / "instances.json", coco_file(images))
    unlabelled = build_evaluator(BOXES, CLASSES, file)
    for image in images:
        target = targets_of(image) if image in images[:10] else {}
        unlabelled.update([image["prediction"]], [target], [image["name"]])
    expected = official(images[:10])[0]
    for found in (unlabelled.compute(ALONE), evaluate(images[:10], file)):
        assert {name: found.get(name, -1) for name in NUMBERS} == pytest.approx(expected, abs=1e-6)
        assert found["num_images"] == 10


def test_the_order_of_images_does_not_matter(tmp_path):
    images = random_images(3)
    file = write(tmp_path / "instances.json", coco_file(images))
    assert evaluate(images[::-1], file) == evaluate(images, file)
    assert evaluate(images[::-1]) == evaluate(images)


def test_perfect_detections_have_an_ap_of_one():
    target = {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "box_labels": torch.tensor([2])}
    evaluator = build_evaluator(BOXES, CLASSES)
    evaluator.update(
        [target | {"scores": torch.tensor([0.3])}, NO_BOXES],
        [target, {"boxes": torch.zeros(0, 4), "box_labels": torch.zeros(0).long()}],
        ["a", "b"],
    )
    values = evaluator.compute(ALONE)
    assert values == {
        **dict.fromkeys(["AP", "AP50", "AP75", "APm", "AR1", "AR10", "AR100", "ARm", "AP/cow", "AP50/cow"], 1.0),
        "num_images": 2.0,
    }
    json.dumps(values, allow_nan=False)


def test_no_detection_at_all_is_zero():
    images = [image | {"prediction": NO_BOXES} for image in random_images(4, crowds=False)]
    values = evaluate(images)
    assert {values[name] for name in NUMBERS if name in values} == {0.0}
    assert values["AP/cat"] == 0


@pytest.mark.parametrize("seed", range(2))
def test_without_an_area_the_box_counts(seed, tmp_path):
    images = random_images(seed, crowds=False)
    content = coco_file(images)
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    assert evaluate(images, write(tmp_path / "bare.json", content)) == pytest.approx(evaluate(images), abs=1e-12)


def test_nothing_to_evaluate_is_an_error():
    evaluator = build_evaluator(BOXES, CLASSES)
    with pytest.raises(InputError, match="no image is labelled with 'boxes'"):
        evaluator.compute(ALONE)
    evaluator.update([NO_BOXES], [{"label": 3}], ["a"])
    with pytest.raises(InputError, match="no image is labelled with 'boxes'"):
        evaluator.compute(ALONE)
    empty = [image | {"truth": []} for image in random_images(0, num_images=3)]
    with pytest.raises(InputError, match="none of 3 images has a true box"):
        evaluate(empty)


def test_an_image_counts_once():
    with pytest.raises(ValueError, match="more than once"):
        evaluate(random_images(0, num_images=1) * 2)


def test_files_that_do_not_fit_are_errors(tmp_path):
    images = random_images(5)
    content = coco_file(images)
    with pytest.raises(InputError, match=r"instances.json: does not list image 'images/sub/023.jpg'"):
        evaluate(
            images, write(tmp_path / "instances.json", content | {"images": content["images"][:-1], "annotations": []})
        )
    with pytest.raises(InputError, match="category 'cast'"):
        read_coco_truth(write(tmp_path / "c.json", content | {"categories": [{"id": 1, "name": "cast"}]}), CLASSES)
    with pytest.raises(InputError, match="not a COCO file: it needs a list of objects under 'images'"):
        CocoAP(BOXES, CLASSES, write(tmp_path / "c.json", {}))
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(InputError, match="malformed JSON"):
        CocoAP(BOXES, CLASSES, tmp_path / "c.json")
    with pytest.raises(InputError, match="No such file"):
        CocoAP(BOXES, CLASSES, tmp_path / "missing.json")


def test_the_prefix_is_the_folder_of_the_images():
    assert common_prefix(["images/val/a.jpg", "images/val/s/b.jpg"], {"a.jpg", "s/b.jpg"}) == "images/val/"
    assert common_prefix(["a.jpg", "s/b.jpg"], {"a.jpg", "s/b.jpg"}) == ""
    assert common_prefix(["val/x.jpg", "val/val/x.jpg"], {"x.jpg", "val/x.jpg"}) == "val/"
    assert common_prefix(["val/x.jpg", "val/new.jpg"], {"x.jpg"}) == "val/"
    assert common_prefix([], {"a"}) == ""


def test_a_file_for_labels_is_not_opened():
    assert build_evaluator(LABEL, CLASSES, Path("missing.json")).main_metric == "top1"
