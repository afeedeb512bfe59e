"""The model that our config.json describes, in the keys of Detectron2's config, and the way back.

Lite R-CNN's options have a key each. What our head fixes has one too: such a key is written with its value, and another
value on the way back is an error, as our head could not reproduce the model.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import ModelConfig
from fbnetv5.config.targets import find_class
from fbnetv5.data.inputs import InputSpec
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.model.build import find_topology
from fbnetv5.model.task_net import ModelSpec

TARGET = "fbnetv5.heads.lite_rcnn.LiteRCNN"
NO_LIMIT = sys.maxsize  # the long side of images that have no limit, as in Detectron2's ResizeShortestEdge
FIXED: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.MASK_ON": False,
    "MODEL.KEYPOINT_ON": False,
    "MODEL.BACKBONE.NAME": "build_fbnetv5_backbone",
    "MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0,
    "MODEL.RPN.HEAD_NAME": "build_fbnetv5_rpn_head",
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_BOX_HEAD.NAME": "FBNetV5BoxHead",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 6,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": False,
    "INPUT.FORMAT": "RGB",
    "TEST.DETECTIONS_PER_IMAGE": 100,
}
NUMBERS = {  # options that are a number, or one for training and one for evaluation
    "num_candidates": ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "MODEL.RPN.PRE_NMS_TOPK_TEST"),
    "num_proposals": ("MODEL.RPN.POST_NMS_TOPK_TRAIN", "MODEL.RPN.POST_NMS_TOPK_TEST"),
    "num_sampled": ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE",),
    "num_sampled_anchors": ("MODEL.RPN.BATCH_SIZE_PER_IMAGE",),
    "score_threshold": ("MODEL.ROI_HEADS.SCORE_THRESH_TEST",),
}
LISTS = {  # options that are a list; Detectron2 has one for each feature
    "anchor_sizes": "MODEL.ANCHOR_GENERATOR.SIZES",
    "aspect_ratios": "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
}
FEATURES = ("MODEL.RPN.IN_FEATURES", "MODEL.ROI_HEADS.IN_FEATURES")


def to_config(spec: ModelSpec, *, topology: str, weights: str) -> dict[str, Any]:
    """Return Detectron2's config of a detector, as nested plain data for YAML.

    Args:
        spec: of a model whose head is Lite R-CNN.
        topology, weights: the files that the config shall name.

    Raises:
        InputError: the head or the network is another one, or the input cannot be Detectron2's.
    """
    if find_class("model.head", spec.head) is not LiteRCNN:
        raise InputError(
            f"only Lite R-CNN has a counterpart in Detectron2; this model's head is {spec.head['_target_']}"
        )
    if spec.family is None:
        raise InputError(f"Detectron2 gets networks of a family with a topology; this model's is {spec.network_name}")
    if spec.input.multiple != STRIDES[-1] or spec.input.crop is not None:
        raise InputError(f"input.multiple should be {STRIDES[-1]} and crop null for a detector in Detectron2")
    defaults = inspect.signature(LiteRCNN).parameters
    options = {name: spec.head.get(name, defaults[name].default) for name in (*NUMBERS, *LISTS, "path")}
    keys = dict(FIXED)
    for name, targets in NUMBERS.items():
        values = options[name] if len(targets) > 1 else [options[name]]
        keys |= dict(zip(targets, values, strict=True))
    keys |= {key: [list(options[name])] for name, key in LISTS.items()}
    keys |= {key: [f"path{options['path']}"] for key in FEATURES}
    keys |= {
        "MODEL.FBNETV5.FAMILY": spec.family,
        "MODEL.FBNETV5.TOPOLOGY": topology,
        "MODEL.FBNETV5.HEAD.classes": list(spec.classes),
        "MODEL.ROI_HEADS.NUM_CLASSES": len(spec.classes),
        "MODEL.WEIGHTS": weights,
        **_input_keys(spec.input),
        "VERSION": 2,
    }
    return _nested(keys)


def _input_keys(spec: InputSpec) -> dict[str, Any]:
    long_side = NO_LIMIT if spec.long_side is None else spec.long_side
    return {
        "MODEL.PIXEL_MEAN": [255 * value for value in spec.mean],
        "MODEL.PIXEL_STD": [255 * value for value in spec.std],
        "INPUT.MIN_SIZE_TRAIN": [spec.short_side],
        "INPUT.MIN_SIZE_TEST": spec.short_side,
        "INPUT.MAX_SIZE_TRAIN": long_side,
        "INPUT.MAX_SIZE_TEST": long_side,
    }


def _nested(keys: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into mappings of mappings."""
    document: dict[str, Any] = {}
    for key, value in keys.items():
        *parents, name = key.split(".")
        node = document
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return document


def to_spec(cfg: Any, classes: Sequence[str]) -> ModelSpec:
    """Return what rebuilds, as our model, the detector of a Detectron2 config.

    Args:
        cfg: with all keys.
        classes: their names.

    Raises:
        InputError: the model is another one than our head, or there is not one name a class.
    """
    for key, expected in FIXED.items():
        value = _value(cfg, key)
        if (list(value) if isinstance(expected, list) else value) != expected:
            raise InputError(f"{key} is {value}; our Lite R-CNN has {expected}, and cannot be another")
    num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    if len(classes) != num_classes:
        raise InputError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}, there are {len(classes)} names; give --classes"
        )
    head: dict[str, Any] = {"_target_": TARGET, "path": _path(cfg)}
    for name, keys in NUMBERS.items():
        values = [_value(cfg, key) for key in keys]
        head[name] = values if len(values) > 1 else values[0]
    for name, key in LISTS.items():
        head[name] = _single(key, _value(cfg, key))
    model = cfg.MODEL.FBNETV5
    return ModelSpec(
        family=model.FAMILY,
        topology=find_topology(ModelConfig(topology=model.TOPOLOGY)),
        head=head,
        classes=tuple(classes),
        input=InputSpec(
            short_side=cfg.INPUT.MIN_SIZE_TEST,
            long_side=None if cfg.INPUT.MAX_SIZE_TEST == NO_LIMIT else cfg.INPUT.MAX_SIZE_TEST,
            multiple=STRIDES[-1],
            mean=_unit(cfg.MODEL.PIXEL_MEAN),
            std=_unit(cfg.MODEL.PIXEL_STD),
        ),
    )


def _value(cfg: Any, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _path(cfg: Any) -> int:
    features = {tuple(_value(cfg, key)) for key in FEATURES}
    names = [f"path{path}" for path in range(len(STRIDES))]
    if len(features) != 1 or len(feature := features.pop()) != 1 or feature[0] not in names:
        raise InputError(f"{' and '.join(FEATURES)} should name one path, the same one, for our Lite R-CNN")
    return names.index(feature[0])


def _single(key: str, value: Sequence[Any]) -> list[Any]:
    rows = list(value)
    if rows and not isinstance(rows[0], Sequence):
        return rows
    if len(rows) != 1:
        raise InputError(f"{key} has {len(rows)} lists; our Lite R-CNN reads one feature")
    return list(rows[0])


def _unit(values: Sequence[float]) -> tuple[float, float, float]:
    """Return statistics of values in 0..255 for values in 0..1; those of ours come back without a rounding error."""
    first, second, third = (round(value / 255, 12) for value in values)
    return first, second, third
