"""Loggers: what they get, that a resumed run goes on in the same place, and what is said where they are not there."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.cli import launch
from fbnetv5.config.read import find_config
from fbnetv5.config.schema import RunConfig, RuntimeConfig
from fbnetv5.engine.log import RunLog
from fbnetv5.engine.loggers.logger import LOGGERS, check_loggers, known_run, open_loggers
from fbnetv5.engine.loggers.to_mlflow import REFUSED
from fbnetv5.engine.trainer import train
from tests.engine.loggers.services import FakeMlflow, FakeWandb, stand_in
from tests.engine.test_trainer import Interrupted, Walk


@pytest.fixture
def services(monkeypatch) -> tuple[FakeWandb, FakeMlflow]:
    return stand_in(monkeypatch)


def logged(walk: Walk, *names: str) -> Walk:
    walk.config.runtime.loggers = list(names)
    return walk


def test_services_get_the_numbers_of_every_record_and_evaluation(services, tmp_path):
    wandb, mlflow = services
    train(logged(Walk(steps=3), "wandb", "mlflow"), tmp_path)
    (run,) = wandb.runs.values()
    losses = [(one["step"], one["loss"]) for one in run.logged if "loss" in one]
    assert losses == [(1, 0), (2, 1), (3, 3)]
    assert [one for one in run.logged if "val/sum" in one] == [{"val/sum": 1.0, "step": 2}]
    assert (run.axes, run.ends) == ([("*", "step")], [0])
    (given,) = wandb.given
    assert (given["name"], given["id"], given["config"]["search.steps"]) == ("walk", None, 3)
    assert Path(given["dir"]).is_relative_to(tmp_path)
    (theirs,) = mlflow.runs.values()
    assert [metric[::2] for metric in theirs.metrics if metric[1] == "loss"] == losses
    assert (2, "val/sum", 1.0) in theirs.metrics
    assert (theirs.name, theirs.experiment, theirs.status) == ("walk", "experiment fbnetv5", ["RUNNING", "FINISHED"])
    assert theirs.params["search.steps"] == "3"
    assert not (tmp_path / "tensorboard").exists()


def test_a_resumed_run_goes_on_in_the_same_run_of_a_service(services, tmp_path):
    wandb, mlflow = services
    with pytest.raises(KeyboardInterrupt):
        train(logged(Interrupted(), "wandb", "mlflow"), tmp_path)
    assert [run.ends for run in wandb.runs.values()] == [[1]]
    train(logged(Walk(resume=True), "wandb", "mlflow"), tmp_path)
    (name,), (run,) = wandb.runs, wandb.runs.values()
    assert known_run(tmp_path, "wandb") == name == wandb.given[1]["id"]
    assert [one["step"] for one in run.logged if "loss" in one] == [1, 2, 3, 4, 5, 5, 6]  # 5 was not saved
    assert len({one["loss"] for one in run.logged if one["step"] == 5 and "loss" in one}) == 1
    assert run.ends == [1, 0]
    (theirs,) = mlflow.runs.values()
    assert theirs.status == ["RUNNING", "FAILED", "RUNNING", "FINISHED"]
    train(logged(Walk(), "wandb"), tmp_path / "another")
    assert len(wandb.runs) == 2


def test_rank_0_alone_logs(services):
    log = RunLog(None, num_steps=1, batch_size=1, every=1)
    log.add({"loss": 1.0})
    log.record(1)
    log.evaluation(1, {"top1": 1.0})
    log.close()
    assert services[0].runs == services[1].runs == {}


def test_a_service_that_does_not_answer_ends_no_training(services, tmp_path, capsys):
    (logger,) = open_loggers(RunConfig(name="x", runtime=RuntimeConfig(loggers=["mlflow"])), tmp_path)
    services[1].silent = True
    for step in (1, 2):
        logger.log(step, {"loss": 1.0})
    assert capsys.readouterr().err == "warning: mlflow does not take all numbers: no answer\n"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_that_refuses_a_run_says_so_in_a_line(services, tmp_path, monkeypatch, name):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no key\nis there")

    monkeypatch.setattr(services[0], "init", refuse)
    monkeypatch.setattr(services[1], "create_run", refuse)
    config = RunConfig(name="x", runtime=RuntimeConfig(loggers=[name]))
    with pytest.raises(InputError, match=f"{name} cannot start: no key is there; .*leave it out"):
        open_loggers(config, tmp_path)


def test_what_is_misspelt_or_not_installed_is_told_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match="wanbd is none of tensorboard, wandb, mlflow; did you mean 'wandb'"):
        check_loggers(["tensorboard", "wanbd"])
    file = find_config("quickstart")
    assert file is not None
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        launch.launch(file, ["runtime.loggers=[mlflow]", "output=runs/x"])
    assert capsys.readouterr().err == (
        "error: runtime.loggers: mlflow is not installed: pip install --editable '.[mlflow]', or leave it out\n"
    )
    assert list(tmp_path.iterdir()) == []
    config = find_config("evaluate")
    assert config is not None
    assert launch.startable(config, ["runtime.loggers=[mlflow]", f"output={tmp_path}"]).job == "evaluate"


def test_a_folder_of_the_services_name_is_no_package(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "wandb").mkdir()
    with pytest.raises(InputError, match="wandb is not installed"):
        check_loggers(["wandb"])


def test_names_of_classes_become_names_of_metrics():
    assert REFUSED.sub("_", "val/AP/person (rider), größe") == "val/AP/person _rider__ größe"
    assert list(LOGGERS) == ["tensorboard", "wandb", "mlflow"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_itself(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(KeyboardInterrupt):
        train(logged(Interrupted(), "mlflow"), tmp_path / "run")
    train(logged(Walk(resume=True), "mlflow"), tmp_path / "run")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("fbnetv5")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["search.steps"] == "6"
    assert {one.step: one.value for one in client.get_metric_history(run.info.run_id, "loss")}[6] == 15


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with pytest.raises(KeyboardInterrupt):
        train(logged(Interrupted(), "wandb"), tmp_path)
    known = known_run(tmp_path, "wandb")
    train(logged(Walk(resume=True), "wandb"), tmp_path)
    assert known_run(tmp_path, "wandb") == known
    written = [path.name for path in (tmp_path / "loggers" / "wandb").glob("offline-run-*")]
    assert written
    assert all(name.endswith(f"-{known}") for name in written)
    assert os.environ["WANDB_MODE"] == "offline"
