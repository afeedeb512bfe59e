"""Files in tar files: the same as in folders, to the bit, and one line for each thing that may be wrong."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fbnetv5.base.distributed import World, pick_device
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION, Batch, Source, UndecodableImageError
from fbnetv5.config.schema import DataConfig, FilesConfig
from fbnetv5.data import tars
from fbnetv5.data.build import build_index
from fbnetv5.data.folders import class_folders, list_images, walk_images
from fbnetv5.data.images import image_header, read_image
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.interchange import export_index
from fbnetv5.data.loader import build_loader
from fbnetv5.data.orientation import Frames
from fbnetv5.data.sources import build_folder_source
from fbnetv5.labeling.loading import load_batches
from fbnetv5.labeling.plan import read_plan, write_plan
from fbnetv5.onboarding.findings import Findings
from fbnetv5.onboarding.image_checks import look_at
from fbnetv5.onboarding.split_labels import read_split
from tests.data.conftest import Folder

TARGETS = (LABEL, BOXES, SEGMENTATION)


def packed(tar: Path, files: dict[str, bytes | tarfile.TarInfo], *, format: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar file of contents, or of headers without any."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, "w", format=format) as file:
        for name, content in files.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.name = name
            if isinstance(content, bytes):
                member.size, member.mtime = len(content), 1.5  # type: ignore[assignment]  # webdataset's have fractions
            file.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return tar


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.*"))}


def in_shards(folder: Folder) -> Index:
    """Write the images and masks of a folder to two shards, and return its index with their names there."""
    index = build_index(**folder.all_labels)
    images, masks = contents(folder.images), contents(folder.masks)
    for number, names in enumerate(("ab", "c")):
        files = {f"n0/{name}.jpg": images[f"{name}.jpg"] for name in names}
        files |= {f"{name}.seg.png": masks[f"{name}.png"] for name in names if f"{name}.png" in masks}
        packed(folder.root / f"shards/{number}.tar", files)
    rows = index.table.to_pylist()
    for row in rows:
        place, name = ("shards/1.tar" if "c.jpg" in row["path"] else "shards/0.tar"), Path(row["path"]).stem
        row["path"] = f"{place}/n0/{name}.jpg"
        row["segmentation"] = row["segmentation"] and f"{place}/{name}.seg.png"
    return Index.from_rows(rows, index.targets, index.classes, "shards")


def loaded(source: Source, workers: int) -> list[Batch]:
    data, world = DataConfig(short_side=16, crop=12, color="photometric"), World(0, 1, pick_device("cpu"))
    return list(build_loader(data, source, TARGETS, world, steps=range(3), batch_size=3, workers=workers, seed=5))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_shards_are_those_of_folders_to_the_bit(folder: Folder, workers: int) -> None:
    shards = IndexSource(in_shards(folder), folder.root)
    assert shards.load(0).name == "shards/0.tar/n0/a.jpg"  # opened here, before workers are
    expected = loaded(IndexSource(build_index(**folder.all_labels), folder.root), 0)
    for ours, theirs in zip(loaded(pickle.loads(pickle.dumps(shards)), workers), expected, strict=True):
        assert torch.equal(ours.images, theirs.images)
        for target, other in zip(ours.targets, theirs.targets, strict=True):
            assert target.keys() == other.keys()
            assert all(torch.equal(torch.as_tensor(target[key]), torch.as_tensor(other[key])) for key in target)


def test_an_index_of_shards_is_read_and_exported(folder: Folder, tmp_path: Path) -> None:
    in_shards(folder).write(folder.root / "train.parquet")
    index = Index.read(folder.root / "train.parquet", folder.root)
    export_index(index, folder.root, tmp_path / "exported")
    assert (tmp_path / "exported/shards/0.tar/a.seg.png").read_bytes() == (folder.masks / "a.png").read_bytes()
    again = IndexSource(Index.from_rows([{"path": "shards/0.tar/a.seg.png"}], (), {}, ""), tmp_path / "exported")
    assert torch.equal(again.load(0).image, read_image(folder.masks / "a.png"))  # a folder with the name of a tar


def test_checks_see_the_same_in_shards(folder: Folder) -> None:
    build_index(**folder.all_labels).write(folder.root / "folders.parquet")
    in_shards(folder).write(folder.root / "shards.parquet")
    looks = []
    for name in ("folders", "shards"):
        data = DataConfig(root=str(folder.root), train=FilesConfig(index=f"{name}.parquet"))
        read = read_split(data, "train", data.train, Findings())
        looks.append([replace(look_at(image, read, Frames()), name="") for image in read.images])
    assert looks[0] == looks[1]
    assert looks[0][0].content


def test_tar_files_stand_in_the_place_of_folders(folder: Folder) -> None:
    files = contents(folder.images)
    tar = packed(
        folder.root / "tars/0.tar", {"./is_a/a.jpg": files["a.jpg"], "is_b/b.JPG": files["b.jpg"], "is_b/.c.jpg": b""}
    )
    assert list_images(tar) == ["is_a/a.jpg", "is_b/b.JPG"]
    assert list_images(tar.parent) == list(walk_images(tar.parent)) == ["0.tar/is_a/a.jpg", "0.tar/is_b/b.JPG"]
    assert class_folders(list_images(tar.parent)) == {"0.tar/is_a/a.jpg": "is_a", "0.tar/is_b/b.JPG": "is_b"}
    for images in ("tars", "tars/0.tar"):
        source = IndexSource(build_index(folder.root, images, labels=images), folder.root)
        assert [source.load(k).target["label"] for k in range(2)] == [0, 1]
    assert torch.equal(build_folder_source(tar).load(1).image, read_image(folder.images / "b.jpg"))
    assert image_header(tar / "is_a/a.jpg") == image_header(folder.images / "a.jpg")
    shutil.copy(folder.images / "c.jpg", tar.parent)
    assert list_images(tar.parent) == ["c.jpg"]  # an archive beside the images that it was unpacked to


@pytest.mark.parametrize("images", ["tars", "tars/0.tar"])
def test_images_in_shards_are_labelled(folder: Folder, images: str) -> None:
    files = contents(folder.images)
    packed(folder.root / "tars/0.tar", {"n0/a.jpg": files["a.jpg"], "n1/b.jpg": files["b.jpg"][:300]})
    place = folder.root / images
    write_plan(folder.root / "plan", place, place, shard_size=2, identity={}, classes={})
    plan = read_plan(folder.root / "plan", {}, {})
    assert plan.label_classes == ("n0", "n1")
    ((whole, damaged),) = load_batches(plan, range(plan.num_shards), place, batch_size=2, workers=0)
    assert whole.image is not None
    assert torch.equal(whole.image, read_image(folder.images / "a.jpg"))
    assert damaged.image is None
    assert not damaged.failure
    assert damaged.reason.startswith("Truncated")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_is_read(tmp_path: Path, format: int) -> None:
    long = "/".join(["folder" * 4] * (4 if format == tarfile.USTAR_FORMAT else 20)) + "/ä.txt"
    files: dict[str, bytes | tarfile.TarInfo] = {long: b"long", "b": b"", "a" * 90: b"x" * 2000}
    tar = packed(tmp_path / "x.tar", files, format=format)
    assert tars.list_members(tar) == sorted(files)
    assert {name: tars.read_member(tar, name) for name in files} == files


def test_a_member_that_is_there_twice_is_the_last_and_one_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    tar = packed(tmp_path / "x.tar", {"a": b"first"})
    assert tars.read_member(tar, "a") == b"first"
    with tarfile.open(tar, "a") as file:
        member = tarfile.TarInfo("a")
        member.size = 6
        file.addfile(member, io.BytesIO(b"second"))
    assert tars.read_member(tar, "a") == b"second"


def test_open_tar_files_are_few(tmp_path: Path) -> None:
    shards = [packed(tmp_path / f"{k}.tar", {"a": str(k).encode()}) for k in range(tars.MAX_OPEN + 20)]
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir()))
    assert [tars.read_member(shard, "a") for shard in shards] == [str(k).encode() for k in range(len(shards))]
    assert len(list(handles.iterdir())) <= before + tars.MAX_OPEN


def link(kind: bytes, target: str = "a.jpg") -> tarfile.TarInfo:
    member = tarfile.TarInfo("")
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.jpg", "no such file"),
        ("link.jpg", "a link, a folder or a device"),
        ("hard.jpg", "a link, a folder or a device"),
        ("pipe.jpg", "a link, a folder or a device"),
        ("folder.jpg", "a link, a folder or a device"),
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "not an image"),
        ("../outside.jpg", "no such file"),
    ],
)
def test_what_is_no_image_in_a_tar_is_said_in_one_line(folder: Folder, name: str, said: str) -> None:
    kinds = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE}
    files: dict[str, bytes | tarfile.TarInfo] = {f"{key}.jpg": link(kind) for key, kind in kinds.items()}
    files |= {"empty.jpg": b"", "text.jpg": b"text", "../outside.jpg": b"text"}
    tar = packed(folder.root / "x.tar", files)
    with pytest.raises(UndecodableImageError, match=f"{tar / name}: .*{said}") as caught:
        read_image(tar / name)
    assert "\n" not in str(caught.value)


def test_names_that_leave_the_tar_are_refused_where_it_is_listed(tmp_path: Path) -> None:
    for number, name in enumerate(("../a.jpg", "/etc/a.jpg", "b/../../a.jpg")):
        with pytest.raises(InputError, match=r"x\.tar: the name '.*a.jpg' leaves it"):
            list_images(packed(tmp_path / str(number) / "x.tar", {name: b""}))
    Index.from_rows([{"path": "x.tar/../../a.jpg"}], (), {}, "").write(tmp_path / "0/index.parquet")
    with pytest.raises(InputError, match="leaves the folder of the data"):
        Index.read(tmp_path / "0/index.parquet", tmp_path / "0")


def damaged(kind: str, tar: Path) -> None:
    whole = tar.read_bytes()
    if kind == "gzip":
        with tarfile.open(tar, "w:gz") as file:
            file.addfile(tarfile.TarInfo("a.jpg"))
    elif kind == "pipe":
        tar.unlink()
        os.mkfifo(tar)
    elif kind == "huge header":
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, 2**40
        tar.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    elif kind == "headers without end":
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, 0
        tar.write_bytes(header.tobuf() * 5000 + bytes(1024))
    else:
        cut = {"no tar": b"none" * 300, "empty": b"", "cut in a member": whole[:1800], "no end": whole[:2560]}
        tar.write_bytes(cut[kind] if kind in cut else whole[:1024] + b"\1" * 512 + whole[1536:])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gzip", r"compressed \(gzip\).*decompress"),
        ("pipe", "Not a directory|no such"),
        ("no tar", "the tar file is none, or damaged"),
        ("empty", "the tar file is none, or damaged"),
        ("cut in a member", "the tar file is none, or damaged|cut short"),
        ("no end", "damaged or cut short at byte 2,560"),
        ("header", "damaged or cut short at byte 1,024"),
        ("huge header", "a header of"),
        ("headers without end", "the tar file is none, or damaged"),
    ],
)
def test_a_damaged_tar_is_said_in_one_line(folder: Folder, kind: str, said: str) -> None:
    tar = packed(folder.root / "x.tar", {"a.jpg": b"a", "b.jpg": b"b" * 600}, format=tarfile.USTAR_FORMAT)
    damaged(kind, tar)
    with pytest.raises(UndecodableImageError, match=said) as caught:
        read_image(tar / "a.jpg")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=rf"x\.tar: .*({said})"):
        list_images(tar)


def test_a_member_that_is_too_large_is_refused(tmp_path: Path) -> None:
    tar = packed(tmp_path / "x.tar", {"a": b"12345"})
    with pytest.raises(ValueError, match="5 bytes are too many"):
        tars.read_member(tar, "a", limit=4)
