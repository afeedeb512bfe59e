"""The models whose exported files are timed: ours, trained ones, and peers of timm and torchvision."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, ssdlite320_mobilenet_v3_large
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from benchmarks.exported_peers import (
    FixedFasterRCNN,
    FixedSSD,
    LargestLogit,
    PeerModel,
    classifier,
    faster_rcnn_macs,
)
from fbnetv5.archs.cost import measured_macs
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Size, TargetKind
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.deployed import deploy, folded
from fbnetv5.export.joint import AnyDeployed
from fbnetv5.model.folder import load_task_model
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "configs/topologies/*.yaml",
    "fbnetv5/archs/**/*.py",
    "fbnetv5/heads/**/*.py",
    "fbnetv5/export/**/*.py",
    "fbnetv5/model/**/*.py",
    "scripts/benchmarks/exported_joint.py",
    "scripts/benchmarks/exported_models.py",
    "scripts/benchmarks/exported_peers.py",
)
NUM_CLASSES = {"cls": 1000, "det": 80, "seg": 150}  # ImageNet, COCO, ADE20K
TASK_OF = {TargetKind.SCALAR: "cls", TargetKind.BOXES: "det", TargetKind.MASK: "seg"}
DETECTION = InputSpec(short_side=224, long_side=320, multiple=32)  # as configs/train/det/coco.yaml
SEGMENTATION = InputSpec(short_side=384, multiple=32)  # and configs/train/seg/ade20k_a_c.yaml
SSD_SIZE = (320, 320)  # the only one it has
HEADS = {
    "cls": "fbnetv5.heads.classifier.Classifier",
    "det": "fbnetv5.heads.lite_rcnn.LiteRCNN",
    "seg": "fbnetv5.heads.lite_maskformer.LiteMaskFormer",
}


@dataclass(frozen=True)
class Built:
    """A model for one image, BN folded, and what it costs."""

    module: AnyDeployed
    size: Size
    macs: int
    params: int


@dataclass(frozen=True)
class Candidate:
    """A model that can be built and exported.

    Attributes:
        name: of the model.
        task: cls, det or seg, or the name of a joint model; what has the same is timed in turn.
        is_peer: it is not ours.
        identity: what files are recognised by: of a trained model, the checksum of its weights.
        build: makes it.
        joint: the joint model that it is, or is a part of.
    """

    name: str
    task: str
    is_peer: bool
    identity: str
    build: Callable[[], Built]
    joint: str = ""


def candidates(runs: Sequence[Path]) -> dict[str, Candidate]:
    """Return all models by name: trained ones, ours with random weights, and peers.

    Raises:
        InputError: a run is not the folder of a trained model.
    """
    found = [*map(_trained, runs), *map(_ours, OURS), *map(_peer, PEERS)]
    return {candidate.name: candidate for candidate in found}


OURS = (
    *(("cls", "A_C", 1), ("cls", "A", 1), ("det", "A_C", 1), ("seg", "A_C", 1), ("seg", "A_C", 4)),
    *((task, f"A_C-{variant}", 4 if task == "seg" else 1) for variant in ("lite", "x8", "lite-x8") for task in HEADS),
)


def _ours(kind: tuple[str, str, int]) -> Candidate:
    task, family, map_stride = kind
    name = f"{task}_{family.lower().replace('-', '_')}" + (f"_stride{map_stride}" if map_stride > 1 else "")
    return Candidate(name, task, False, "random", lambda: _built(random_model(task, family), map_stride))


def _trained(folder: Path) -> Candidate:
    model = load_task_model(folder)
    task = TASK_OF[model.head.target.kind]
    return Candidate(folder.resolve().name, task, False, run_digest(folder), lambda: _built(model))


def run_digest(folder: Path) -> str:
    """Return a checksum of a trained model."""
    return hashlib.sha256((folder / MODEL).read_bytes() + (folder / WEIGHTS).read_bytes()).hexdigest()


def _peer(name: str) -> Candidate:
    task, build = PEERS[name]

    def built() -> Built:
        with forked(0, Purpose.INITIALISATION):
            return build()

    return Candidate(name, task, True, "random", built)


def random_model(task: str, family: str) -> TaskNet:
    """Return one of our models with its reference topology and random weights, at the size of its full-size recipe."""
    crop = get_family(family).input_size
    inputs = {"cls": InputSpec(short_side=round(crop / 0.875), crop=crop), "det": DETECTION, "seg": SEGMENTATION}
    spec = ModelSpec(
        family=family,
        topology=Topology.load(ROOT / "configs" / "topologies" / f"{task}.yaml"),
        head={"_target_": HEADS[task]},
        classes=tuple(map(str, range(NUM_CLASSES[task]))),
        input=inputs[task],
    )
    with forked(0, Purpose.INITIALISATION):
        model = build_model(spec).eval()
        settle(model, torch.randn(2, 3, *spec.input.nominal_size()))
    return model


def _built(model: TaskNet, map_stride: int = 1) -> Built:
    size = model.spec.input.nominal_size()
    cost = model.cost(size)
    return Built(deploy(model, size, map_stride), size, cost.macs, cost.params)


def _built_peer(model: PeerModel, size: Size, macs: int | None = None) -> Built:
    image = torch.randn(1, 3, *size)
    settle(model.eval(), image)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    return Built(folded(model), size, measured_macs(model, image) if macs is None else macs, num_params)


@torch.no_grad()
def settle(model: nn.Module, images: Tensor) -> None:
    """Give each BN layer the statistics of its input for ``images`` [N, 3, H, W], so that activations keep their scale.

    One forward pass in evaluation mode does, as each layer gets them before it runs. What has one value a channel and
    image keeps its own.
    """

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        by_channel = inputs[0].transpose(0, 1).flatten(1)
        if by_channel.shape[1] > len(images):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(by_channel.mean(dim=1))
            layer.running_var.copy_(by_channel.var(dim=1).clamp(min=1e-2))

    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    model(images)
    for handle in handles:
        handle.remove()


def _classifier(name: str) -> Callable[[], Built]:
    return lambda: _built_peer(classifier(name, NUM_CLASSES["cls"]), (224, 224))


def _ssdlite() -> Built:
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=NUM_CLASSES["det"] + 1)
    return _built_peer(PeerModel(model.backbone, FixedSSD(model, SSD_SIZE)), SSD_SIZE)


def _faster_rcnn() -> Built:
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=NUM_CLASSES["det"] + 1
    )
    size = DETECTION.nominal_size()
    macs = faster_rcnn_macs(model.eval(), size)
    return _built_peer(PeerModel(model.backbone, FixedFasterRCNN(model, size)), size, macs)


def _lraspp() -> Built:
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=NUM_CLASSES["seg"])
    return _built_peer(PeerModel(model, LargestLogit()), SEGMENTATION.nominal_size())


PEERS: Mapping[str, tuple[str, Callable[[], Built]]] = {
    "mobilenetv3_large_100": ("cls", _classifier("mobilenetv3_large_100")),
    "efficientnet_b0": ("cls", _classifier("efficientnet_b0")),
    "fbnetv3_b": ("cls", _classifier("fbnetv3_b")),
    "ssdlite320_mobilenet_v3_large": ("det", _ssdlite),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("det", _faster_rcnn),
    "lraspp_mobilenet_v3_large": ("seg", _lraspp),
}


def sources() -> list[Path]:
    """Return the files that models and exported files are made by."""
    return [file for pattern in SOURCES for file in sorted(ROOT.glob(pattern))]


def sources_digest() -> str:
    """Return a checksum of :func:`sources`."""
    digest = hashlib.sha256()
    for file in sources():
        digest.update(file.read_bytes())
    return digest.hexdigest()
