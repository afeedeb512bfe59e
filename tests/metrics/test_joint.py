"""Metrics of several tasks at once."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, NothingToRateError
from fbnetv5.base.types import BOXES, LABEL
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.metrics.joint import JointEvaluator

ALONE = World(0, 1, torch.device("cpu"))
NO_BOXES = {"boxes": torch.zeros(0, 4), "box_labels": torch.zeros(0, dtype=torch.int64)}


def test_a_task_that_cannot_be_rated_does_not_take_the_others_with_it(capsys):
    evaluators = {"cls": build_evaluator(LABEL, ("a", "b")), "det": build_evaluator(BOXES, ("a",))}
    found = {"cls": torch.tensor([0.9, 0.1]), "det": {**NO_BOXES, "scores": torch.zeros(0)}}
    both, alone = JointEvaluator(evaluators), JointEvaluator({"det": build_evaluator(BOXES, ("a",))})
    for evaluator in (both, alone):
        evaluator.update([found], [{"label": 0, **NO_BOXES}], ["a.jpg"])
    metrics = both.compute(ALONE)
    assert metrics["cls/top1"] == 1
    assert not any(name.startswith("det/") for name in metrics)
    assert "det is not rated: nothing to evaluate" in capsys.readouterr().err
    with pytest.raises(NothingToRateError, match="nothing to evaluate: no task"):
        alone.compute(ALONE)


def test_what_is_wrong_with_the_truth_is_no_lack_of_it(monkeypatch):
    evaluators = {"cls": build_evaluator(LABEL, ("a", "b")), "det": build_evaluator(BOXES, ("a",))}

    def refuse(_: World) -> None:
        raise InputError("val.json does not list image 'a.jpg'")

    monkeypatch.setattr(evaluators["det"], "compute", refuse)
    both = JointEvaluator(evaluators)
    evaluators["cls"].update([torch.tensor([0.9, 0.1])], [{"label": 0}], ["a.jpg"])
    with pytest.raises(InputError, match="does not list image"):
        both.compute(ALONE)
