"""Depth maps on disk: 16-bit PNGs, the index's column for them, and what can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import DEPTH
from fbnetv5.config.schema import DataConfig, FilesConfig
from fbnetv5.data.build import build_index
from fbnetv5.data.images import read_depth
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.sources import build_source
from tests.data.conftest import HEIGHT, WIDTH, Folder

VALUES = np.array([[0, 256, 384], [20480, 65535, 1]], np.uint16)


@pytest.fixture
def depths(folder: Folder) -> Folder:
    """The usual folder, with a depth map of image a (in millimetres, the first row unknown) and of b (all unknown)."""
    (folder.root / "depth").mkdir()
    for name, value in (("a", 1500), ("b", 0)):
        pixels = np.full((HEIGHT, WIDTH), value, np.uint16)
        pixels[0] = 0
        Image.fromarray(pixels).save(folder.root / "depth" / f"{name}.png")
    return folder


def build(folder: Folder, **changes: Any) -> Index:
    return build_index(folder.root, "images", **{"depth_maps": "depth", "depth_scale": 1000.0, **changes})


def test_values_become_metres_and_0_is_unknown(tmp_path: Path) -> None:
    Image.fromarray(VALUES).save(tmp_path / "d.png")
    depth = read_depth(tmp_path / "d.png", 256, (3, 2))
    assert depth.dtype == torch.float32
    expected = torch.tensor([[float("nan"), 1.0, 1.5], [80.0, 65535 / 256, 1 / 256]])
    torch.testing.assert_close(depth, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (VALUES.astype(np.uint8), "a depth map has one channel of 16 bits"),
        (np.zeros((2, 3, 3), np.uint8), "a depth map has one channel of 16 bits"),
        (VALUES[:, :2], "the depth map has 2x2 pixels, its image 3x2"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "d.png")
    with pytest.raises(InputError, match=f"d.png: {message}"):
        read_depth(tmp_path / "d.png", 256, (3, 2))


@pytest.mark.parametrize(("content", "reason"), [(None, "no such file"), (b"", "the file is empty"), (b"x", "not an")])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "d.png").write_bytes(content)
    with pytest.raises(InputError, match=f"d.png: cannot read this depth map: {reason}"):
        read_depth(tmp_path / "d.png", 256, (3, 2))


def test_the_index_keeps_paths_and_the_scale(depths: Folder) -> None:
    index = build(depths, masks="masks", mask_classes=("background", "animal"))
    index.write(depths.root / "index.parquet")
    read = Index.read(depths.root / "index.parquet")
    assert read.table["depth"].to_pylist() == ["depth/a.png", "depth/b.png", None]
    assert (read.scales, read.num_labelled("depth"), read.labelled("depth")) == ({"depth": 1000.0}, 2, [0, 1])
    source = IndexSource(read, depths.root)
    assert source.classes["depth"] == ()
    target = source.load(0).target
    assert target.keys() == {"segmentation", "depth"}
    assert target["depth"].shape == (HEIGHT, WIDTH)
    assert target["depth"][0].isnan().all()
    assert target["depth"][1:].unique().tolist() == [1.5]
    assert source.load(1, ["depth"]).target["depth"].isnan().all()
    assert source.load(2, ["depth"]).target == {}


def test_a_config_names_the_folder_and_the_scale(depths: Folder) -> None:
    files = FilesConfig(images="images", depth_maps="depth")
    source = build_source(DataConfig(root=str(depths.root), train=files, depth_scale=250))
    assert source.num_labelled("depth") == 2
    assert source.load(0).target["depth"][-1, -1] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth_scale": None}, "data/depth: depth_scale"),
        ({"depth_scale": 0.0}, "the scale of 'depth'"),
        ({"depth_scale": float("nan")}, "the scale of 'depth' is nan"),
        ({"depth_maps": "nowhere"}, "data/nowhere: no such folder"),
        ({"depth_maps": "images"}, "data/images: no depth map here"),
    ],
)
def test_what_is_missing_is_named(depths: Folder, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(depths, **changes)


def test_two_images_do_not_share_a_map(depths: Folder) -> None:
    (depths.images / "a.png").write_bytes((depths.images / "a.jpg").read_bytes())
    with pytest.raises(InputError, match=r"depth/a.png"):
        build(depths)


def test_a_scale_belongs_to_dense_maps_alone() -> None:
    with pytest.raises(InputError, match="test: 'label'"):
        Index.from_rows([{"path": "x", "depth": "x.png"}], (DEPTH,), {}, "test", {"depth": 1.0, "label": 1.0})
