"""How a project rides on the core: a job, keys and a network of its own, without a line in the core that names it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn

import fbnetv5
import fbnetv5.projects
from fbnetv5.archs.cost import measured_macs
from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import main, run_job
from fbnetv5.config.identity import identity
from fbnetv5.config.option import option
from fbnetv5.config.read import load_config, read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.d2.rcnn_config import to_config
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.folder import save_model
from fbnetv5.model.task_net import ModelSpec, build_model
from fbnetv5.report.html import write_report
from tests.report.pages import Page

HERE = __name__
HEAD = {"_target_": "fbnetv5.heads.classifier.Classifier", "hidden_channels": 8, "path": 1}


class TinyNet(nn.Module):
    """Features on paths 0 and 1, of strides 4 and 8; its widths stand in a file, or in the options."""

    def __init__(self, widths: str | list[int], *, kernel: int = 3) -> None:
        super().__init__()
        self.widths = yaml.safe_load(Path(widths).read_text()) if isinstance(widths, str) else widths
        self.kernel = kernel
        first, second = self.widths
        self.channels = (first, second, 0, 0)
        self.stem = nn.Sequential(nn.Conv2d(3, first, 4, 4, bias=False), nn.BatchNorm2d(first))
        self.deeper = nn.Conv2d(first, second, kernel, 2, kernel // 2)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        features = self.stem(images)
        return {0: features, 1: self.deeper(features)}

    def resolved_options(self) -> dict[str, Any]:
        return {"widths": self.widths, "kernel": self.kernel}


class CountedNet(TinyNet):
    """One that states its MACs, which it counts in its own way."""

    def macs(self, size: tuple[int, int]) -> int:
        return 1000 * size[0] + size[1]


class ShapelessNet(nn.Module):
    """No network: it does not say what it returns."""


class OpaqueNet(TinyNet):
    """A network whose options JSON does not have."""

    def resolved_options(self) -> dict[str, Any]:
        return {"widths": self.widths, "kernel": torch.nn.ReLU}


@dataclass
class NestedConfig:
    depth: int = option(1, "how deep")


@dataclass
class ProjectConfig:
    rate: float = option(0.5, "a rate")
    spaces: list[str] = option(list, "names")
    nested: NestedConfig = option(NestedConfig, "a node")


def run(config: RunConfig, folder: Path) -> None:
    """A job of a project: it writes what it was told."""
    project = read_project(config.project, ProjectConfig)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "told.json").write_text(json.dumps([project.rate, project.spaces, project.nested.depth]))


@pytest.fixture(autouse=True)
def clean_hydra(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_net.py"])
    yield
    GlobalHydra.instance().clear()


def network(name: str = "TinyNet", **options: Any) -> dict[str, Any]:
    return {"_target_": f"{HERE}.{name}", "widths": [4, 8], **options}


def spec(entry: dict[str, Any], **changes: Any) -> ModelSpec:
    given = {"family": None, "topology": None, "head": HEAD, "classes": ("a", "b"), "network": entry, **changes}
    return ModelSpec(input=InputSpec(short_side=32, crop=32), **given)


def config_file(folder: Path, **keys: Any) -> Path:
    defaults = {"defaults": ["/fbnetv5/schema", "_self_"], "name": "mine", "output": str(folder / "run")}
    (folder / "mine.yaml").write_text(yaml.safe_dump(defaults | keys))
    return folder / "mine.yaml"


def training(folder: Path, *overrides: str) -> RunConfig:
    """Two steps on the shapes data set."""
    (folder / "widths.yaml").write_text("[4, 8]")
    file = config_file(
        folder,
        job="train",
        model={"network": network(widths=str(folder / "widths.yaml")), "head": HEAD},
        data={"shapes": {"num_images": 8, "num_val_images": 4, "size": 32}, "short_side": 32, "crop": 32},
        train={"steps": 2, "batch_size": 4, "ema": 0.5},
        runtime={"device": "cpu", "workers": 0},
    )
    return load_config(file, overrides)


def test_a_network_of_a_project_is_trained_saved_loaded_and_evaluated(tmp_path, capsys):
    run_job(training(tmp_path))
    folder = tmp_path / "run"
    assert "train Classifier on TinyNet: " in capsys.readouterr().err
    described = json.loads((folder / "config.json").read_text())
    assert described["network"] == network(kernel=3)  # the contents of the file, not its name
    assert described["format"] == 1
    assert not {"family", "topology"} & described.keys()
    (tmp_path / "widths.yaml").unlink()
    with pytest.raises(InputError, match=r"TinyNet .*trust_code=True"):
        fbnetv5.load(folder)
    model = fbnetv5.load(folder, trust_code=True)
    assert model.spec.network == network(kernel=3)
    report = json.loads((folder / "metrics.json").read_text())
    assert report["model"]["network"] == f"{HERE}.TinyNet"
    assert report["model"]["macs"] == model.cost().macs > 0
    page = write_report(folder).read_text()
    assert "TinyNet" in page
    assert not any("family" in texts for texts in Page(page).texts.values())

    evaluation = [f"evaluate.model={folder}", f"output={tmp_path / 'evaluated'}", "job=evaluate"]
    with pytest.raises(InputError, match=r"evaluate\.trust_code=true"):
        run_job(load_config(folder / "config.yaml", evaluation))
    run_job(load_config(folder / "config.yaml", [*evaluation, "evaluate.trust_code=true"]))
    assert json.loads((tmp_path / "evaluated" / "metrics.json").read_text())["metrics"] == report["metrics"]

    export = [f"export.model={folder}", "export.formats=[torchscript]", f"output={tmp_path / 'exported'}", "job=export"]
    with pytest.raises(InputError, match=r"evaluate\.trust_code=true"):
        run_job(load_config(folder / "config.yaml", export))
    run_job(load_config(folder / "config.yaml", [*export, "evaluate.trust_code=true"]))


def test_first_weights_of_a_network_load_by_name(tmp_path):
    run_job(training(tmp_path))
    weights = tmp_path / "run" / "model.safetensors"
    run_job(training(tmp_path, f"model.weights={weights}", "optimizer.backbone_factor=0", f"output={tmp_path / 'on'}"))
    first, second = (fbnetv5.load(tmp_path / name, trust_code=True) for name in ("run", "on"))
    pairs = [(name, p, q) for (name, p), q in zip(first.named_parameters(), second.parameters(), strict=True)]
    assert all(torch.equal(p, q) for name, p, q in pairs if name.startswith("network."))
    assert any(not torch.equal(p, q) for name, p, q in pairs if name.startswith("head."))


def test_macs_are_measured_where_the_network_does_not_state_them():
    model, counted = build_model(spec(network())), build_model(spec(network("CountedNet")))
    images = torch.zeros(1, 3, 32, 64)
    of_network = 4 * 3 * 16 * (8 * 16) + 8 * 4 * 9 * (4 * 8)
    assert measured_macs(model.get_submodule("network"), images) == of_network
    of_head = model.cost((32, 64)).macs - of_network
    assert of_head > 0
    assert counted.cost((32, 64)).macs == 1000 * 32 + 64 + of_head
    assert model.cost().params == sum(parameter.numel() for parameter in model.parameters())


def test_the_projects_of_this_repository_are_trusted_and_others_of_that_name_are_not(tmp_path, monkeypatch):
    model = build_model(spec(network()))
    mine = network() | {"_target_": "fbnetv5.projects.mine.TinyNet"}
    save_model(tmp_path, model, replace(model.spec, network=mine))
    with pytest.raises(InputError, match=r"projects\.mine\.TinyNet cannot be imported"):  # was tried
        fbnetv5.load(tmp_path)
    save_model(tmp_path, model, replace(model.spec, network=mine | {"_target_": "fbnetv5.projects.nn.Identity"}))
    monkeypatch.setattr("fbnetv5.projects.nn", nn, raising=False)
    with pytest.raises(InputError, match=r"projects\.nn\.Identity is no module of fbnetv5"):  # but torch's
        fbnetv5.load(tmp_path)

    save_model(tmp_path, model, replace(model.spec, network=mine | {"_target_": "projects.mine.TinyNet"}))
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "__init__.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "projects", raising=False)
    with pytest.raises(InputError, match="is no class of fbnetv5"):
        fbnetv5.load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (network("ShapelessNet"), r"model\.network\.widths"),
        ({"_target_": f"{HERE}.ShapelessNet"}, "ShapelessNet is no network: its 'channels'"),
        ({"_target_": "pathlib.Path"}, r"pathlib\.Path"),
        ({"_target_": f"{HERE}.TynyNet"}, r"model\.network\._target_=.*TynyNet"),
        ({"widths": [4, 8]}, r"model\.network has no _target_"),
        (network(kernl=3), r"model\.network\.kernl"),
        (network(kernel=1.5), r"model\.network\.kernel=1\.5"),
        (network("OpaqueNet"), r"model\.network: its options"),
    ],
)
def test_what_is_no_network_is_refused(entry, message):
    with pytest.raises(InputError, match=message):
        build_model(spec(entry))


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="TinyNet returns paths 0, 1, the head"):
        build_model(spec(network(), head={**HEAD, "path": 3}))
    with pytest.raises(InputError, match="TinyNet returns paths 0, 1, the head MeanHead"):
        build_model(spec(network(), head={"_target_": "tests.model.test_task_net.MeanHead"}))
    with pytest.raises(InputError, match="this model's is TinyNet"):
        to_config(spec(network(), head={"_target_": "fbnetv5.heads.lite_rcnn.LiteRCNN"}), topology="", weights="")
    with pytest.raises(InputError, match="a family and a topology, or another network; give one of the two"):
        spec(network(), family="A")
    with pytest.raises(InputError, match="there is none of the two"):
        spec(None, family="A")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.topology=fpn", r"model\.topology=fpn"),
        ("model.trunk_weights=timm", r"model\.trunk_weights=timm"),
        ("model.network=null", r"model\.network: field 'model\.network'"),
        ("model.network.kernl=5", r"model\.network\.kernl"),
        ("job=fbnetv5.projects.fna.serch.run", r"projects\.fna\.serch\.run"),
        (f"job={HERE}.rum", r"test_project\.rum"),
        (f"job={HERE}.TinyNet", "is a type, not a function"),
        ("job=trian", "job=trian"),
    ],
)
def test_what_a_config_gets_wrong_is_one_sentence(tmp_path, override, message):
    with pytest.raises(InputError, match=message) as caught:
        run_job(training(tmp_path, override))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_job_of_a_project_runs_and_is_swept_from_the_command_line(tmp_path):
    file = config_file(tmp_path, job=f"{HERE}.run", project={"spaces": ["a"], "rate": 2})
    main([f"--config={file}", "project.nested.depth=3"])
    assert json.loads((tmp_path / "run" / "told.json").read_text()) == [2.0, ["a"], 3]
    main([f"--config={file}", "--multirun", "project.rate=3,4", f"output={tmp_path / 'swept'}"])
    assert sorted(json.loads(told.read_text())[0] for told in tmp_path.glob("swept/*/told.json")) == [3.0, 4.0]


def test_a_project_says_which_keys_it_has(tmp_path):
    assert read_project({}, ProjectConfig) == ProjectConfig(rate=0.5, spaces=[], nested=NestedConfig(1))
    for node, message in (
        ({"raet": 1}, "unknown key 'project.raet'; did you mean 'project.rate'?"),
        ({"nested": {"dept": 1}}, "unknown key 'project.nested.dept'; did you mean 'project.nested.depth'?"),
        ({"rate": "fast"}, "project.rate: Value 'fast' of type 'str' could not be converted to Float"),
        ({"spaces": 3}, "project.spaces: "),
    ):
        with pytest.raises(InputError) as caught:
            read_project(node, ProjectConfig)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
    file = config_file(tmp_path, project={"rate": 1})
    assert identity(load_config(file))["project.rate"] == 1  # a resumed run has to share it
