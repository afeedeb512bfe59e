"""D2Go's runners: for our detectors, and (from its own module) for a search.

d2go.train_net --runner fbnetv5.d2.runner.FBNetV5Runner --config-file configs/d2go/coco_a_c.yaml
d2go.train_net --runner fbnetv5.d2.runner.SearchRunner --config-file configs/d2go/search_fbnetv5_a.yaml
"""

from __future__ import annotations

from typing import Any

import torch

import fbnetv5.d2
from fbnetv5.d2.config import add_fbnetv5_config
from fbnetv5.d2.data import register_datasets
from fbnetv5.d2.search_runner import SearchRunner

try:
    from d2go.runner import GeneralizedRCNNRunner
    from d2go.trainer.api import TestNetOutput, TrainNetOutput
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error

__all__ = ["FBNetV5Runner", "SearchRunner"]


class FBNetV5Runner(GeneralizedRCNNRunner):
    """D2Go's runner with our config node, our modules and our data sets."""

    @classmethod
    def get_default_cfg(cls) -> Any:
        """Return D2Go's defaults with ``MODEL.FBNETV5``, and our preparation for the exporter."""
        cfg = super().get_default_cfg()
        add_fbnetv5_config(cfg)
        cfg.RCNN_PREPARE_FOR_EXPORT = "fbnetv5_prepare_for_export"
        return cfg

    @classmethod
    def create_shared_context(cls, cfg: Any) -> None:
        """Let the process that launches others read what they return: torch >= 2.6 takes known classes only."""
        torch.serialization.add_safe_globals([TestNetOutput, TrainNetOutput])

    def register(self, cfg: Any) -> None:
        """Register modules and data sets, before anything is built from ``cfg``."""
        super().register(cfg)
        fbnetv5.d2.register()
        register_datasets(cfg)
