"""Models go to the hub and come back, with a folder of this machine in the place of the hub."""

from __future__ import annotations

import json
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import fbnetv5
from fbnetv5.base.errors import InputError
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import digest_of
from fbnetv5.model.card import CARD
from fbnetv5.model.exports import EXPORTED
from fbnetv5.model.folder import save_model
from fbnetv5.model.task_net import TaskNet
from tests import documents
from tests.model.test_card import training
from tests.model.test_task_net import build, picture


class Hub:
    """``huggingface_hub`` over a folder; a repository is a folder in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, bool] = {}
        self.broken = False

    def HfApi(self) -> Hub:  # noqa: N802
        return self

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.private.setdefault(repo_id, private)

    def upload_folder(
        self, *, repo_id: str, folder_path: str, commit_message: str, path_in_repo: str = ".", allow_patterns: Any = "*"
    ) -> None:
        if self.broken:
            raise RuntimeError("401 Client Error.\nPlease log in")
        target = self.folder / repo_id / path_in_repo
        target.mkdir(parents=True, exist_ok=True)
        for file in Path(folder_path).iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, target)

    def snapshot_download(self, repo_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        return str(self.folder / repo_id)

    def stored(self, repo_id: str) -> list[str]:
        place = self.folder / repo_id
        return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    made = Hub(tmp_path / "hub")
    stand_in = SimpleNamespace(HfApi=made.HfApi, snapshot_download=made.snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    return made


def trained(folder: Path) -> TaskNet:
    model = build("cls")
    model.origin = Origin("timm's pretrained x", "apache-2.0")
    save_model(training(folder, top1=0.5), model, model.spec)
    return fbnetv5.load(folder)


def test_a_model_goes_to_the_hub_and_comes_back(hub, tmp_path):
    model = trained(tmp_path / "run")
    place = model.save_to_hub("ada/pets")
    assert place == "hf://ada/pets"
    assert hub.stored("ada/pets") == [CARD, "config.json", "model.safetensors"]
    assert hub.private == {"ada/pets": False}
    text = (hub.folder / "ada/pets" / CARD).read_text()
    assert "license: apache-2.0" in text
    assert "| top1 | 0.5 |" in text
    assert 'fbnetv5.load("hf://ada/pets")' in text
    again = fbnetv5.load(place)
    assert torch.equal(again.predict_tensors(picture()), model.predict_tensors(picture()))
    assert again.origin == model.origin
    again.save_to_hub("bob/pets", private=True)  # what the hub does not have, metrics.json, its card still says
    text = (hub.folder / "bob/pets" / CARD).read_text()
    assert "| top1 | 0.5 |" in text
    assert 'fbnetv5.load("hf://bob/pets")' in text
    assert "ada" not in text
    assert hub.private["bob/pets"]
    again.save_to_hub("eve/pets", license="mit")
    text = (hub.folder / "eve/pets" / CARD).read_text()
    assert "license: mit" in text
    assert "apache" not in text.split("---")[1]
    assert "| top1 | 0.5 |" in text


def test_exported_files_go_along_when_asked(hub, tmp_path):
    model = trained(tmp_path / "run")
    for name in ("model_fp32.pte", "model_int8.pte"):
        (tmp_path / "run" / "export" / name).write_bytes(b"x")
    model.save_to_hub("ada/pets", exports=True, license="mit")
    assert {"export/model_int8.pte", "export/model_int8.pte.json"} <= set(hub.stored("ada/pets"))
    assert not any("notes" in name or "metrics" in name for name in hub.stored("ada/pets"))
    assert "license: mit" in (hub.folder / "ada/pets" / CARD).read_text()
    exported = tmp_path / "run" / "export"
    listed = {"weights": digest_of(tmp_path / "run" / "model.safetensors"), "files": ["model_int8.pte"]}
    (exported / "model_old.onnx").write_bytes(b"of a format that was not exported again")
    (exported / EXPORTED).write_text(json.dumps(listed))
    model.save_to_hub("ada/cats", exports=True)
    assert not any("model_old" in name for name in hub.stored("ada/cats"))
    (exported / "model_int8.pte").unlink()  # as of a model that the hub gave
    with pytest.raises(InputError, match=r"export has no model_int8.pte; export again"):
        model.save_to_hub("ada/cats", exports=True)
    (exported / EXPORTED).write_text(json.dumps(listed | {"weights": "others"}))
    with pytest.raises(InputError, match="is of other weights; export again"):
        model.save_to_hub("ada/cats", exports=True)
    with pytest.raises(InputError, match="nothing is exported to a folder of the model"):
        build("cls").save_to_hub("ada/pets", exports=True)


def test_a_card_of_ones_own_is_uploaded_as_it_stands(hub, tmp_path):
    model = trained(tmp_path / "run")
    (tmp_path / "run" / CARD).write_text("my own words")
    model.save_to_hub("ada/pets")
    assert (hub.folder / "ada/pets" / CARD).read_text() == "my own words"
    model.save_to_hub("ada/pets", license="mit")
    assert (hub.folder / "ada/pets" / CARD).read_text() == "---\nlicense: mit\n---\nmy own words"
    front = "---\ntags: [x\nlicense:\n  - other\nlicense_link: there\nmodel-index: what it is\n---\n"
    (tmp_path / "run" / CARD).write_text(f"{front}my own words\n---\n")
    model.save_to_hub("ada/pets", license="mit")
    expected = "---\nlicense: mit\ntags: [x\nmodel-index: what it is\n---\nmy own words\n---\n"
    assert (hub.folder / "ada/pets" / CARD).read_text() == expected


def test_the_example_of_the_document_runs_as_it_stands(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(Path("runs/my_det"))
    names: dict[str, Any] = {}
    exec(documents.block(documents.read("docs/HUB.md"), "python", "save_to_hub"), names)
    assert names["again"].classes == names["model"].classes
    assert hub.stored("ada/my_det")


@pytest.mark.parametrize("name", ["pets", "ada/pets/x", "hf://ada/pets", ""])
def test_names_that_the_hub_does_not_have_are_refused(hub, name):
    with pytest.raises(InputError, match="is no name on the hub; it is owner/name"):
        build("cls").save_to_hub(name)


def test_what_the_hub_refuses_is_one_line(hub, monkeypatch):
    hub.broken = True
    with pytest.raises(InputError, match=r"the hub refuses ada/pets: 401 Client Error; .*logs in") as caught:
        build("cls").save_to_hub("ada/pets")
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"save_to_hub needs huggingface_hub.*\[hub\]"):
        build("cls").save_to_hub("ada/pets")


def test_only_safetensors_are_read_from_the_hub(hub, tmp_path):
    trained(tmp_path / "run").save_to_hub("ada/pets")
    (hub.folder / "ada/pets" / "model.safetensors").rename(hub.folder / "ada/pets" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"cannot read weights from .*model\.safetensors"):
        fbnetv5.load("hf://ada/pets")
