"""Backbone and Lite R-CNN's heads for Detectron2's own GeneralizedRCNN, RPN and StandardROIHeads.

The modules are the core's. Detectron2 contributes the rest: anchors, matching, losses, RoIAlign, class scores and box
deltas. ``configs/d2go/coco.yaml`` has the keys that make it Lite R-CNN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fbnetv5.archs.families import STRIDES, get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import ModelConfig
from fbnetv5.d2 import not_installed
from fbnetv5.heads.lite_rcnn.layers import LiteBoxHead, LiteRPNHead
from fbnetv5.model.build import find_topology

try:
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY, ROI_BOX_HEAD_REGISTRY, RPN_HEAD_REGISTRY, Backbone
    from detectron2.modeling.anchor_generator import build_anchor_generator
except ImportError as error:
    raise not_installed(error) from error


class FBNetV5Backbone(Backbone):
    """A family's network with a topology, as a backbone of Detectron2; its outputs are ``path0`` to ``path3``.

    Args:
        family: name of the FBNetV3 family.
        topology: the blocks; those that no path of ``paths`` sees are not built.
        paths: the outputs; by default the topology's.

    Raises:
        InputError: there is no such family, or the topology lacks an output.
    """

    def __init__(self, family: str, topology: Topology, paths: Sequence[int] | None = None) -> None:
        super().__init__()
        paths = topology.outputs if paths is None else paths
        missing = [path_name(path) for path in paths if path not in topology.outputs]
        if missing:
            returned = ", ".join(map(path_name, topology.outputs))
            raise InputError(f"the config reads {', '.join(missing)}, the topology of MODEL.FBNETV5 returns {returned}")
        self.network = MultiPathNet(get_family(family), topology.prune(paths))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalised images [N, 3, H, W] to features by name, [N, channels, H / stride, W / stride] or near it."""
        return {path_name(path): feature for path, feature in self.network(images).items()}

    def output_shape(self) -> dict[str, Any]:
        """Return channels and nominal stride of each output."""
        channels = self.network.channels
        return {
            path_name(path): ShapeSpec(channels=channels[path], stride=STRIDES[path])
            for path in self.network.topology.outputs
        }

    @property
    def size_divisibility(self) -> int:
        """Images are padded to multiples of this many pixels, as in our own training."""
        return STRIDES[-1]


@ROI_BOX_HEAD_REGISTRY.register()
class FBNetV5BoxHead(LiteBoxHead):
    """Lite R-CNN's box head, as StandardROIHeads builds it."""

    def __init__(self, cfg: Any, input_shape: Any) -> None:
        super().__init__(input_shape.channels)

    @property
    def output_shape(self) -> Any:
        """Shape that FastRCNNOutputLayers reads: a vector for each box."""
        return ShapeSpec(channels=self.channels[-1])


@BACKBONE_REGISTRY.register()
def build_fbnetv5_backbone(cfg: Any, input_shape: Any) -> FBNetV5Backbone:
    """Build the backbone of ``MODEL.FBNETV5`` with the paths that RPN and ROI heads read, or else the topology's."""
    unknown = [key for key in cfg.MODEL.FBNETV5.HEAD if key != "classes"]
    if unknown:
        raise InputError(
            f"MODEL.FBNETV5.HEAD.{unknown[0]} is no key of a detector; Detectron2 has keys of its own for its options"
        )
    if not cfg.MODEL.FBNETV5.TOPOLOGY:
        raise InputError(
            "MODEL.FBNETV5.TOPOLOGY is missing: a file that a search wrote, or configs/topologies/det.yaml"
        )
    topology = find_topology(ModelConfig(topology=cfg.MODEL.FBNETV5.TOPOLOGY))
    names = {*cfg.MODEL.RPN.IN_FEATURES, *cfg.MODEL.ROI_HEADS.IN_FEATURES}
    paths = sorted(int(name[-1]) for name in names if re.fullmatch(r"path[0-3]", name))
    return FBNetV5Backbone(cfg.MODEL.FBNETV5.FAMILY, topology, paths or None)


@RPN_HEAD_REGISTRY.register()
def build_fbnetv5_rpn_head(cfg: Any, input_shape: Sequence[Any]) -> LiteRPNHead:
    """Build Lite R-CNN's RPN head for the one feature that it reads."""
    if len(input_shape) != 1:
        raise InputError(f"MODEL.RPN.IN_FEATURES names {len(input_shape)} features; Lite R-CNN's RPN reads one")
    (num_anchors,) = build_anchor_generator(cfg, input_shape).num_anchors
    return LiteRPNHead(input_shape[0].channels, num_anchors)


def path_name(path: int) -> str:
    """Return the name of a path's feature in Detectron2."""
    return f"path{path}"
