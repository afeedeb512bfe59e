"""An index of webdataset's shards."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fbnetv5.data.index import Index, IndexSource
from tests.data.test_tars import packed
from tests.processes import run, script

ROOT = Path(__file__).parents[2]


def prepare(root: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "datasets" / "prepare_webdataset.py", root, "train-*.tar", "train.parquet", *options)


def encoded(kind: str, value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3) if kind == "JPEG" else (6, 8), value, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    image, mask = encoded("JPEG", 90), encoded("PNG", 1)
    packed(tmp_path / "train-0.tar", {"0.jpg": image, "0.cls": b"1\n", "0.seg.png": mask, "0.json": b'{"label": 0}'})
    packed(tmp_path / "train-1.tar", {"n/0.jpeg": image, "n/0.json": b'{"label": "dog"}', "n/1.JPG": image})
    for name in ("classes", "parts"):
        (tmp_path / f"{name}.txt").write_text("cat\ndog\nfox\n")
    return tmp_path


def test_samples_become_rows(root: Path) -> None:
    done = prepare(root, "--classes", root / "classes.txt", "--masks", "seg.png", "--mask-classes", root / "parts.txt")
    assert done.returncode == 0, done.stderr
    assert "3 images of 2 shards, 2 with label, 1 with segmentation" in done.stdout
    source = IndexSource(Index.read(root / "train.parquet", root), root)
    assert source.classes == {"label": ("cat", "dog", "fox"), "segmentation": ("cat", "dog", "fox")}
    samples = [source.load(number) for number in range(3)]
    assert [sample.name for sample in samples] == ["train-0.tar/0.jpg", "train-1.tar/n/0.jpeg", "train-1.tar/n/1.JPG"]
    assert [sample.target.get("label") for sample in samples] == [1, 1, None]
    assert samples[0].target["segmentation"].unique().tolist() == [1]
    assert all("segmentation" not in sample.target for sample in samples[1:])


def test_classes_without_names_are_called_as_numbers(root: Path) -> None:
    packed(root / "train-1.tar", {"1.jpg": encoded("JPEG", 0), "1.json": b'{"label": 9, "id": 3}'})
    assert "several images (0.jpg, 0.seg.png)" in prepare(root).stderr
    packed(root / "train-0.tar", {"0.jpg": encoded("JPEG", 0)})
    assert prepare(root, "--label", "id").returncode == 0
    assert Index.read(root / "train.parquet").classes == {"label": ("0", "1", "2", "3")}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("0.cls", b"3", "'3' is no class (0 to 2)"),
        ("0.cls", b"-1", "'-1' is no class"),
        ("0.cls", b"dgo", "did you mean 'dog'?"),
        ("0.cls", b"9" * 5000, "is no class"),
        ("0.cls", b"\xff", "can't decode"),
        ("0.cls", b"1" * (2**18 + 1), "bytes are too many"),
        ("0.json", b'{"label": [1]}', "'label' should be a class, not a list"),
        ("0.json", b"[" * 20000, "it nests too deep"),
        ("../0.json", b"{}", "leaves it"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(root: Path, name: str, content: bytes, said: str) -> None:
    packed(root / "train-1.tar", {"0.jpg": encoded("JPEG", 0), name: content})
    result = prepare(
        root, "--classes", root / "classes.txt", "--masks", "seg.png", "--mask-classes", root / "parts.txt"
    )
    assert result.returncode == 1
    assert f"error: {root / 'train-1.tar'}" in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (root / "train.parquet").exists()


@pytest.mark.parametrize(("value", "is_sound"), [(b"2", True), (b"1", False)])
def test_a_number_that_is_a_name_and_another_classs_id_is_refused(root: Path, value: bytes, is_sound: bool) -> None:
    (root / "classes.txt").write_text("1\n10\n2\n")  # 2 is the third name, and the third id
    packed(root / "train-0.tar", {"0.jpg": encoded("JPEG", 0), "0.cls": value})
    (root / "train-1.tar").unlink()
    result = prepare(root, "--classes", root / "classes.txt")
    assert (result.returncode == 0) == is_sound
    assert ("'1' may be class 1 or the one of that name, 0" in result.stderr) != is_sound
