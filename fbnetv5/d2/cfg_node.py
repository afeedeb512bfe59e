"""The keys that Detectron2's config gets from us: one node, ``MODEL.FBNETV5``, with six of them."""

from __future__ import annotations

from typing import Any


def add_fbnetv5_config(cfg: Any) -> None:
    """Add ``MODEL.FBNETV5`` to a config of Detectron2 or D2Go; nothing happens where it is there already.

    Args:
        cfg: ``detectron2.config.get_cfg()``, or D2Go's.
    """
    if "FBNETV5" in cfg.MODEL:
        return
    new_node = type(cfg)
    node = new_node()
    # Name of the FBNetV3 family: A_C, A_R, A, B, C, D, E, F, G or NANO.
    node.FAMILY = "A_C"
    # File of the topology, also of one in the project's own clone, or a named one: linear, unet, fpn, panet or bifpn.
    node.TOPOLOGY = ""
    # Classes of an image classifier; detectors and segmenters have Detectron2's own keys for theirs.
    node.NUM_CLASSES = 0
    # Options of the core's head, as under model.head; of a converted detector, the names of its classes.
    node.HEAD = new_node({}, new_allowed=True)
    # Search: one of this project's YAML files, and key=value overrides of it.
    node.SEARCH = ""
    node.OVERRIDES = []
    cfg.MODEL.FBNETV5 = node
