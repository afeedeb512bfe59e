"""Small models with random weights whose predictions differ from place to place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from fbnetv5.archs.joint_plan import Share
from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import forked
from fbnetv5.config.read import CONFIGS
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.model.folder import save_model
from fbnetv5.model.joint_net import JointModel, JointSpec, TaskSpec, build_joint_model
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model

AnyModel = TypeVar("AnyModel", TaskNet, JointModel)
LAST_LAYERS = ("predict.weight", "scores.weight", "deltas.weight", "classify.weight")
FEW_BLOCKS = {  # exporting takes seconds a block
    "cls": Topology(1, frozenset({(1, 3)})),
    "det": Topology(1, frozenset({(1, 1)})),
    "seg": Topology(1, frozenset({(1, 1), (1, 3)})),
}
CLASSES = {"cls": "label", "det": "boxes", "seg": "segmentation"}
CONFIG = """defaults: [/fbnetv5/schema, _self_]
job: train
name: {name}
data:
  mask_classes: []
  shapes: {{num_images: 24, num_val_images: 8, size: 96}}
runtime: {{device: cpu, workers: 0}}
"""
HEADS: dict[str, dict[str, Any]] = {
    "cls": {"_target_": "fbnetv5.heads.classifier.Classifier", "hidden_channels": 64},
    "det": {
        "_target_": "fbnetv5.heads.lite_rcnn.LiteRCNN",
        "anchor_sizes": (16, 32),
        "score_threshold": 0.01,
        "num_candidates": (60, 60),
        "num_proposals": (60, 8),
    },
    "seg": {
        "_target_": "fbnetv5.heads.lite_maskformer.LiteMaskFormer",
        "embedding_channels": 32,
        "num_queries": 6,
        "hidden_channels": 64,
    },
}

TARGETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "cls": lambda side: {"label": 1},
    "det": lambda side: {"boxes": torch.tensor([[4.0, 4, side / 2, side / 2]]), "box_labels": torch.tensor([1])},
    "seg": lambda side: {"segmentation": torch.ones(side, side, dtype=torch.uint8)},
}


def random_model(
    task: str,
    family: str = "NANO",
    *,
    side: int = 64,
    topology: Topology | None = None,
    classes: tuple[str, ...] = ("a", "b", "c"),
) -> TaskNet:
    """A model in evaluation mode, whose BN statistics are those of random images."""
    multiple = {"cls": {"crop": side}, "det": {"multiple": 32}, "seg": {"multiple": 32}}[task]
    spec = ModelSpec(
        family=family,
        topology=topology or Topology.load(CONFIGS / "topologies" / f"{task}.yaml"),
        head=HEADS[task],
        classes=classes,
        input=InputSpec(short_side=side, **multiple),
    )
    with forked(0):
        return settled(build_model(spec), TARGETS[task](128))


def saved_run(root: Path, task: str) -> Path:
    """The folder of a training on the shapes data set: a random model of the SHORT family with few blocks."""
    classes = ShapesSource(1, 64, 0).classes[CLASSES[task]]
    model = random_model(task, "SHORT", side=96, topology=FEW_BLOCKS[task], classes=classes)
    save_model(root / task, model, model.spec)
    (root / task / "config.yaml").write_text(CONFIG.format(name=task))
    return root / task


def random_joint(
    family: str = "NANO", *, side: int = 64, share: Share = "trunk", classes: Mapping[str, tuple[str, ...]]
) -> JointModel:
    """A model of several tasks, of few blocks, as :func:`random_model` makes them; ``classes`` by task."""
    tasks = {task: TaskSpec(FEW_BLOCKS[task], HEADS[task], names) for task, names in classes.items()}
    spec = JointSpec(family, share, tasks, InputSpec(short_side=side, multiple=32))
    with forked(0):
        return settled(
            build_joint_model(spec), {key: value for task in tasks for key, value in TARGETS[task](128).items()}
        )


def settled(model: AnyModel, target: dict[str, Any]) -> AnyModel:
    """The model in evaluation mode, with the BN statistics of random images of one target, and spread predictions."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # averages
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, 128, 128), [dict(target) for _ in range(8)])  # at 64 pixels BN sees dots
    model.eval()
    for name, parameter in model.named_parameters():
        if name.startswith("head") and name.endswith(LAST_LAYERS):
            nn.init.normal_(parameter, std=0.1)
    return model
