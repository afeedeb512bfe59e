"""Joint models whose files are timed: each with its trunk alone and the separate models of its tasks beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.exported_models import (
    DETECTION,
    HEADS,
    NUM_CLASSES,
    ROOT,
    Built,
    Candidate,
    candidates,
    run_digest,
    settle,
)
from fbnetv5.archs.cost import Cost
from fbnetv5.archs.joint import TRUNK
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import TargetKind
from fbnetv5.export.deployed import DeployedModel, folded
from fbnetv5.export.joint import deploy_any
from fbnetv5.model.folder import FinalModel, load
from fbnetv5.model.joint_net import JointModel, JointSpec, TaskSpec, build_joint_model, separate_model

MAP_STRIDE = 4  # at every pixel the scores of 150 classes would hide what the networks take
LINEAR = "fbnetv5.heads.linear_classifier.LinearClassifier"
FAMILIES = {"joint_a_c": "A_C", "joint_lite0": "timm/efficientnet_lite0"}


def all_candidates(runs: Sequence[Path]) -> dict[str, Candidate]:
    """Return all models by name: those of :func:`candidates`, and joint ones with their parts.

    Raises:
        InputError: a run is not the folder of a trained model.
    """
    joint = {run: model for run in runs if isinstance(model := load(run), JointModel)}
    found = candidates([run for run in runs if run not in joint])
    for run, model in joint.items():
        found |= _with_parts(run.resolve().name, run_digest(run), tuple(model.spec.tasks), partial(_loaded, run))
    for name, family in FAMILIES.items():
        found |= _with_parts(name, "random", tuple(NUM_CLASSES), partial(random_joint, family))
    return found


def part_name(joint: str, part: str) -> str:
    """Return what a task of a joint model is called, or its trunk."""
    return f"{joint}_{part}"


def _with_parts(
    name: str, identity: str, tasks: Sequence[str], model: Callable[[], JointModel]
) -> dict[str, Candidate]:
    """Return a joint model, its trunk, and the separate model of each task, with the same weights."""
    builds: dict[str, Callable[[], Built]] = {name: lambda: _built(model())}
    builds[part_name(name, TRUNK)] = lambda: _built_trunk(model())
    for task in tasks:
        builds[part_name(name, task)] = lambda task=task: _built(separate_model(model(), task))  # type: ignore[misc]
    return {key: Candidate(key, name, False, identity, build, joint=name) for key, build in builds.items()}


@lru_cache(maxsize=1)
def _loaded(run: Path) -> JointModel:
    model = load(run)
    assert isinstance(model, JointModel)
    return model


@lru_cache(maxsize=1)
def random_joint(family: str) -> JointModel:
    """Return a model of three tasks with random weights: of A_C's reference topologies, else as that of pets."""
    names, heads = {"cls": "linear", "det": "fpn", "seg": "fpn"}, HEADS | {"cls": LINEAR}
    topologies = {task: named_topology(name, 7) for task, name in names.items()}
    if family == "A_C":
        heads = HEADS
        topologies = {task: Topology.load(ROOT / "configs" / "topologies" / f"{task}.yaml") for task in names}
    tasks = {
        task: TaskSpec(topologies[task], {"_target_": heads[task]}, tuple(map(str, range(number))))
        for task, number in NUM_CLASSES.items()
    }
    with forked(0, Purpose.INITIALISATION):
        model = build_joint_model(JointSpec(family, "trunk", tasks, DETECTION)).eval()
        settle(model, torch.randn(2, 3, *DETECTION.nominal_size()))
    return model


def _built(model: FinalModel) -> Built:
    size = model.spec.input.nominal_size()
    targets = model.targets.values() if isinstance(model, JointModel) else (model.head.target,)
    stride = MAP_STRIDE if any(target.kind is TargetKind.MASK for target in targets) else 1
    cost = model.cost(size)
    return Built(deploy_any(model, size, stride), size, cost.macs, cost.params)


def _built_trunk(model: JointModel) -> Built:
    size = model.spec.input.nominal_size()
    cost: Cost = model.costs(size)[TRUNK]
    return Built(
        DeployedModel(folded(nn.Sequential(*model.network.trunk)), Features()).eval(), size, cost.macs, cost.params
    )


class Features(nn.Module):
    """Returns what a network gives as it is."""

    def forward(self, feature: Tensor, covered: Tensor) -> dict[str, Tensor]:
        """Return the feature [1, C, h, w]; ``covered`` is not read."""
        return {"feature": feature}
