"""A wheel away from the clone: configs, topologies and projects are in it; the command searches, trains, predicts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.on_request import ON_REQUEST

ROOT = Path(__file__).parents[1]
MY_SEARCH = """
defaults: [/search/small, _self_]
name: mine
model: {num_stages: 2}
data: {shapes: {num_images: 32, size: 64}, short_side: 64, crop: 64}
tasks:
  cls: {_target_: fbnetv5.tasks.classification.Classification}
  seg: {_target_: fbnetv5.tasks.segmentation.Segmentation}
search: {steps: 2, batch_size: 8, num_samples: 4, last_look: {candidates: 4, images: 4, finalists: 2, family: 0}}
runtime: {workers: 0}
"""
MY_MODEL = """
defaults: [/train/small, _self_]
name: my_cls
model:
  family: NANO
  topology: runs/mine/topology_cls.yaml
  head: {_target_: fbnetv5.heads.classifier.Classifier}
data: {shapes: {num_images: 32, num_val_images: 8, size: 64}, short_side: 64, crop: 64}
train: {steps: 2, batch_size: 8}
runtime: {workers: 0}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that a wheel of this version was installed to; what it needs is that of this Python."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for name in ("fbnetv5", "configs", "projects"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", f"--wheel-dir={wheels}", source], check=True)
    (wheel,) = wheels.glob("fbnetv5-*.whl")
    subprocess.run([*pip, "install", *offline, f"--target={site}", wheel], check=True)
    return site


def run(site: Path, folder: Path, *command: str) -> str:
    """Run a command in the user's folder, with the wheel in the place of the clone."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


@pytest.mark.slow
def test_the_wheel_holds_what_a_clone_has(installed):
    package = installed / "fbnetv5"
    for folder, below in (("configs", ""), ("projects", "configs"), ("projects", "architectures")):
        there = [path for path in (ROOT / folder).rglob("*.yaml") if below in str(path.parent)]
        missing = [path for path in there if not (package / path.relative_to(ROOT)).is_file()]
        assert there
        assert missing == []
    assert (package / "report" / "templates").is_dir()
    assert (package / "model" / "templates" / "card.md.jinja").is_file()
    assert not list(package.rglob("test_*.py"))


@pytest.mark.slow
def test_a_config_in_a_folder_of_ones_own_builds_on_those_of_the_wheel(installed, tmp_path):
    (tmp_path / "my_search.yaml").write_text(MY_SEARCH)
    load = "from pathlib import Path; from fbnetv5.config.read import load_config; import fbnetv5"
    show = "print(load_config(Path('my_search.yaml'), []).optimizer.momentum, fbnetv5.__file__)"
    said = run(installed, tmp_path, sys.executable, "-c", f"{load}; {show}")
    assert said.split() == ["0.9", str(installed / "fbnetv5" / "__init__.py")]


@ON_REQUEST
@pytest.mark.slow
def test_a_search_a_training_and_a_prediction_in_a_folder_of_ones_own(installed, tmp_path):
    command = str(installed / "bin" / "fbnetv5")
    where = run(installed, tmp_path, sys.executable, "-c", "import fbnetv5; print(fbnetv5.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    (tmp_path / "my_search.yaml").write_text(MY_SEARCH)
    (tmp_path / "my_cls.yaml").write_text(MY_MODEL)
    Image.new("RGB", (90, 60), (200, 100, 50)).save(tmp_path / "photo.jpg")
    run(installed, tmp_path, command, "search", "my_search.yaml", "seed=1")
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    run(installed, tmp_path, sys.executable, "-m", "fbnetv5", "train", "my_cls.yaml")
    assert 0 <= json.loads((tmp_path / "runs" / "my_cls" / "metrics.json").read_text())["metrics"]["top1"] <= 1
    run(installed, tmp_path, command, "predict", "runs/my_cls", "photo.jpg", "runtime.workers=0")
    (table,) = (tmp_path / "runs" / "my_cls" / "predict" / "photo.jpg").rglob("predictions.csv")
    assert "photo.jpg" in table.read_text()
    quickstart = ["model.topology=configs/topologies/cls.yaml", "train.steps=1", "output=runs/reference"]
    run(installed, tmp_path, command, "train", "my_cls.yaml", *quickstart)  # a topology of the program's own
    run(installed, tmp_path, command, "report", "runs/reference")
