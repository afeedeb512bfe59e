"""Lite R-CNN in Detectron2's GeneralizedRCNN: the core's modules, losses, costs and recipes; and D2Go trains it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import fbnetv5.d2
from fbnetv5.archs.cost import feature_sizes, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.d2.convert import to_detectron2, write_detectron2
from fbnetv5.d2.rcnn_config import to_config, to_spec
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.heads.lite_rcnn.cost import roi_macs, rpn_macs
from fbnetv5.model.build import find_topology, input_spec
from fbnetv5.model.folder import save_model
from tests.d2.detectors import DET, ROOT, d2_config, d2_model, detector, images, needs_detectron2, topology

CONFIGS = ROOT / "configs" / "d2go"
RECIPES = sorted(CONFIGS.glob("coco_*.yaml"))
UNCOUNTED = {"batch_norm", "upsample_nearest2d", "upsample_bilinear2d"}  # by Detectron2's counter, not by ours
LOSSES = {
    "loss_objectness": "loss_rpn_cls",
    "loss_rpn_box_reg": "loss_rpn_loc",
    "loss_classifier": "loss_cls",
    "loss_box_reg": "loss_box_reg",
}

pytestmark = needs_detectron2


def test_registering_twice_changes_nothing():
    from detectron2.modeling import BACKBONE_REGISTRY, ROI_BOX_HEAD_REGISTRY, RPN_HEAD_REGISTRY

    for _ in range(2):
        fbnetv5.d2.register()
        assert "build_fbnetv5_backbone" in BACKBONE_REGISTRY
        assert "build_fbnetv5_rpn_head" in RPN_HEAD_REGISTRY
        assert "FBNetV5BoxHead" in ROI_BOX_HEAD_REGISTRY


def test_the_config_gets_six_keys_once():
    from fbnetv5.d2.cfg_node import add_fbnetv5_config

    cfg = d2_config()
    cfg.MODEL.FBNETV5.FAMILY = "A"
    add_fbnetv5_config(cfg)
    assert {*cfg.MODEL.FBNETV5} == {"FAMILY", "TOPOLOGY", "NUM_CLASSES", "HEAD", "SEARCH", "OVERRIDES"}
    assert cfg.MODEL.FBNETV5.FAMILY == "A"
    cfg.merge_from_list(["MODEL.FBNETV5.HEAD", {"anything": 1}])
    with pytest.raises(AssertionError, match=r"Non-existent key: MODEL\.FBNETV5\.FAMLY"):
        cfg.merge_from_list(["MODEL.FBNETV5.FAMLY", "A"])


@pytest.mark.parametrize("family", ["NANO", "A"])
def test_the_backbone_is_the_network(family):
    from fbnetv5.d2.detection import FBNetV5Backbone

    backbone = FBNetV5Backbone(family, all_paths(), (1, 3)).eval()
    batch = torch.randn(1, 3, 96, 160)
    features = backbone(batch)
    expected = backbone.network(batch)
    assert [*features] == ["path1", "path3"] == [*backbone.output_shape()]
    for path, (name, shape) in zip((1, 3), backbone.output_shape().items(), strict=True):
        assert torch.equal(features[name], expected[path])
        assert (shape.channels, shape.stride) == (features[name].shape[1], 4 * 2**path)
    assert backbone.size_divisibility == 32
    with pytest.raises(InputError, match=r"the config reads path3, the topology of MODEL\.FBNETV5 returns path1"):
        FBNetV5Backbone(family, topology(), (1, 3))


def all_paths() -> Topology:
    return Topology(7, topology().blocks)


def test_a_missing_topology_and_an_unknown_key_are_named():
    cfg = d2_config(CONFIGS / "coco_a_c.yaml", d2go=True)
    cfg.MODEL.FBNETV5.TOPOLOGY = ""
    with pytest.raises(InputError, match=r"MODEL\.FBNETV5\.TOPOLOGY is missing"):
        d2_model(cfg)
    cfg.MODEL.FBNETV5.HEAD.num_proposalss = 3
    with pytest.raises(InputError, match=r"MODEL\.FBNETV5\.HEAD\.num_proposalss is no key of a detector"):
        d2_model(cfg)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipes_are_those_of_our_own_training(file):
    cfg = d2_config(file, d2go=True)
    ours = load_config(ROOT / "configs" / "train" / "det" / f"{file.stem.removesuffix('_640')}.yaml")
    if file.stem.endswith("_640"):
        ours.data.short_side, ours.data.long_side = 320, 640
    found = to_spec(cfg, [str(number) for number in range(80)])
    assert found.family == ours.model.family
    assert found.topology == find_topology(ours.model)
    assert found.input == input_spec(ours.data, LiteRCNN.target.kind)
    defaults = LiteRCNN((1, 1, 1, 1), 80)
    built = LiteRCNN((1, 1, 1, 1), 80, **{key: value for key, value in found.head.items() if key != "_target_"})
    assert built.num_proposals == defaults.num_proposals == 30
    assert built.rpn._pre_nms_top_n == defaults.rpn._pre_nms_top_n
    assert built.rpn._post_nms_top_n == defaults.rpn._post_nms_top_n
    assert built.rpn.anchor_generator.sizes == defaults.rpn.anchor_generator.sizes
    assert built.roi.score_thresh == defaults.roi.score_thresh
    schedule = ours.optimizer.schedule
    expected = {
        "SOLVER.BASE_LR": ours.optimizer.lr,
        "SOLVER.MOMENTUM": ours.optimizer.momentum,
        "SOLVER.WEIGHT_DECAY": ours.optimizer.weight_decay,
        "SOLVER.STEPS": (*schedule.milestones,),
        "SOLVER.GAMMA": schedule.gamma,
        "SOLVER.WARMUP_ITERS": schedule.warmup,
        "SOLVER.WARMUP_FACTOR": schedule.warmup_start,
        "SOLVER.MAX_ITER": ours.train.steps,
        "SOLVER.IMS_PER_BATCH": ours.train.batch_size,
        "MODEL_EMA.ENABLED": True,
        "MODEL_EMA.DECAY": ours.train.ema,
        "INPUT.MIN_SIZE_TRAIN": (ours.data.short_side,),
        "INPUT.MAX_SIZE_TRAIN": ours.data.long_side,
        "TEST.EVAL_PERIOD": ours.train.eval_every,
    }
    assert {key: functools.reduce(getattr, key.split("."), cfg) for key in expected} == expected


@pytest.mark.parametrize("family", ["A_C", "A_R", "A", "C", "F"])
def test_macs_are_those_that_detectron2_counts(family):
    from detectron2.utils.analysis import FlopCountAnalysis

    cfg = d2_config(CONFIGS / "coco_a_c.yaml", d2go=True)
    cfg.MODEL.FBNETV5.FAMILY = family
    model = d2_model(cfg)
    torch.nn.init.zeros_(model.proposal_generator.rpn_head.predict.weight)  # proposals are anchors: 30 and more
    analysis = FlopCountAnalysis(model, [{"image": torch.zeros(3, 213, 320)}])
    counts = analysis.unsupported_ops_warnings(False).by_module_and_operator()
    size, channels = (224, 320), get_family(family).channels[1]
    expected = {
        "model.backbone": network_cost(get_family(family), topology().prune((1,)), size).macs,
        "model.proposal_generator": rpn_macs(channels, feature_sizes(get_family(family), size)[1]),
        "model.roi_heads": roi_macs(channels),  # of 30 proposals
    }
    for name, macs in expected.items():
        assert sum(count for operator, count in counts[name].items() if operator not in UNCOUNTED) == macs
    assert sum(count for operator, count in counts[""].items() if operator not in UNCOUNTED) == sum(expected.values())


def test_losses_are_the_cores():
    """With more to sample than there is, nothing is random."""
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    ours = detector(num_sampled=4000, num_sampled_anchors=20000).train()
    boxes = [torch.tensor([[4.0, 6.0, 30.0, 40.0], [30.0, 8.0, 60.0, 60.0]]), torch.tensor([[10.0, 10.0, 50.0, 30.0]])]
    labels = [torch.tensor([0, 2]), torch.tensor([1])]
    pixels = [image[:, :60, :50].float() for image in images()[:2]]
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (ours.spec.input.mean, ours.spec.input.std))
    batch = torch.stack([(one - mean) / std for one in pixels])
    batch = torch.nn.functional.pad(batch, (0, 14, 0, 4))
    targets = [{"boxes": b, "box_labels": k} for b, k in zip(boxes, labels, strict=True)]
    expected = ours(batch, targets, true_sizes=[(60, 50)] * 2)
    cfg = d2_config()
    cfg.merge_from_other_cfg(type(cfg)(to_config(ours.spec, topology=DET, weights="")))
    theirs = d2_model(cfg).train()
    theirs.load_state_dict(to_detectron2(ours.state_dict()))
    inputs = [
        {"image": one, "instances": Instances((60, 50), gt_boxes=Boxes(b), gt_classes=k)}
        for one, b, k in zip(pixels, boxes, labels, strict=True)
    ]
    with EventStorage():
        found = theirs(inputs)
    for name, value in expected.items():
        torch.testing.assert_close(found[LOSSES[name]], value, rtol=1e-4, atol=1e-6)


def coco_json(folder: Path, count: int = 6) -> None:
    source = ShapesSource(count, 64, 0)
    document: dict[str, list[object]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(source.classes["boxes"], 1)],
    }
    for number in range(count):
        sample = source.load(number)
        name = f"{number}.png"
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(folder / name)
        document["images"].append({"id": number + 1, "file_name": name, "width": 64, "height": 64})
        boxes, labels = sample.target["boxes"].tolist(), sample.target["box_labels"].tolist()
        for box, label in zip(boxes, labels, strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            entry = {"id": len(document["annotations"]) + 1, "image_id": number + 1, "category_id": label + 1}
            entry |= {"bbox": [box[0], box[1], width, height], "area": width * height, "iscrowd": 0}
            document["annotations"].append(entry)
    (folder / "instances.json").write_text(json.dumps(document))


def test_d2go_trains_and_evaluates_a_coco_json(tmp_path):
    from d2go.tools.train_net import main

    from fbnetv5.d2.runner import FBNetV5Runner

    coco_json(tmp_path)
    model = detector()
    save_model(tmp_path / "ours", model, model.spec)
    write_detectron2(tmp_path / "ours", tmp_path / "d2")
    cfg = d2_config(tmp_path / "d2" / "config.yaml", d2go=True)
    injected = cfg.D2GO_DATA.DATASETS.COCO_INJECTION
    injected.NAMES, injected.IM_DIRS = ["shapes_of_a_test"], [str(tmp_path)]
    injected.JSON_FILES = [str(tmp_path / "instances.json")]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("shapes_of_a_test",)
    cfg.merge_from_list(["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.REFERENCE_WORLD_SIZE", 1])
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "MODEL_EMA.ENABLED", True, "SOLVER.WARMUP_ITERS", 0])
    output = main(cfg, str(tmp_path / "run"), FBNetV5Runner)
    assert {*output.metrics} == {"default", "ema"}
    assert "AP50" in output.metrics["ema"]["shapes_of_a_test"]["bbox"]
    assert (tmp_path / "run" / "model_final.pth").is_file()
