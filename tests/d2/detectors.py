"""Detectors of ours with numbers as after a training, and what builds them in Detectron2."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import forked
from fbnetv5.config.schema import ModelConfig
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.build import find_topology
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from tests.labeling.teachers.pictures import pictures

ROOT = Path(__file__).parents[2]
DET = "configs/topologies/det.yaml"
PACKAGES = ("detectron2", "d2go")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_detectron2 = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed")
OPTIONS = {
    "anchor_sizes": [8, 16, 32],
    "num_candidates": [300, 200],
    "num_proposals": [100, 30],
    "score_threshold": 0.02,
}


def spec(family: str = "NANO", *, short_side: int = 64, long_side: int | None = 96, **options: Any) -> ModelSpec:
    """Describe a detector of three classes."""
    return ModelSpec(
        family=family,
        topology=topology(),
        head={"_target_": "fbnetv5.heads.lite_rcnn.LiteRCNN", **OPTIONS, **options},
        classes=("disk", "square", "triangle"),
        input=InputSpec(short_side, long_side, multiple=32),
    )


def topology() -> Topology:
    return find_topology(ModelConfig(topology=DET))


def detector(family: str = "NANO", **options: Any) -> TaskNet:
    """Build a detector whose normalisation has the statistics of ``images``, and whose scores and boxes differ."""
    with forked(1):  # of other seeds some have scores so close that suppression takes either box first
        model = build_model(spec(family, **options))
        rpn, roi = model.head.rpn.head, model.head.roi
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            nn.init.uniform_(norm.weight, 0.8, 1.2)
            nn.init.normal_(norm.bias, std=0.1)
        with torch.no_grad():
            prepared = [model.spec.input.prepare(pixels) for pixels in images()]
            batch = torch.stack([F.pad(one, (0, 96 - one.shape[2], 0, 96 - one.shape[1])) for one in prepared])
            feature = model.train().network(batch)[1]
            spread(rpn.predict, rpn.layers(feature), 0.5)
            corners, sides = 50 * torch.rand(256, 2), 6 + 40 * torch.rand(256, 2)
            boxes = torch.cat([corners, corners + sides], dim=1).chunk(4)
            hidden = roi.box_head(roi.box_roi_pool({"0": feature}, list(boxes), [(96, 96)] * 4))
            spread(roi.box_predictor.scores, hidden, 1.0)
            spread(
                roi.box_predictor.deltas, hidden, 0.25
            )  # no boxes of a hundredth of a pixel, which torchvision drops
        for norm in norms:
            norm.momentum = 0.1
    return model.eval()


def spread(layer: nn.Module, inputs: Tensor, deviation: float) -> None:
    """Scale a layer so that its outputs have a deviation, most of it between inputs; the bias is random too."""
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.weight.mul_(deviation / layer(inputs).std())
    nn.init.normal_(layer.bias, std=deviation / 4)


def images() -> list[Tensor]:
    """Return images of four sizes, uint8 [3, H, W]; the last is of the size that a detector resizes to."""
    cut = pictures()[0][:, :64, :90].contiguous()
    return [*pictures()[:2], pictures()[3], cut]


def d2_config(file: Path | str | None = None, *, d2go: bool = False) -> Any:
    """Read a config file over the defaults of Detectron2, or of our runner in D2Go, for the CPU."""
    import fbnetv5.d2
    from fbnetv5.d2.cfg_node import add_fbnetv5_config

    fbnetv5.d2.register()
    if d2go:
        from fbnetv5.d2.runner import FBNetV5Runner

        cfg = FBNetV5Runner.get_default_cfg()
    else:
        from detectron2.config import get_cfg

        cfg = get_cfg()
        add_fbnetv5_config(cfg)
    if file is not None:
        cfg.merge_from_file(str(file))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def d2_model(cfg: Any, weights: Path | None = None) -> nn.Module:
    """Build Detectron2's model of a config, in evaluation mode."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    model = build_model(cfg)
    if weights is not None:
        DetectionCheckpointer(model).load(str(weights))
    return model.eval()
