"""Trained models on disk: what is read is what was written, and what is damaged or foreign is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fbnetv5
from fbnetv5.base.errors import InputError
from fbnetv5.model.folder import save_model
from tests.model.test_task_net import build, picture, spec_of


def saved(folder: Path, task: str = "cls") -> Path:
    model = build(task)
    save_model(folder, model, model.spec)
    return folder


def edited(folder: Path, **changes: object) -> Path:
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(document | changes))
    return folder


@pytest.mark.parametrize("task", ["cls", "det", "seg"])
@pytest.mark.parametrize("name", ["", "config.json"])
def test_a_model_survives_the_disk(tmp_path, task, name):
    folder = saved(tmp_path / "model", task)
    loaded = fbnetv5.load(folder / name)
    model = build(task)
    assert not loaded.training
    assert loaded.spec == spec_of(task)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in model.state_dict().items())
    assert str(loaded.predict_tensors(picture())) == str(model.predict_tensors(picture()))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_state_dict_is_saved_as_well(tmp_path):
    state = {name: torch.ones_like(tensor) for name, tensor in build("cls").state_dict().items()}
    save_model(tmp_path, state, spec_of("cls"))
    assert all(tensor.eq(1).all() for tensor in fbnetv5.load(tmp_path).state_dict().values())


def test_config_says_what_is_inside(tmp_path):
    document = json.loads((saved(tmp_path) / "config.json").read_text())
    assert document["format"] == 1
    assert document["fbnetv5"] == fbnetv5.__version__
    assert document["topology"] == {
        "num_stages": 2,
        "blocks": [[1, 0], [1, 2], [2, 1], [2, 3]],
        "outputs": [0, 1, 2, 3],
    }
    assert document["classes"] == ["a", "b", "c"]


def test_importing_the_package_stays_light():
    code = "import sys, fbnetv5; assert callable(fbnetv5.load); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


STRANGE = "import pathlib\npathlib.Path('ran').touch()\nfrom fbnetv5.heads.classifier import Classifier\n"


@pytest.mark.parametrize("target", ["strange.Classifier", "os.system", "fbnetv5strange.Classifier", 3, None])
def test_a_strangers_code_does_not_run(tmp_path, monkeypatch, target):
    folder = edited(saved(tmp_path / "model"), head={"_target_": target})
    (tmp_path / "strange.py").write_text(STRANGE)
    (tmp_path / "fbnetv5strange.py").write_text(STRANGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"config\.json: .*trust_code=True"):
        fbnetv5.load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "target",
    [
        "fbnetv5.model.task_net.nn.Identity",
        "fbnetv5.base.files.tempfile.NamedTemporaryFile",
        "fbnetv5.model.task_net.ModelSpec",
        "fbnetv5.engine.checkpoint.save_weights",
    ],
)
def test_only_modules_of_this_package_are_heads(tmp_path, target):
    folder = edited(saved(tmp_path), head={"_target_": target})
    with pytest.raises(InputError, match=r"no module of fbnetv5|cannot be imported"):
        fbnetv5.load(folder)


def test_code_that_is_trusted_is_used(tmp_path):
    model = build("cls", head={"_target_": "tests.model.test_task_net.MeanHead"})
    save_model(tmp_path, model, model.spec)
    with pytest.raises(InputError, match="no class of fbnetv5"):
        fbnetv5.load(tmp_path)
    assert type(fbnetv5.load(tmp_path, trust_code=True).head).__name__ == "MeanHead"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3, "fbnetv5": "9.9"}, "is of format 3, written by fbnetv5 9.9"),
        ({"format": None}, "no 'format'"),
        ({"family": None}, "'family' is missing or no str"),
        ({"family": "B2"}, "unknown family 'B2'"),
        ({"topology": {"num_stages": 1, "blocks": [[2, 0]], "outputs": [3]}}, "stage 2 is out of range"),
        ({"topology": {"num_stages": 1, "blocks": [[1]], "outputs": [3]}}, "list of \\[stage, path\\]"),
        ({"topology": {"num_stages": 1, "blocks": [], "outputs": 3}}, "outputs a list of integers"),
        ({"head": {"_target_": "fbnetv5.heads.classifier.Classifer"}}, "cannot be imported"),
        (
            {"head": {"_target_": "fbnetv5.heads.classifier.MBPoolClassifier"}},
            "MBPoolClassifier is no head: it has no 'target'",
        ),
        (
            {"head": {"_target_": "fbnetv5.heads.classifier.Classifier", "hidden_channels": -1}},
            "model.head.hidden_channels=-1 should be above 0",
        ),
        ({"input": {"short_side": "big"}}, "input"),
        ({"classes": ["a", "b"]}, r"classify\.weight"),
        ({"family": "A"}, r"model\.safetensors does not fit the model: .* and more"),
        ({"topology": {"num_stages": 2, "blocks": [[1, 0]], "outputs": [3]}}, "s1_p0.* is not in the model"),
    ],
)
def test_files_that_do_not_fit_are_one_line(tmp_path, changes, message):
    folder = edited(saved(tmp_path), **changes)
    with pytest.raises(InputError, match=message) as caught:
        fbnetv5.load(folder)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "absent", "garbage"])
def test_damaged_files_are_named(tmp_path, name, damage):
    path = saved(tmp_path) / name
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20] if damage == "cut" else b"\xff\x00garbage")
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
        fbnetv5.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b", "a"]}, "'classes' name 'a' twice"),
        ({"classes": ["a", "b", 3]}, "'classes' should be a list of names"),
        ({"topology": {"num_stages": 10**6, "blocks": [], "outputs": [3]}}, "num_stages is 1000000"),
    ],
)
def test_what_a_model_cannot_be_is_refused_at_once(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"config.json: .*{message}"):
        fbnetv5.load(edited(saved(tmp_path), **changes))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_predict_nothing(tmp_path, value):
    state = build("cls").state_dict()
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name].view(-1)[0] = value
    save_model(tmp_path, state, spec_of("cls"))
    with pytest.raises(InputError, match=f"model.safetensors: '{name}' holds values that are infinite or no numbers"):
        fbnetv5.load(tmp_path)


def test_a_file_that_an_option_names_is_not_shown(tmp_path):
    (tmp_path / "secret.yaml").write_text("root:x:0:0\n")
    saved(tmp_path / "model")
    document = json.loads((tmp_path / "model" / "config.json").read_text())
    del document["family"], document["topology"]
    network = {"_target_": "fbnetv5.projects.fna.network.FNANetwork", "architecture": str(tmp_path / "secret.yaml")}
    (tmp_path / "model" / "config.json").write_text(json.dumps(document | {"network": network}))
    with pytest.raises(InputError) as caught:
        fbnetv5.load(tmp_path / "model")
    assert "secret.yaml" in str(caught.value)
    assert "x:0:0" not in str(caught.value)
