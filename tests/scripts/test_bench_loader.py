"""The benchmark of the loader, run on few images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml
from benchmarks import loaders

from tests.data.conftest import Folder
from tests.processes import run, script

ROOT = Path(__file__).parents[2]


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    return run(script, ROOT / "scripts/bench_loader.py", "--num=32", "--rounds=1", "--workers=0", *options)


def test_loaders_are_compared_on_the_same_images() -> None:
    done = bench()
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.strip().split("\n\n")
    assert [line.split("  ")[1] for line in first.splitlines()[2:]] == [loaders.OURS, loaders.PIXELS, loaders.PICTURES]
    rows = [line.split()[-4:] for line in second.splitlines()[3:]]
    assert all(float(ratio) > 0 for ratio, *_ in rows)
    assert (loaders.DETECTRON2 in second) == loaders.has_detectron2()


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    files = {"images": "images", "labels": "labels.csv", "boxes": "boxes.json", "masks": "masks"}
    keys = {"defaults": ["/search/small", "_self_"], "name": "mine"}
    data = {"root": str(folder.root), "train": files, "mask_classes": ["ground", "animal"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(keys | {"data": data}))
    done = bench("--config", tmp_path / "mine.yaml")
    assert done.returncode == 1
    assert "too few, give 32" in done.stderr
    assert "there is no such config" in bench("--config", "none").stderr
