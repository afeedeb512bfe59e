"""The model card says what the files of a folder say, and the hub can read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fbnetv5.base.origin import Origin
from fbnetv5.base.types import TargetKind
from fbnetv5.base.weights import WEIGHTS, digest_of
from fbnetv5.model.card import CARD, MARKER, PIPELINES, card, write_card
from fbnetv5.model.exports import EXPORTED
from tests.model.test_task_net import build


def training(folder: Path, **metrics: float) -> Path:
    """What a training and an export leave that a card shows."""
    (folder / "export").mkdir(parents=True)
    config = {"data": {"root": "/home/ada/pets"}, "train": {"teacher": {"model": "/home/ada/big"}}}
    (folder / "metrics.json").write_text(json.dumps({"metrics": {"AP/a": 1.0, **metrics}, "config": config}))
    rated = {"main": "AP", "exported": {"AP": 0.29}, "drop_in_points": 1.25}
    common = {"runtime": "executorch", "num_bytes": 1_230_000, "input": {"shape": [1, 3, 64, 96]}}
    for name, more in {"fp32": {}, "int8": {"metrics": rated, "milliseconds": 12.3}}.items():
        (folder / "export" / f"model_{name}.pte.json").write_text(json.dumps({**common, "precision": name, **more}))
    (folder / "export" / "notes.json").write_text("[]")
    return folder


def front(text: str) -> dict:
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_front_matter_is_that_of_the_hub(tmp_path):
    model = build("det")
    model.origin = Origin("timm's pretrained efficientnet_lite0", "apache-2.0")
    head = front(card(model, training(tmp_path, AP=0.3, num_images=20), place="hf://ada/pets-det"))
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == (
        "apache-2.0",
        "fbnetv5",
        "object-detection",
    )
    assert "fbnetv5" in head["tags"]
    assert head["metrics"] == ["AP"]
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    assert (entry["name"], result["dataset"]["name"]) == ("pets-det", "pets")
    assert result["metrics"] == [{"type": "AP", "name": "AP", "value": 0.3}]
    huggingface_hub = pytest.importorskip("huggingface_hub")
    huggingface_hub.ModelCardData(**head)


def test_the_text_has_metrics_costs_exports_and_origin(tmp_path):
    model = build("det")
    model.origin = Origin("timm's pretrained x", "apache-2.0")
    text = card(model, training(tmp_path, AP=0.3), place="hf://ada/pets-det")
    cost = model.cost()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    for row in (
        ["multiply-adds", f"{cost.macs / 1e6:,.1f} M at 64x96"],
        ["parameters", f"{cost.params / 1e6:,.2f} M"],
        ["trained on", "pets"],
        ["taught by", "big"],
        ["first weights", "timm's pretrained x"],
        ["licence of the first weights", "apache-2.0"],
        ["AP", "0.3"],
        ["model_int8.pte", "executorch", "int8", "1.23", "64x96", "AP 0.29", "1.25", "12.30"],
        ["model_fp32.pte", "executorch", "fp32", "1.23", "64x96", "", "", ""],
    ):
        assert row in rows
    assert 'fbnetv5.load("hf://ada/pets-det")' in text
    assert "/home" not in text
    assert "AP/a" not in text


def test_files_that_were_made_of_other_weights_are_not_those_of_this_model(tmp_path):
    folder = training(tmp_path, AP=0.3)
    (folder / WEIGHTS).write_bytes(b"these")
    for weights, shown in ((digest_of(folder / WEIGHTS), {"model_fp32.pte"}), ("others", set())):
        (folder / "export" / EXPORTED).write_text(json.dumps({"weights": weights, "files": ["model_fp32.pte"]}))
        text = card(build("det"), folder, place="mine")
        assert {name for name in ("model_fp32.pte", "model_int8.pte") if name in text} == shown


def test_what_nothing_says_is_not_invented():
    text = card(build("cls"), None, place="mine")
    assert front(text).keys() == {"library_name", "pipeline_tag", "tags"}
    assert "| trained on | not stated |" in text
    assert "validation" not in text
    assert "Exported" not in text
    assert front(card(build("cls"), None, place="mine", license="mit"))["license"] == "mit"
    assert PIPELINES.keys() == set(TargetKind)


def test_names_of_classes_stay_in_their_cells():
    text = card(build("cls", classes=("a|b\nc", "<script>", "---")), None, place="mine")
    assert "3 classes: a\\|b c, &lt;script>, ---" in text
    assert front(text)["library_name"] == "fbnetv5"


def test_a_card_that_a_person_has_edited_stays(tmp_path):
    model, file = build("cls"), tmp_path / CARD
    write_card(model, tmp_path)
    assert MARKER in file.read_text()
    write_card(model, training(tmp_path, top1=0.5))
    assert "| top1 | 0.5 |" in file.read_text()
    assert front(file.read_text())["metrics"] == ["accuracy"]
    file.write_text("mine")
    write_card(model, tmp_path)
    assert file.read_text() == "mine"
