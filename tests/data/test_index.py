from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.data.build import BOXES, LABEL, SEGMENTATION, build_index
from fbnetv5.data.index import METADATA_KEY, Index, IndexSource
from fbnetv5.data.index_checks import require_several
from tests.data.conftest import HEIGHT, WIDTH, Folder

CLASSES = {"label": ("cat", "dog"), "boxes": ("head",), "segmentation": ("background", "animal")}
ROW = {
    "path": "x.jpg",
    "width": 20,
    "height": 10,
    "label": 1,
    "boxes": [[2, 3, 12, 7]],
    "box_labels": [0],
    "segmentation": "x.png",
}


def index_of(*rows: dict[str, Any]) -> Index:
    return Index.from_rows(rows, (LABEL, BOXES, SEGMENTATION), CLASSES, "test")


def test_round_trip(tmp_path: Path) -> None:
    written = index_of(ROW, {"path": "y.jpg", "boxes": [], "box_labels": []}, {"path": "z.jpg"})
    written.write(tmp_path / "index.parquet")
    read = Index.read(tmp_path / "index.parquet")
    assert read.table.equals(written.table)
    assert read.targets == written.targets
    assert read.classes == CLASSES
    assert [read.num_labelled(name) for name in (*CLASSES, "depth")] == [1, 2, 1, 0]
    assert [read.labelled(name) for name in (*CLASSES, "depth")] == [[0], [0, 1], [0], []]
    assert len(read) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[12, 3, 2, 7]]}, r"image 'x.jpg': box \[12, 3, 2, 7\]"),
        ({"boxes": [[2, 3, 2, 7]]}, "inverted or empty"),
        ({"boxes": [[2, 3, float("nan"), 7]]}, "inverted or empty"),
        ({"boxes": [[2, 3, 21, 7]]}, r"image 'x.jpg': box \[2, 3, 21, 7\]"),
        ({"boxes": [[-0.6, 3, 4, 7]]}, "outside of the image"),
        ({"boxes": [[2, 3, float("inf"), 7]], "width": None}, "inverted or empty"),
        ({"box_labels": [1]}, "image 'x.jpg': box_labels 1"),
        ({"box_labels": [-1]}, "box_labels -1"),
        ({"box_labels": []}, "boxes and box_labels"),
        ({"box_labels": None}, "boxes and box_labels"),
        ({"box_crowds": [[9, 3, 2, 7]], "box_crowd_labels": [0]}, "inverted or empty"),
        ({"box_crowds": [[2, 3, 99, 7]], "box_crowd_labels": [1]}, "image 'x.jpg': box_crowd_labels 1"),
        ({"label": 2}, "image 'x.jpg': label 2"),
        ({"path": "first.jpg"}, "image 'first.jpg'"),
        ({"path": None}, "row 1 has no path"),
    ],
)
def test_a_wrong_row_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^test: .*{message}"):
        index_of({**ROW, "path": "first.jpg"}, {**ROW, **change})


def test_an_index_without_rows_is_refused() -> None:
    with pytest.raises(InputError, match="test: no images"):
        index_of()


def test_a_written_index_is_checked_again_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    index_of(ROW).write(path)
    table = pq.read_table(path)
    position = table.schema.get_field_index("label")
    pq.write_table(table.set_column(position, "label", pa.array([7], pa.int32())), path)
    with pytest.raises(InputError, match=r"index.parquet: image 'x.jpg': label 7"):
        Index.read(path)


def test_an_index_of_before_there_were_crowds_is_read(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    written = index_of(ROW)
    written.write(path)
    pq.write_table(pq.read_table(path).drop_columns(["box_crowds", "box_crowd_labels"]), path)
    assert Index.read(path).table.equals(written.table)


def metadata(**changes: Any) -> dict[bytes, bytes]:
    entry = {"version": 1, "targets": {"label": {"kind": "scalar", "classes": ["cat", "dog"]}}}
    return {METADATA_KEY: json.dumps({**entry, **changes}).encode()}


@pytest.mark.parametrize(
    ("columns", "described", "message"),
    [
        ({"path": ["x"]}, metadata(), "width"),
        ({"path": ["x"], "width": [1], "height": [1], "label": ["dog"]}, metadata(), "dog"),
        ({"path": ["x"], "width": [1], "height": [1], "label": [1]}, {}, "fbnetv5"),
        ({"path": ["x"], "width": [1], "height": [1], "label": [1]}, metadata(version=2), "format 2"),
        (
            {"path": ["x"], "width": [1], "height": [1], "depth": ["x.png"]},
            metadata(targets={"depth": {"kind": "dense", "classes": []}}),
            "the scale of 'depth'",
        ),
        ({"path": ["x"]}, metadata(targets={"label": {"kind": "odd", "classes": []}}), "odd"),
    ],
)
def test_a_parquet_file_that_is_no_index_is_refused(
    tmp_path: Path, columns: dict[str, Any], described: dict[bytes, bytes], message: str
) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(described), path)
    with pytest.raises(InputError, match=f"index.parquet: .*{message}") as caught:
        Index.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"file_name,label\n"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "index.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"index.parquet") as caught:
        Index.read(path)
    assert "\n" not in str(caught.value)


def test_columns_of_a_near_type_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    table = pa.table({"path": ["x"], "width": [3], "height": [4], "label": [1]})  # int64, as pandas writes
    pq.write_table(table.replace_schema_metadata(metadata()), path)
    assert Index.read(path).table["label"].to_pylist() == [1]


def test_loading_gives_what_is_labelled_and_asked_for(folder: Folder) -> None:
    source = IndexSource(build_index(**folder.all_labels), folder.root)
    a, b, c = (source.load(index) for index in range(3))
    assert (a.name, b.name, c.name) == ("images/a.jpg", "images/b.jpg", "images/c.jpg")
    assert a.image.shape == (3, HEIGHT, WIDTH)
    assert (a.target["label"], b.target["label"]) == (1, 0)
    assert a.target["boxes"].tolist() == [[2, 3, 12, 7]]
    assert a.target["box_labels"].tolist() == [0]
    assert a.target["box_labels"].dtype == torch.int64
    assert b.target["boxes"].shape == (0, 4)  # annotated, and nothing there
    assert a.target["segmentation"].unique().tolist() == [0, 1, 255]
    assert c.target == {}
    assert source.load(0, ["boxes", "box_labels"]).target.keys() == {"boxes", "box_labels"}
    assert source.load(0, []).target == {}


def test_a_box_half_a_pixel_over_the_border_is_clipped(folder: Folder) -> None:
    folder.coco["annotations"][0]["bbox"] = [-0.25, 1, WIDTH + 0.5, HEIGHT - 0.75]
    folder.write_coco()
    source = IndexSource(build_index(folder.root, "images", boxes="boxes.json"), folder.root)
    assert source.load(0).target["boxes"].tolist() == [[0, 1, WIDTH, HEIGHT]]


def test_a_size_that_differs_from_the_image_is_an_error(folder: Folder) -> None:
    folder.coco["images"][0]["width"] = WIDTH + 1
    folder.write_coco()
    source = IndexSource(build_index(folder.root, "images", boxes="boxes.json"), folder.root)
    with pytest.raises(InputError, match=r"a.jpg: 21x12 pixels"):
        source.load(0)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such data folder"):
        IndexSource(index_of(ROW), tmp_path / "nowhere")


def test_a_name_with_a_colon_is_no_drive(tmp_path):
    index = Index.from_rows([{"path": "A: good/0.jpg"}], [], {}, "test")
    index.write(tmp_path / "a.parquet")
    assert Index.read(tmp_path / "a.parquet").value("path", 0) == "A: good/0.jpg"


@pytest.mark.parametrize("place", ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "a\\..\\b.jpg", "C:/a.jpg", ".."])
@pytest.mark.parametrize("column", ["path", "segmentation"])
def test_a_path_of_a_file_that_leaves_the_folder_is_refused(tmp_path: Path, column: str, place: str) -> None:
    index_of(ROW, {**ROW, "path": "y.jpg", column: place}).write(tmp_path / "index.parquet")
    with pytest.raises(InputError, match=f"index.parquet: {column} '.*' leaves the folder of the data"):
        Index.read(tmp_path / "index.parquet")


def test_names_with_dots_leave_no_folder(tmp_path: Path) -> None:
    index_of({**ROW, "path": "a..b/..c/x...jpg"}).write(tmp_path / "index.parquet")
    assert len(Index.read(tmp_path / "index.parquet")) == 1


def test_classes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="test: the classes of 'label' name 'cat' twice"):
        Index.from_rows([ROW], (LABEL,), {"label": ("cat", "dog", "cat")}, "test")


@pytest.mark.parametrize("box", [[900, 900, 1000, 1000], [2, 3, 640, 7]])
def test_boxes_outside_are_named_on_loading_where_the_size_was_not_known(folder: Folder, box: list[float]) -> None:
    row = {**ROW, "path": "images/a.jpg", "width": None, "height": None, "segmentation": None, "boxes": [box]}
    source = IndexSource(index_of(row), folder.root)
    with pytest.raises(InputError, match=r"test: image 'images/a.jpg': a box lies outside of the image of 20x12"):
        source.load(0)
    row |= {"boxes": [[2, 3, 20.4, 7]], "box_crowds": [box], "box_crowd_labels": [0]}
    boxes = IndexSource(index_of(row), folder.root).load(0).target["boxes"]
    assert boxes.tolist() == [[2, 3, 20, 7]]


def test_a_mask_cannot_tell_more_classes_than_its_values() -> None:
    with pytest.raises(InputError, match="'segmentation' has 256 classes; a mask can tell 255"):
        require_several(SEGMENTATION, [str(k) for k in range(256)])
    require_several(SEGMENTATION, [str(k) for k in range(255)])
