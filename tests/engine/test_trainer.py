"""The trainer, on a run of one number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.types import Batch
from fbnetv5.base.weights import save_weights
from fbnetv5.config.identity import identity
from fbnetv5.config.optimizer import ScheduleConfig
from fbnetv5.config.schema import RunConfig, RuntimeConfig
from fbnetv5.config.search import SearchConfig
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.trainer import Trainable, check_duration, count_steps, train
from tests.jobs.runs import metrics


class Walk(Trainable[float]):
    """Moves one weight by the numbers that it is given; ``state`` is their sum."""

    def __init__(self, *, steps: int = 6, resume: bool = False, every: int = 2) -> None:
        runtime = RuntimeConfig(log_every=1, checkpoint_every=2)
        search = SearchConfig(steps=steps, batch_size=1)
        self.config = RunConfig(name="walk", resume=resume, search=search, runtime=runtime)
        self.world = World(rank=0, size=1, device=torch.device("cpu"))
        self.model = nn.Linear(1, 1)
        nn.init.zeros_(self.model.weight)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.every = every
        self.evaluated: list[float] = []
        self.state = 0.0

    @property
    def duration(self) -> SearchConfig:
        return self.config.search

    @property
    def num_images(self) -> int:
        return 3

    @property
    def evaluate_every(self) -> int:
        return self.every

    def summary(self) -> str:
        return "walk"

    def batches(self, start_step: int) -> Iterator[float]:
        return iter([float(step) for step in range(start_step, self.num_steps)])

    def images(self, batch: float) -> list[Batch]:
        return []

    def step(self, step: int, batch: float) -> dict[str, float]:
        assert step == batch
        self.optimizer.zero_grad()
        (self.model.weight.sum() * batch).backward()
        self.optimizer.step()
        self.state += batch
        return {"loss": self.state}

    def evaluate(self) -> dict[str, float]:
        self.evaluated.append(self.state)
        return {"sum": self.state}

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.state}

    def restore(self, checkpoint: Checkpoint) -> None:
        super().restore(checkpoint)
        self.state = checkpoint.state["sum"]


class Interrupted(Walk):
    """Ends in the middle of step 5."""

    def step(self, step: int, batch: float) -> dict[str, float]:
        if step == 5:
            raise KeyboardInterrupt
        return super().step(step, batch)


def test_a_run_goes_on_from_its_last_checkpoint_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = Walk()
    train(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), tmp_path / "again")
    assert [record["step"] for record in metrics(tmp_path / "again")][-1] == 5, "of which one was not saved"
    resumed = Walk(resume=True)
    train(resumed, tmp_path / "again")
    assert torch.equal(resumed.model.weight, whole.model.weight)
    assert metrics(tmp_path / "again") == metrics(tmp_path / "whole")
    assert resumed.evaluated == [], "it was evaluated after step 4, and is not at the end"
    assert whole.evaluated == [0 + 1, 0 + 1 + 2 + 3]


def test_an_evaluation_that_was_cut_short_is_made_up_for(tmp_path: Path) -> None:
    class Killed(Walk):
        def evaluate(self) -> dict[str, float]:
            if self.state == 0 + 1 + 2 + 3:
                raise KeyboardInterrupt
            return super().evaluate()

    train(Walk(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Killed(), tmp_path / "again")
    resumed = Walk(resume=True)
    train(resumed, tmp_path / "again")
    assert resumed.evaluated == [0 + 1 + 2 + 3]
    assert metrics(tmp_path / "again") == metrics(tmp_path / "whole")


@pytest.mark.parametrize("state", [{"sum": 1.0}, {"optimizer": 5}, {"optimizer": {}}, {"log": 7}, {"log": {}}])
def test_a_state_of_another_run_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), tmp_path)
    file = tmp_path / "checkpoints" / "step-00000004" / "state.pt"
    content = torch.load(file, weights_only=True)
    content["state"] = state if "sum" in state else content["state"] | state
    torch.save(content, file)
    with pytest.raises(InputError, match=r"step-00000004 is no checkpoint of this run: .*; delete"):
        train(Walk(resume=True), tmp_path)


def test_weights_of_another_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), tmp_path)
    for weights in ({"weight": torch.zeros(2, 2), "bias": torch.zeros(1)}, {"weight": torch.zeros(1, 1)}, {}):
        save_weights(tmp_path / "checkpoints" / "step-00000004" / "model.safetensors", weights)
        with pytest.raises(InputError, match=r"step-00000004 is no checkpoint of this run: .*(weight|bias).*; delete"):
            train(Walk(resume=True), tmp_path)


def test_first_weights_that_expect_other_images_are_refused(tmp_path: Path) -> None:
    """What "pretrained" finds may be another source on the day that a run goes on."""
    interrupted, resumed = Interrupted(), Walk(resume=True)
    interrupted.model.normalisation = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, tmp_path)
    resumed.model.normalisation = IMAGENET
    with pytest.raises(InputError, match=r"step-00000004 learnt from images less \[0.5, 0.5, 0.5\] by"):
        train(resumed, tmp_path)
    resumed.model.normalisation = interrupted.model.normalisation
    train(resumed, tmp_path)


def test_a_checkpoint_beyond_the_end_is_refused(tmp_path: Path) -> None:
    train(Walk(), tmp_path)
    config = Walk(steps=4).config
    later = Walk(resume=True)
    later.config.search.steps = 4
    (tmp_path / "checkpoints" / "step-00000006").rename(tmp_path / "checkpoints" / "step-00000007")
    file = tmp_path / "checkpoints" / "step-00000007" / "state.pt"
    torch.save(torch.load(file, weights_only=True) | {"step": 7, "identity": json.dumps(identity(config))}, file)
    with pytest.raises(InputError, match="step-00000007 is of step 7, and the run has 4; delete"):
        train(later, tmp_path)


def test_a_failing_evaluation_loses_no_step(tmp_path: Path) -> None:
    class Damaged(Walk):
        def evaluate(self) -> dict[str, float]:
            raise InputError("this image is damaged")

    with pytest.raises(InputError, match="damaged"):
        train(Damaged(), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


def test_a_run_is_given_in_steps_or_in_epochs() -> None:
    assert count_steps(SearchConfig(epochs=1.5, batch_size=4), num_images=16) == 6
    assert count_steps(SearchConfig(epochs=0.01, batch_size=4), num_images=16) == 1
    for both in (SearchConfig(), SearchConfig(steps=1, epochs=1)):
        with pytest.raises(InputError, match=r"search\.steps and search\.epochs"):
            check_duration("search", both)


def test_an_epoch_of_the_schedule_is_a_pass_over_the_images() -> None:
    walk = Walk()
    walk.config.optimizer.schedule = ScheduleConfig(name="multistep", unit="epoch", milestones=[1], gamma=0.5)
    assert [walk.rate_factor(step) for step in range(6)] == [1, 1, 1, 0.5, 0.5, 0.5]
