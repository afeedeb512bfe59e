"""Stand-ins of wandb and mlflow: modules that keep what they are given."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class FakeWandb(ModuleType):
    """``wandb.init`` gives a run that keeps what is logged; a known id goes on with the run of that id."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None, origin="stand-in")
        self.runs: dict[str, SimpleNamespace] = {}
        self.given: list[dict[str, Any]] = []

    def init(self, **given: Any) -> SimpleNamespace:
        self.given.append(given)
        name = given["id"] or f"id{len(self.runs)}"
        if name not in self.runs:
            logged, axes, ends = [], [], []
            self.runs[name] = SimpleNamespace(
                id=name,
                logged=logged,
                axes=axes,
                ends=ends,
                log=logged.append,
                define_metric=lambda glob, step_metric: axes.append((glob, step_metric)),
                finish=lambda exit_code: ends.append(exit_code),
            )
        return self.runs[name]


class FakeMlflow(ModuleType):
    """``mlflow.MlflowClient`` over a dictionary of runs."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None, origin="stand-in")
        self.entities = SimpleNamespace(
            Metric=lambda key, value, timestamp, step: (step, key, value), Param=lambda key, value: (key, value)
        )
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, SimpleNamespace] = {}
        self.silent = False

    def MlflowClient(self) -> FakeMlflow:  # noqa: N802
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = f"experiment {name}"
        return self.experiments[name]

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        name = f"run{len(self.runs)}"
        self.runs[name] = SimpleNamespace(
            experiment=experiment, name=run_name, metrics=[], params={}, status=["RUNNING"]
        )
        return SimpleNamespace(info=SimpleNamespace(run_id=name))

    def update_run(self, run: str, status: str) -> None:
        self.runs[run].status.append(status)

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        if self.silent:
            raise ConnectionError("no answer\nat all")
        assert len(params) <= 100
        self.runs[run].metrics += metrics
        self.runs[run].params |= dict(params)

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run].status.append(status)


def stand_in(patch: pytest.MonkeyPatch) -> tuple[FakeWandb, FakeMlflow]:
    """Put both in the place of the real ones."""
    wandb, mlflow = FakeWandb(), FakeMlflow()
    for module in (wandb, mlflow):
        patch.setitem(sys.modules, module.__name__, module)
    return wandb, mlflow
