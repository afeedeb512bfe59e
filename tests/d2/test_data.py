"""The multitask index in Detectron2's catalogs and back; skipped where Detectron2 or D2Go is not installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2", reason="detectron2 is not installed")
pytest.importorskip("d2go", reason="d2go is not installed")

from detectron2.data import DatasetCatalog, MetadataCatalog, transforms
from detectron2.data.datasets import load_sem_seg, register_coco_instances
from detectron2.structures import BoxMode

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES
from fbnetv5.d2.data import register_datasets, register_index, source_from_catalog
from fbnetv5.d2.mapper import MultitaskDatasetMapper
from fbnetv5.d2.search_runner import SearchRunner
from fbnetv5.data.build import build_index
from fbnetv5.data.index import Index, IndexSource
from tests.data.conftest import HEIGHT, WIDTH, Folder
from tests.data.test_orientation import ORIENTATIONS, opened, photo, write_labels


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


@pytest.fixture(autouse=True)
def catalogs() -> Iterator[None]:
    """Leave Detectron2's catalogs as they were."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name)


def written(folder: Folder) -> Path:
    file = folder.root / "index.parquet"
    build_index(**folder.all_labels).write(file)
    return file


def config(**changes: Any) -> Any:
    cfg = SearchRunner.get_default_cfg()
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


def same_items(a: IndexSource, b: IndexSource) -> bool:
    pairs = [(a.load(i), b.load(i)) for i in range(len(a))]
    return len(a) == len(b) and all(
        torch.equal(x.image, y.image)
        and x.target.keys() == y.target.keys()
        and all(torch.equal(torch.as_tensor(x.target[key]), torch.as_tensor(y.target[key])) for key in x.target)
        for x, y in pairs
    )


@pytest.mark.parametrize(("boxes", "masks"), [("boxes.json", None), (None, "masks")])
@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_photos_are_read_in_the_frame_of_their_labels(frame: str, boxes: str, masks: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for orientation in ORIENTATIONS:
        photo(tmp_path / "photos" / f"{orientation}.png", orientation)
    write_labels(tmp_path, frame)
    own = opened(tmp_path, boxes=boxes, masks=masks)
    own.index.write(tmp_path / "index.parquet")
    register_index("photos", tmp_path / "index.parquet")
    for is_train in (True, False):
        mapper = MultitaskDatasetMapper(config(**{"INPUT.FORMAT": "RGB"}), is_train, tfm_gens=[])
        for row, dictionary in enumerate(DatasetCatalog.get("photos")):
            found = mapper(dictionary)
            assert torch.equal(found["image"], own.load(row).image)
            shown = torch.from_numpy(mapper._read_image(found, "RGB")).permute(2, 0, 1)  # for D2Go's pictures
            assert torch.equal(shown, own.load(row).image)
    assert same_items(source_from_catalog("photos"), own)


def test_boxes_of_images_whose_size_no_label_says_have_one(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for orientation in (1, 6):
        photo(tmp_path / "photos" / f"{orientation}.png", orientation)
    rows = [{"path": f"photos/{number}.png", "boxes": [[0, 0, 8, 8]], "box_labels": [0]} for number in (1, 6)]
    Index.from_rows(rows, (BOXES,), {"boxes": ("a",)}, "rows").write(tmp_path / "index.parquet")
    register_index("photos", tmp_path / "index.parquet")
    mapper = MultitaskDatasetMapper(config(**{"INPUT.FORMAT": "RGB"}), False, tfm_gens=[])
    for dictionary in DatasetCatalog.get("photos"):
        assert mapper(dictionary)["image"].shape[1:] == (dictionary["height"], dictionary["width"])


def test_an_index_becomes_detectron2s_dictionaries(folder: Folder) -> None:
    index = build_index(**folder.all_labels)
    register_index("pets", written(folder))
    dictionaries = DatasetCatalog.get("pets")
    assert len(dictionaries) == len(index)
    for number, (dictionary, row) in enumerate(zip(dictionaries, index.table.to_pylist(), strict=True)):
        assert dictionary["image_id"] == number
        assert Path(dictionary["file_name"]) == folder.root / row["path"]
        assert dictionary.get("label") == row["label"]
        assert ("annotations" in dictionary) == (row["boxes"] is not None)
        assert [entry["bbox"] for entry in dictionary.get("annotations", [])] == (row["boxes"] or [])
        assert all(entry["bbox_mode"] == BoxMode.XYXY_ABS for entry in dictionary.get("annotations", []))
        assert ("sem_seg_file_name" in dictionary) == (row["segmentation"] is not None)
    metadata = MetadataCatalog.get("pets")
    assert metadata.thing_classes == ["head", "tail"]
    assert metadata.stuff_classes == ["background", "animal"]
    assert metadata.label_classes == ["cat", "dog"]
    assert metadata.ignore_label == 255
    assert metadata.evaluator_type == "coco"


def test_only_the_images_of_one_target_can_be_registered(folder: Folder) -> None:
    for only, key in (("label", "label"), ("boxes", "annotations"), ("segmentation", "sem_seg_file_name")):
        register_index(only, written(folder), only=only)
        dictionaries = DatasetCatalog.get(only)
        assert len(dictionaries) == build_index(**folder.all_labels).num_labelled(only)
        assert all(key in dictionary for dictionary in dictionaries)
    assert MetadataCatalog.get("segmentation").evaluator_type == "sem_seg"
    assert not any("annotations" in dictionary for dictionary in DatasetCatalog.get("segmentation"))
    with pytest.raises(InputError, match="no image is labelled with 'depth'"):
        register_index("depth", written(folder), only="depth")


def test_there_and_back_nothing_changes(folder: Folder) -> None:
    file = written(folder)
    register_index("pets", file)
    source = source_from_catalog("pets")
    assert source.classes == build_index(**folder.all_labels).classes
    assert same_items(source, IndexSource(build_index(**folder.all_labels), folder.root))
    source.index.write(folder.root / "again.parquet")
    register_index("again", folder.root / "again.parquet")
    assert same_items(source_from_catalog("again"), source)


def test_parquet_files_are_registered_for_what_a_model_learns_from(folder: Folder) -> None:
    file = str(written(folder))
    for architecture, count in (("FBNetV5Supernet", 3), ("FBNetV5Segmentation", 2), ("GeneralizedRCNN", 2)):
        cfg = config(**{"DATASETS.TRAIN": (file,), "MODEL.META_ARCHITECTURE": architecture})
        cfg.freeze()
        register_datasets(cfg)
        register_datasets(cfg)  # once is enough
        (name,) = cfg.DATASETS.TRAIN
        assert "/" not in name  # D2Go writes results to a folder of that name
        assert len(DatasetCatalog.get(name)) == count
        assert cfg.is_frozen()
    register_datasets(config(**{"DATASETS.TRAIN": (file,)}))
    (folder.root / "val").mkdir()
    same_name = build_index(**folder.all_labels)
    same_name.write(folder.root / "val" / "index.parquet")
    cfg = config(**{"DATASETS.TRAIN": (file, str(folder.root / "val" / "index.parquet"))})
    register_datasets(cfg)
    assert len(set(cfg.DATASETS.TRAIN)) == 2
    with pytest.raises(InputError, match=r"absent\.parquet"):
        register_datasets(config(**{"DATASETS.TRAIN": ("absent.parquet",)}))


def test_photos_of_an_index_are_read_by_our_mapper(folder: Folder) -> None:
    """D2Go's own turns all of them upright, and takes another image where that does not fit the labels."""
    from fbnetv5.d2.runner import FBNetV5Runner

    cfg = FBNetV5Runner.get_default_cfg()
    register_datasets(cfg)
    assert cfg.D2GO_DATA.MAPPER.NAME == "D2GoDatasetMapper"
    cfg.DATASETS.TRAIN = (str(written(folder)),)
    register_datasets(cfg)
    assert cfg.D2GO_DATA.MAPPER.NAME == "MultitaskDatasetMapper"


def test_coco_files_that_detectron2_registers_are_read_as_our_own_reader_reads_them(folder: Folder) -> None:
    register_coco_instances("coco", {}, str(folder.root / "boxes.json"), str(folder.images))
    source = source_from_catalog("coco")
    own = IndexSource(build_index(folder.root, "images", boxes="boxes.json"), folder.root)
    listed = own.labelled("boxes")  # Detectron2 knows the images that the file lists, we all in the folder
    assert source.classes == own.classes
    assert len(source) == len(listed)
    for position, number in enumerate(listed):
        found, expected = source.load(position).target, own.load(number).target
        torch.testing.assert_close(found["boxes"], expected["boxes"])
        assert torch.equal(found["box_labels"], expected["box_labels"])


def test_crowds_are_apart_and_empty_boxes_are_left_out() -> None:
    entries = [
        {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0},
        {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 1},
        {"bbox": [1, 2, 0, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0},
    ]
    DatasetCatalog.register("crowd", lambda: [{"file_name": "a.jpg", "annotations": entries}, {"file_name": "b.jpg"}])
    MetadataCatalog.get("crowd").set(thing_classes=["a"])
    table = source_from_catalog("crowd").index.table
    assert table["boxes"].to_pylist() == table["box_crowds"].to_pylist() == [[[1, 2, 4, 6]], None]


def test_sem_seg_folders_are_read(folder: Folder) -> None:
    masks = folder.root / "masks"
    images = folder.root / "with_masks"
    images.mkdir()
    for mask in masks.glob("*.png"):
        (images / f"{mask.stem}.jpg").write_bytes((folder.images / f"{mask.stem}.jpg").read_bytes())
    DatasetCatalog.register("semantic", lambda: load_sem_seg(str(masks), str(images)))
    metadata = MetadataCatalog.get("semantic").set(stuff_classes=["background", "animal"], ignore_label=255)
    source = source_from_catalog("semantic")
    own = IndexSource(
        build_index(folder.root, "with_masks", masks="masks", mask_classes=("background", "animal")), folder.root
    )
    assert same_items(source, own)
    boxes = folder.root / "index.parquet"
    build_index(**folder.all_labels).write(boxes)
    register_index("detection", boxes, only="boxes")
    assert len(source_from_catalog("detection", "semantic")) == len(source) + 2
    metadata.__dict__["ignore_label"] = 0
    with pytest.raises(InputError, match="ignores mask value 0"):
        source_from_catalog("semantic")


def test_what_cannot_be_a_source_is_refused(folder: Folder) -> None:
    with pytest.raises(InputError, match="knows no data set 'absent'"):
        source_from_catalog("absent")
    DatasetCatalog.register("nameless", lambda: [{"file_name": "a.jpg", "label": 0}])
    with pytest.raises(InputError, match="'nameless' has no label_classes"):
        source_from_catalog("nameless")
    register_index("pets", written(folder), only="label")
    DatasetCatalog.register("other", lambda: [{"file_name": "a.jpg", "label": 0}])
    MetadataCatalog.get("other").set(label_classes=["dog"], thing_classes=["head", "tail"])
    MetadataCatalog.get("other").set(stuff_classes=["background", "animal"])
    with pytest.raises(InputError, match="label_classes of data set 'other' are not those of 'pets'"):
        source_from_catalog("pets", "other")


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Any]:
    """An image whose bright rectangle is its box and its mask; of the palette's ids, not colours."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[3:9, 4:12] = (250, 10, 10)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mask = Image.fromarray((pixels[..., 0] > 0).astype(np.uint8), mode="P")
    mask.putpalette([0, 0, 0, 200, 100, 50])
    mask.save(tmp_path / "mask.png")
    box = {"bbox": [4, 3, 12, 9], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0}
    return {
        "file_name": str(tmp_path / "a.png"),
        "sem_seg_file_name": str(tmp_path / "mask.png"),
        "annotations": [box],
        "label": 1,
    }


def test_the_mapper_moves_image_boxes_and_mask_together(pair: dict[str, Any]) -> None:
    twice = [
        transforms.ResizeTransform(HEIGHT, WIDTH, 2 * HEIGHT, 2 * WIDTH, interp=0),
        transforms.HFlipTransform(2 * WIDTH),
    ]
    for order in ("RGB", "BGR"):
        result = MultitaskDatasetMapper(config(**{"INPUT.FORMAT": order}), tfm_gens=twice)(pair)
        assert result["image"].shape == (3, 2 * HEIGHT, 2 * WIDTH)
        assert result["label"] == 1
        assert (result["height"], result["width"]) == (HEIGHT, WIDTH)
        red = result["image"][0 if order == "RGB" else 2]
        assert torch.equal(result["sem_seg"], (red > 128).long())
        rows, columns = result["sem_seg"].nonzero(as_tuple=True)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert result["instances"].gt_boxes.tensor.tolist() == [[float(value) for value in tight]]
        assert result["instances"].gt_classes.tolist() == [1]
    assert "annotations" in pair


def test_the_mapper_keeps_unlabelled_and_empty_apart(pair: dict[str, Any]) -> None:
    mapper = MultitaskDatasetMapper(config(), tfm_gens=[])
    empty = mapper(pair | {"annotations": []})
    assert len(empty["instances"]) == 0
    assert {"instances", "sem_seg", "label"} & mapper({"file_name": pair["file_name"]}).keys() == set()


def test_in_evaluation_the_mapper_hides_the_labels(pair: dict[str, Any]) -> None:
    result = MultitaskDatasetMapper(config(), is_train=False, tfm_gens=[])(pair)
    assert sorted(result) == ["file_name", "height", "image", "width"]


def test_d2gos_loader_uses_the_mapper(folder: Folder) -> None:
    register_index("pets", written(folder), only="segmentation")
    cfg = config(**{"D2GO_DATA.MAPPER.NAME": "MultitaskDatasetMapper", "DATASETS.TEST": ("pets",)})
    cfg.DATALOADER.NUM_WORKERS = 0
    batches = list(super(SearchRunner, SearchRunner).build_detection_test_loader(cfg, "pets"))
    assert [Path(batch[0]["file_name"]).name for batch in batches] == ["a.jpg", "b.jpg"]
    assert json.dumps(sorted(batches[0][0])) == json.dumps(["file_name", "height", "image", "image_id", "width"])
