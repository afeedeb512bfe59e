"""Teachers of transformers against its own post-processing, on models of random weights that are saved and loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.base.errors import InputError
from fbnetv5.config.targets import build_target
from fbnetv5.labeling.teachers import TransformersBoxes, TransformersPixels
from fbnetv5.labeling.teachers.from_transformers import NEEDED, _padded_size, _prepared
from tests.labeling.teachers.pictures import pictures

pytest.importorskip("transformers", reason=NEEDED)

from tests.labeling.teachers.tiny_transformers import NAMES, save_tiny

DETECTORS, SEGMENTERS = ("detr", "rt_detr"), ("segformer", "maskformer", "mask2former")
USED = tuple(name for name in NAMES if name != "N/A")


@pytest.mark.parametrize("kind", DETECTORS)
def test_boxes_are_those_of_transformers(tmp_path, kind):
    model, processor = save_tiny(tmp_path, kind)
    teacher = TransformersBoxes(str(tmp_path))
    (image, *_), (found, *_) = pictures(), teacher(pictures())
    with torch.no_grad():
        outputs = model(**processor(images=image, return_tensors="pt"))
    (expected,) = processor.post_process_object_detection(outputs, threshold=0, target_sizes=[image.shape[-2:]])
    used = [i for i, label in enumerate(expected["labels"].tolist()) if NAMES[label] != "N/A"]
    assert used
    assert teacher.classes == USED
    assert [USED[label] for label in found.labels] == [NAMES[expected["labels"][i]] for i in used]
    torch.testing.assert_close(found.boxes, expected["boxes"][used], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.scores, expected["scores"][used], atol=1e-5, rtol=1e-4)


def test_boxes_are_in_pixels_of_the_photo_where_a_processor_pads_it(tmp_path):
    """The model's boxes are shares of the padded square; a box that fills the photo fills a part of that."""
    save_tiny(tmp_path, "detr")
    teacher = TransformersBoxes(str(tmp_path))
    teacher.processor.size = {"max_height": 96, "max_width": 96}
    teacher.processor.do_pad, teacher.processor.pad_size = True, {"height": 96, "width": 96}
    given = _prepared(teacher.processor, torch.zeros(3, 40, 80, dtype=torch.uint8))
    assert given["pixel_values"].shape[-2:] == (96, 96)
    height, width = _padded_size((40, 80), given)  # the photo covers 48 of 96 rows
    assert (0.5 * height, width) == (40, 80)
    assert _padded_size((40, 80), {"pixel_values": given["pixel_values"]}) == (40, 80)


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_pixels_are_those_of_transformers(tmp_path, kind):
    """For MaskFormer, with masks at the input's size, where transformers leaves them at a fourth of it."""
    model, processor = save_tiny(tmp_path, kind)
    teacher = TransformersPixels(str(tmp_path))
    (image, *_), (found, *_) = pictures(), teacher(pictures())
    inputs = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    if kind == "maskformer":
        size = inputs["pixel_values"].shape[-2:]
        outputs.masks_queries_logits = F.interpolate(outputs.masks_queries_logits, size=size, mode="bilinear")
    (expected,) = processor.post_process_semantic_segmentation(
        outputs, target_sizes=[image.shape[-2:]], return_segmentation_scores=True
    )
    scores = expected.segmentation_scores
    probabilities = scores.softmax(0) if kind == "segformer" else scores / scores.sum(0)
    assert teacher.classes == NAMES
    assert found.labels.dtype == torch.uint8
    assert len(found.labels.unique()) > 1
    assert (found.labels == expected.segmentation).float().mean() > 0.999  # but for ties within rounding
    torch.testing.assert_close(found.scores, probabilities.amax(0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", [*DETECTORS, *SEGMENTERS])
def test_a_batch_of_many_sizes_gives_what_each_image_gives(tmp_path, kind):
    save_tiny(tmp_path, kind)
    teacher = (TransformersBoxes if kind in DETECTORS else TransformersPixels)(str(tmp_path))
    together, alone = teacher(pictures()), [teacher([image])[0] for image in pictures()]
    for one, other in zip(together, alone, strict=True):
        for value, expected in zip(one, other, strict=True):
            if value.dtype == torch.uint8:
                assert (value == expected).float().mean() > 0.999
            else:
                torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", ["detr", "segformer", "mask2former"])
def test_bfloat16_is_near_float32(tmp_path, kind):
    save_tiny(tmp_path, kind)
    build = TransformersBoxes if kind in DETECTORS else TransformersPixels
    exact, rounded = (build(str(tmp_path), precision=precision)(pictures())[1] for precision in ("float32", "bfloat16"))
    assert rounded.scores.dtype == torch.float32
    assert (exact.scores - rounded.scores).abs().mean() < 0.05
    assert not torch.equal(rounded.scores, exact.scores)


def test_a_teacher_is_chosen_by_a_config(tmp_path):
    save_tiny(tmp_path, "rt_detr")
    entry = {
        "_target_": "fbnetv5.labeling.teachers.TransformersBoxes",
        "model": str(tmp_path),
        "local_files_only": True,
        "class_map": {"person": "human"},
        "others": "drop",
    }
    teacher = build_target("label.boxes", entry)
    teacher.to(torch.device("cpu"))
    assert teacher.classes == ("human",)
    assert {label for found in teacher(pictures()) for label in found.labels.tolist()} == {0}


def refused(message: str, build: type, *args: str, **options: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(*args, **options)
    assert "\n" not in str(caught.value)


def test_folders_that_lack_a_file_are_refused(tmp_path):
    save_tiny(tmp_path, "segformer")
    weights = tmp_path / "model.safetensors"
    weights.rename(tmp_path / "pytorch_model.bin")
    refused(r"no model.safetensors or .* weights in \*.bin could run code", TransformersPixels, str(tmp_path))
    (tmp_path / "pytorch_model.bin").rename(weights)
    weights.write_bytes(b"garbage")
    refused("cannot load the teacher in", TransformersPixels, str(tmp_path))
    (tmp_path / "preprocessor_config.json").unlink()
    refused("there is no preprocessor_config.json or processor_config.json in", TransformersPixels, str(tmp_path))
    (tmp_path / "config.json").unlink()
    refused("there is no config.json in", TransformersPixels, str(tmp_path))
    refused("there is no folder", TransformersPixels, str(tmp_path / "absent"))
    refused("there is no folder ./absent", TransformersBoxes, "./absent")


def test_a_hub_that_cannot_be_asked_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(
        "nobody/nothing is no folder, and cannot be had from the hub: .*; give a folder",
        TransformersBoxes,
        "nobody/nothing",
        local_files_only=True,
    )


def test_models_for_something_else_are_refused(tmp_path):
    save_tiny(tmp_path, "segformer")
    refused("is of the type segformer, which finds no boxes", TransformersBoxes, str(tmp_path))
    save_tiny(tmp_path, "rt_detr")
    refused("is of the type rt_detr, which is none of maskformer, mask2former", TransformersPixels, str(tmp_path))
    refused("precision of a teacher is float32 or bfloat16", TransformersBoxes, str(tmp_path), precision="float16")


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_weights_of_another_model_and_cut_images_are_refused(tmp_path):
    model, _ = save_tiny(tmp_path, "segformer")
    edit(tmp_path / "preprocessor_config.json", do_center_crop=True)
    refused("set do_center_crop to false", TransformersPixels, str(tmp_path))
    edit(tmp_path / "preprocessor_config.json", do_center_crop=False)
    model.segformer.save_pretrained(tmp_path)  # the backbone, without its decoder
    edit(tmp_path / "config.json", architectures=["SegformerForSemanticSegmentation"])
    refused("is not trained for this: its weights lack decode_head", TransformersPixels, str(tmp_path))


def test_without_transformers_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(r"pip install --editable '.\[label\]'", TransformersBoxes, "a/b")


def test_ids_of_classes_start_at_0(tmp_path):
    save_tiny(tmp_path, "segformer")
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["id2label"] = {str(number + 1): name for number, name in enumerate(NAMES)}
    config["label2id"] = {name: number + 1 for number, name in enumerate(NAMES)}
    file.write_text(json.dumps(config))
    message = f"have the ids 1 to {len(NAMES)} in id2label .*should be 0 to {len(NAMES) - 1}"
    refused(message, TransformersPixels, str(tmp_path))
