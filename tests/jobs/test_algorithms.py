"""FBNetV5's algorithms 1 to 4 on a supernet: the passes they take, the gradients they see, and what they find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Batch, Target, TargetKind
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun, gated_passes, joint_passes, supernet_step
from fbnetv5.search.algorithms import Draw
from fbnetv5.search.derive import most_likely
from fbnetv5.tasks.multitask import build_multitask_net
from tests.jobs.runs import ROOT, TINY
from tests.on_request import ON_REQUEST

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SMALL = (
    "search.steps=4",
    "search.batch_size=8",
    "search.num_samples=2",
    "data.shapes.num_images=16",
    "runtime.workers=0",
    "runtime.precision=float64",
    "optimizer.lr=0.02",
)
METHODS = {
    "1": "search.algorithm={_target_: fbnetv5.search.differentiable.SingleTask}",
    "2": "search.algorithm={_target_: fbnetv5.search.differentiable.TaskByTask}",
    "2 gumbel": "search.algorithm={_target_: fbnetv5.search.differentiable.TaskByTask, relaxation: gumbel_softmax}",
    "3": "search.algorithm={_target_: fbnetv5.search.differentiable.SharedForward}",
    "4": "search.algorithm={_target_: fbnetv5.search.algorithms.MultitaskReinforce}",
}
REMOVED = {1: ("tasks.det=null", "tasks.seg=null"), 2: ("tasks.det=null",), 3: ()}  # by the number of tasks left


def config_of(method: str, *overrides: str, num_tasks: int = 3) -> RunConfig:
    given = (*TINY, *SMALL, METHODS[method], *REMOVED[num_tasks], *overrides)
    return load_config(ROOT / "configs" / "quickstart.yaml", given)


def build(method: str, *overrides: str, num_tasks: int = 3) -> SupernetRun:
    run = build_run(config_of(method, *overrides, num_tasks=num_tasks), ALONE)
    run.model.train()
    return run


def batches(run: SupernetRun) -> list[Batch]:
    return list(run.batches(0))


def gradients(run: SupernetRun) -> dict[str, Tensor]:
    """The weights' gradients, zero where there is none."""
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in run.model.named_parameters()}


@pytest.mark.parametrize(
    ("method", "num_tasks", "forward", "backward"),
    [
        ("1", 1, 1, 1),
        *(("2", t, t, t) for t in (1, 2, 3)),
        ("2 gumbel", 3, 3, 3),
        *(("3", t, 1, t) for t in (1, 2, 3)),
        *(("4", t, 1, 1) for t in (1, 2, 3)),
    ],
)
def test_passes_of_a_sample_are_those_of_table_1(method, num_tasks, forward, backward):
    run = build(method, num_tasks=num_tasks)
    calls: Counter[str] = Counter()
    run.model.network.register_forward_hook(lambda *_: calls.update(["forward"]))
    stem = run.model.network.trunk[0]  # every way back through the network's outputs ends here, once
    stem.register_forward_hook(lambda _m, _i, out: out.register_hook(lambda _: calls.update(["backward"])) and None)
    supernet_step(run, 0, batches(run)[0])
    samples = run.config.search.num_samples
    assert calls == {"forward": forward * samples, "backward": backward * samples}


def one_hot(run: SupernetRun, choices: Tensor) -> Draw:
    """A draw that all tasks share, with the gates of its choices [N, B]."""
    gates = nn.functional.one_hot(choices, 2).double().expand(len(run.model.tasks), *choices.shape, 2)
    return Draw(choices, gates.clone().requires_grad_())


@pytest.mark.parametrize("select", [0, 1, None])
def test_gates_of_zeros_and_ones_give_the_topologys_losses_and_gradients(select):
    run = build("3")
    slots = len(run.space.num_options)
    rng = torch.Generator().manual_seed(0)
    choices = torch.full((1, slots), select) if select is not None else torch.randint(2, (1, slots), generator=rng)
    part, weights = batches(run)[0].split(2)[0], torch.tensor([0.3, 0.5, 0.2])
    found = []
    for passes, draw in ((joint_passes, Draw(choices)), (gated_passes, one_hot(run, choices))):
        run.model.zero_grad()
        found.append((passes(run, 0, 0, part, draw, weights).losses, gradients(run)))
    (losses, grads), (gated_losses, gated_grads) = found
    torch.testing.assert_close(gated_losses, losses, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gated_grads, grads, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_gates_gradient_is_the_derivative_of_its_tasks_loss(shared):
    """Whatever the sample's weight and the task's are; against finite differences of the gated forward pass."""
    run = build("3", "search.task_weights={cls: 0.0, seg: 3.0}", num_tasks=2)
    rng = torch.Generator().manual_seed(0)
    slots, part = len(run.space.num_options), batches(run)[0].split(2)[0]
    gates = torch.rand(2, 1, slots, 2, generator=rng, dtype=torch.float64)
    gates[1] = gates[0] if shared else gates[1]
    choices = torch.zeros((1, slots) if shared else (2, 1, slots), dtype=torch.int64)

    def losses(values: Tensor) -> Any:
        weights = torch.tensor([0.25, 0.5], dtype=torch.float64)
        return gated_passes(run, 0, 0, part, Draw(choices, values.clone().requires_grad_()), weights)

    gradient = losses(gates).gate_gradients
    assert gradient[..., 0].abs().max() == 0  # option 0 of a slot is to skip its block
    for slot in range(slots):
        step = torch.zeros_like(gates)
        step[:, 0, slot, 1] = 1e-5
        slope = (losses(gates + step).losses - losses(gates - step).losses) / 2e-5
        torch.testing.assert_close(gradient[:, slot, 1], slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["2", "3"])
def test_a_task_of_weight_zero_learns_and_one_without_labels_does_not(method):
    run = build(method, "search.task_weights={cls: 0.0}", "search.algorithm.cost_weight=0")
    batch = batches(run)[0]
    for target in batch.targets:
        del target["segmentation"]
    found = supernet_step(run, 0, batch)
    assert "loss/seg" not in found
    moved = dict(zip(run.model.tasks, run.algorithm.distribution.logits.abs().amax(dim=(1, 2)).tolist(), strict=True))
    assert moved["cls"] > 0
    assert moved["det"] > 0
    assert moved["seg"] == 0
    assert not any(parameter.grad.any() for parameter in run.model.heads["cls"].parameters())


@dataclass(frozen=True)
class Imitation:
    """To compute the features of ``path`` that another topology of the supernet has: its optimum is known."""

    path: int
    target: Target

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        return Imitator(self)


class Imitator(nn.Module):
    def __init__(self, task: Imitation) -> None:
        super().__init__()
        self.task = task

    def forward(self, features: Any, image_size: tuple[int, int], targets: Any = None) -> Tensor:
        wanted = torch.stack([target[self.task.target.name] for target in targets])
        return (features[self.task.path] - wanted).square().mean() / wanted.square().mean()


OPTIMA = {"a": {(1, 0), (1, 2), (1, 3)}, "b": {(1, 1)}}


def imitation(method: str, names: Sequence[str]) -> tuple[SupernetRun, Batch]:
    """A search of which every task's optimum is known, and its batch: weights, images and BN statistics stand still."""
    still = ("model.num_stages=1", "data.crop=32", "data.short_side=32", "optimizer.lr=0", "search.num_samples=4")
    run = build(method, *still, num_tasks=1)
    tasks = {name: Imitation(path, Target(name, TargetKind.DENSE)) for path, name in zip((3, 1), names, strict=False)}
    run.model = build_multitask_net(run.model.network, tasks, run.source)
    options = {"relaxation": "gumbel_softmax"} if method == "2 gumbel" else {}
    run.algorithm = type(run.algorithm)(
        run.space, num_tasks=len(names), num_samples=4, seed=0, cost_weight=0.0, **options
    )
    run.model.eval()
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        wanted = {name: run.model.network(images, Topology(1, frozenset(OPTIMA[name]))) for name in names}
    targets = [{name: wanted[name][tasks[name].path][i] for name in names} for i in range(len(images))]
    return run, Batch(images, targets)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "names"),
    [
        pytest.param("1", ["b"], marks=ON_REQUEST),
        *(pytest.param(method, ["a", "b"], marks=ON_REQUEST) for method in ("2", "2 gumbel")),
        ("3", ["a", "b"]),
    ],
)
def test_the_known_optimum_of_a_supernet_is_found(method, names):
    run, batch = imitation(method, names)
    run.config.search.arch_lr = 0.8
    for step in range(20):
        supernet_step(run, step, replace(batch))
    for name, probabilities in zip(names, run.algorithm.distribution.probabilities(), strict=True):
        assert run.space.decode(most_likely(probabilities)).blocks == OPTIMA[name]


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        ("1", "seed=0", "SingleTask searches for one task, and there are 3: run one search for each, or set search"),
        ("2", "search.algorithm.relaxation=soft", "relaxation=soft"),
        ("2", "search.algorithm.temperature=-1", "search.algorithm.temperature=-1"),
        ("2", "search.algorithm.temperature=low", "search.algorithm.temperature=low"),
        (
            "3",
            "+search.algorithm.relaxation=gumbel_softmax",
            "search.algorithm.relaxation",
        ),
        ("3", "search.algorithm.baseline=history", "search.algorithm.baseline"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(method, override, message):
    with pytest.raises(InputError, match=message) as error:
        build(method, override)
    assert "\n" not in str(error.value)
