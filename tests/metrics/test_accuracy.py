"""Accuracy, by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL
from fbnetv5.metrics.accuracy import Accuracy

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def accuracy(probabilities: torch.Tensor, targets: list[dict], classes: tuple[str, ...]) -> dict[str, float]:
    evaluator = Accuracy(LABEL, classes)
    evaluator.update(list(probabilities), targets, [str(i) for i in range(len(targets))])
    return evaluator.compute(ALONE)


def test_by_hand():
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0]])
    targets = [{"label": 0}, {"label": 2}, {"label": 0}, {"label": 0}, {}]  # the last is not labelled
    assert accuracy(probabilities, targets, ("a", "b", "c")) == {
        "top1": 0.75,
        "top1/a": pytest.approx(2 / 3),
        "top1/c": 1.0,
        "num_images": 4.0,
    }


@pytest.mark.parametrize("num_classes", [6, 100])
def test_on_random_images(num_classes):
    generator = torch.Generator().manual_seed(num_classes)
    labels = torch.randint(num_classes, (300,), generator=generator)
    logits = torch.randn(300, num_classes, generator=generator)
    logits[torch.arange(300), labels] += 1
    values = accuracy(logits.softmax(1), [{"label": int(k)} for k in labels], tuple(map(str, range(num_classes))))
    for name, top_k in (("top1", 1), ("top5", 5)):
        expected = multiclass_accuracy(logits, labels, num_classes, average="micro", top_k=top_k)
        assert values[name] == pytest.approx(expected.item())
    assert values["top1"] < values["top5"] < 1
    per_class = multiclass_accuracy(logits, labels, num_classes, average=None)
    for k in set(labels.tolist()):
        assert values[f"top1/{k}"] == pytest.approx(per_class[k].item())


def test_top5_of_five_classes_says_nothing():
    assert "top5" not in accuracy(torch.eye(5), [{"label": 0}] * 5, tuple("abcde"))
    falling = torch.linspace(1, 0, 6).expand(6, 6)  # class 5 is the last of six
    assert accuracy(falling, [{"label": k} for k in range(6)], tuple("abcdef"))["top5"] == pytest.approx(5 / 6)


def test_bad_input():
    with pytest.raises(InputError, match="no image has a 'label'"):
        accuracy(torch.eye(2), [{}, {}], ("a", "b"))
    with pytest.raises(ValueError, match="image '0': 3 probabilities"):
        accuracy(torch.eye(2), [{"label": 0}, {"label": 0}], ("a", "b", "c"))
