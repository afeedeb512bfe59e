"""Runs as functions: they run what the command line runs, and return what is in the folder."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import fbnetv5
from fbnetv5.base.errors import InputError
from fbnetv5.cli import launch
from fbnetv5.config.schema import RunConfig
from fbnetv5.facade import runs
from fbnetv5.facade.results import SearchResult, TrainResult
from fbnetv5.model.folder import save_model
from tests import documents
from tests.jobs.runs import environment
from tests.model.test_task_net import build, picture
from tests.report.runs import write_search


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The configurations of the runs that were started; none of them runs."""
    monkeypatch.chdir(tmp_path)
    configs: list[RunConfig] = []
    monkeypatch.setattr(runs, "run_job", configs.append)
    for name in ("read_search", "read_training"):
        monkeypatch.setattr(runs, name, lambda folder: folder)
    return configs


def test_a_run_is_that_of_the_command(started, tmp_path):
    folder = runs.search("quickstart", "search.steps=2", output=tmp_path / "it's")
    (config,) = started
    assert (config.job, config.search.steps, config.output) == ("search", 2, str(tmp_path / "it's"))
    assert folder == tmp_path / "it's"
    runs.train("train/cls/shapes", "seed=3")
    assert (started[1].job, started[1].seed, started[1].output) == ("train", 3, "runs/shapes_cls")


@pytest.mark.parametrize(
    ("config", "key", "said"),
    [
        ("quikstart", "seed=1", "did you mean 'quickstart'?"),
        ("quickstart", "search.stepz=1", "did you mean 'search.steps'?"),
        ("quickstart", "seed=1,2", "seed has several values"),
        ("train/cls/shapes", "seed=1", "is for the job train"),
    ],
)
def test_mistakes_are_errors_of_one_line(started, config, key, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")) as caught:
        fbnetv5.search(config, key)
    assert "\n" not in str(caught.value)
    assert started == []


def test_a_search_is_read_from_its_folder(tmp_path):
    write_search(tmp_path)
    file = tmp_path / "topology_det.yaml"
    topology = fbnetv5.Topology.load(file)
    topology.save(file, {"backbone_macs": 7_000_000, "backbone_params": 5, "backbone_latency_ms": 1.5})
    found = fbnetv5.read_search(tmp_path)
    assert isinstance(found, SearchResult)
    assert list(found) == list(found.topologies) == list(found.run.get("tasks"))
    for name, task in found.items():
        assert task.file == tmp_path / f"topology_{name}.yaml"
        assert task.topology == fbnetv5.Topology.load(task.file)
        assert len(task.probabilities) == task.topology.num_stages
        assert all(len(row) == 4 for row in task.probabilities)
    assert (found["det"].macs, found["det"].params, found["det"].latency_ms) == (7_000_000, 5, 1.5)
    assert f"  det: {len(topology.blocks)} blocks, 7.0 M MACs, 1.50 ms  {file}" in repr(found).splitlines()
    assert found["cls"].look is None
    assert found.records[-1]["step"] == 60


def test_what_is_no_finished_run_of_the_kind_is_refused(tmp_path):
    for read in (fbnetv5.read_search, fbnetv5.read_training):
        with pytest.raises(InputError, match="there is no configuration"):
            read(tmp_path)
    (tmp_path / "config.yaml").write_text("job: search\ntasks: {det: {}}\n")
    with pytest.raises(InputError, match="not finished; resume=true"):
        fbnetv5.read_search(tmp_path)
    with pytest.raises(InputError, match="job=search, not a training"):
        fbnetv5.read_training(tmp_path)
    (tmp_path / "config.yaml").write_text("job: train\n")
    with pytest.raises(InputError, match="this training is not finished"):
        fbnetv5.read_training(tmp_path)
    with pytest.raises(InputError, match="job=train, not a search"):
        fbnetv5.read_search(tmp_path)


def test_a_training_is_read_from_its_folder_and_its_model_when_asked_for(tmp_path):
    model = build("cls")
    save_model(tmp_path, model, model.spec)
    (tmp_path / "config.yaml").write_text("job: train\nname: mine\n")
    (tmp_path / "metrics.json").write_text(json.dumps({"metrics": {"top1": 0.5, "top1/a": 1.0}, "model": {"macs": 7}}))
    with pytest.raises(InputError, match="this training is not finished"):
        fbnetv5.read_training(tmp_path)  # which writes its card when all else is there
    (tmp_path / "README.md").write_text("")
    trained = fbnetv5.read_training(tmp_path)
    assert isinstance(trained, TrainResult)
    assert "model" not in vars(trained)
    assert trained.metrics == {"top1": 0.5, "top1/a": 1.0}
    assert (trained.macs, trained.params) == (7, model.cost().params)
    assert trained.model is trained.model
    assert trained.model.predict(picture()).classes == ("a", "b", "c")
    assert repr(trained) == f"TrainResult of {tmp_path}\n  top1 0.5"


def test_the_package_and_its_functions_are_light():
    light = (
        "import sys, fbnetv5\nassert not {'torch', 'hydra'} & set(sys.modules); fbnetv5.load\n"
        "try:\n    fbnetv5.search('quickstart', 'search.stepz=1')\n"
        "except fbnetv5.InputError:\n    print({'torch', 'timm', 'matplotlib', 'pyarrow'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", light], check=True, env=environment(), capture_output=True, text=True
    )
    assert result.stdout == "set()\n"


def test_names_that_are_not_there_are_attribute_errors():
    assert set(fbnetv5.__all__) <= set(dir(fbnetv5))
    assert all(getattr(fbnetv5, name) is not None for name in fbnetv5.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        _ = fbnetv5.serch
    assert launch.run_job is runs.run_job


@pytest.mark.slow
def test_the_examples_of_the_document_run_as_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code in documents.blocks(documents.read("docs/PYTHON.md"), "python"):
        exec(code, names)
    assert 0 <= names["trained"].metrics["top1"] <= 1
    assert names["prediction"].name in names["model"].classes
    assert "did you mean 'search.steps'?" in capsys.readouterr().out
