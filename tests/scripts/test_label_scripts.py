"""The scripts around labelling: shapes as files, labels against the truth, and the benchmark."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION
from fbnetv5.data.build import build_index
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.shapes import ShapesSource
from scripts import compare_labels, make_shapes
from tests.jobs.runs import ROOT
from tests.on_request import ON_REQUEST
from tests.processes import run, script


def test_shapes_on_disk_are_those_of_the_world(tmp_path):
    folder = tmp_path / "shapes"
    make_shapes.main([str(folder), "--num", "5", "--size", "48"])
    truth = ShapesSource(5, 48, 0, first=make_shapes.FIRST)
    kept = IndexSource(Index.read(folder / "index.parquet"), folder, images=folder / "images")
    built = IndexSource(
        build_index(
            folder,
            "images",
            labels="labels.csv",
            boxes="instances.json",
            masks="masks",
            label_classes=truth.classes["label"],
            mask_classes=truth.classes["segmentation"],
        ),
        folder,
    )
    for source in (kept, built):
        assert source.classes == truth.classes
        for row in range(5):
            sample, expected = source.load(row), truth.load(row)
            assert torch.equal(sample.image, expected.image)
            assert sample.target["label"] == expected.target["label"]
            for key in ("boxes", "box_labels", "segmentation"):
                assert torch.equal(sample.target[key], expected.target[key])


def write_index(folder, boxes, labels, mask):
    folder.mkdir()
    Image.fromarray(np.array(mask, np.uint8)).save(folder / "mask.png")
    row = {"path": "a.png", "width": 20, "height": 20, "boxes": boxes, "box_labels": labels, "segmentation": "mask.png"}
    classes = {"label": ("x",), "boxes": ("x", "y"), "segmentation": ("x", "y")}
    Index.from_rows([row], [LABEL, BOXES, SEGMENTATION], classes, "test").write(folder / "index.parquet")


def test_labels_against_the_truth(tmp_path, capsys):
    mask = np.zeros((20, 20))
    true_boxes = [[0, 0, 10, 10], [10, 10, 20, 20], [0, 10, 10, 20]]
    write_index(tmp_path / "truth", true_boxes, [0, 1, 0], mask)
    mask[:5], mask[5:10] = 255, 1
    found = [[0, 0, 10, 6], [0, 0, 10, 9], [10, 10, 20, 20], [0, 10, 10, 14]]  # a duplicate; a wrong class; too small
    write_index(tmp_path / "labels", found, [0, 0, 0, 0], mask)
    compare_labels.main([str(tmp_path / "labels"), str(tmp_path / "truth"), "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["box_precision"] == 1 / 4
    assert figures["box_recall"] == 1 / 3
    assert figures["ignored_share"] == 1 / 4
    assert figures["mask_accuracy"] == 2 / 3


def test_labels_of_other_images_are_refused(tmp_path, capsys):
    write_index(tmp_path / "truth", [], [], np.zeros((20, 20)))
    make_shapes.main([str(tmp_path / "shapes"), "--num", "1", "--size", "32"])
    with pytest.raises(SystemExit):
        compare_labels.main([str(tmp_path / "shapes"), str(tmp_path / "truth")])
    assert "no image of" in capsys.readouterr().err


@pytest.mark.slow
@ON_REQUEST
def test_the_benchmark_measures(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path))
        result = run(script, ROOT / "scripts" / "bench_labeling.py", "--num=9", "--size=32", "--shard-size=4")
    assert result.returncode == 0, result.stderr[-3000:]
    num, seconds, speed, peak = result.stdout.splitlines()[-1].split()
    assert num == "9"
    assert float(speed) > 9 / float(seconds)
    assert float(peak) > 50
    assert list(tmp_path.iterdir()) == []
