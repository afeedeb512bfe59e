from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.data.coco import read_coco
from tests.data.conftest import Folder


def test_boxes_become_corners_and_categories_positions_in_the_order_of_their_ids(folder: Folder) -> None:
    classes, images = read_coco(folder.root / "boxes.json")
    assert classes == ("head", "tail")
    assert images["a.jpg"].boxes == [[2, 3, 12, 7]]
    assert images["a.jpg"].labels == [0]
    assert (images["a.jpg"].width, images["a.jpg"].height) == (20, 12)


def test_given_classes_settle_the_ids(folder: Folder) -> None:
    classes, images = read_coco(folder.root / "boxes.json", classes=("tail", "head"))
    assert classes == ("tail", "head")
    assert images["a.jpg"].labels == [1]
    with pytest.raises(InputError, match="category 'head'"):
        read_coco(folder.root / "boxes.json", classes=("heads", "tail"))


def test_what_no_annotation_means_is_a_choice(folder: Folder) -> None:
    path = folder.root / "boxes.json"
    assert read_coco(path, unannotated="empty")[1]["b.jpg"].boxes == []
    assert read_coco(path, unannotated="unlabelled")[1]["b.jpg"].boxes is None


@pytest.mark.parametrize(("change", "crowds"), [({"iscrowd": 1}, [[2, 3, 12, 7]]), ({"bbox": [2, 3, 0, 4]}, [])])
def test_crowds_and_empty_boxes_are_no_boxes_but_their_image_is_labelled(
    folder: Folder, change: dict[str, Any], crowds: list[list[float]]
) -> None:
    folder.coco["annotations"][0].update(change)
    folder.write_coco()
    _, images = read_coco(folder.root / "boxes.json", unannotated="unlabelled")
    assert images["a.jpg"].boxes == []
    assert images["a.jpg"].labels == []
    assert (images["a.jpg"].crowds, len(images["a.jpg"].crowd_labels)) == (crowds, len(crowds))
    assert images["b.jpg"].boxes is None


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("annotations", {"image_id": 99}, "annotation 1 belongs"),
        ("annotations", {"image_id": [7]}, "annotation 1 belongs"),
        ("annotations", {"category_id": 3}, "annotation 1 has category id 3"),
        ("annotations", {"bbox": [1, 2, 3]}, "annotation 1 .*bbox"),
        ("annotations", {"bbox": None}, "annotation 1 .*bbox"),
        ("annotations", {"bbox": [1, 2, "3", 4]}, "annotation 1 .*bbox"),
        ("images", {"file_name": "b.jpg"}, "image 'b.jpg'"),
        ("images", {"id": 8}, r"\(id 8\)"),
        ("images", {"file_name": None}, "needs 'id' and 'file_name'"),
        ("images", {"width": "20"}, "image 'a.jpg': width and height"),
        ("images", {"height": 0}, "image 'a.jpg': width and height"),
        ("categories", {"id": 5}, "a category id is listed more than once"),
        ("categories", {"name": "head"}, "a category name is listed more than once"),
        ("categories", {"name": None}, "needs a whole number 'id' and a 'name'"),
    ],
)
def test_a_wrong_entry_is_named(folder: Folder, key: str, change: dict[str, Any], message: str) -> None:
    folder.coco[key][0].update(change)
    folder.write_coco()
    with pytest.raises(InputError, match=f"boxes.json: .*{message}"):
        read_coco(folder.root / "boxes.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the annotation file is empty"),
        (b"\n", "the annotation file is empty"),
        (b'{"images": [', "malformed JSON: .*line 1"),
        (b"[]", "needs a list of objects under 'images'"),
        (json.dumps({"images": [], "categories": []}).encode(), "needs a list of objects under 'annotations'"),
        (json.dumps({"images": [3]}).encode(), "needs a list of objects under 'images'"),
        (b"\xff\xfe\x00", "cannot read this annotation file"),
        (None, "cannot read this annotation file: No such file"),
    ],
)
def test_a_file_that_is_no_coco_json_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "boxes.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"boxes.json: .*{message}") as caught:
        read_coco(path)
    assert "\n" not in str(caught.value)
