"""D2Go's runners: for our detectors, and (from its own module) for a search.

d2go.train_net --runner fbnetv5.d2.runner.FBNetV5Runner --config-file configs/d2go/coco_a_c.yaml
d2go.train_net --runner fbnetv5.d2.runner.SearchRunner --config-file configs/d2go/search_fbnetv5_a.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch import distributed as dist

import fbnetv5.d2
from fbnetv5.d2.cfg_node import add_fbnetv5_config
from fbnetv5.d2.checkpointer import FBNetV5Checkpointer
from fbnetv5.d2.data import register_datasets
from fbnetv5.d2.search_runner import SearchRunner
from fbnetv5.jobs.model_training import SYNC_BN_BELOW

try:
    from d2go.modeling import ema
    from d2go.runner import GeneralizedRCNNRunner
    from d2go.trainer.api import TestNetOutput, TrainNetOutput
    from detectron2.engine import HookBase
    from detectron2.utils import comm
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

    def build_checkpointer(self, cfg: Any, model: Any, save_dir: str, **kwargs: Any) -> Any:
        """Return D2Go's checkpointer, which refuses weights for other images or of another network."""
        kwargs.update(ema.may_get_ema_checkpointer(cfg, model))
        return FBNetV5Checkpointer(cfg, model, save_dir=save_dir, **kwargs)

    def _build_model(self, cfg: Any, eval_only: bool = False) -> Any:
        model = super()._build_model(cfg, eval_only)
        num_processes = comm.get_world_size()
        few = cfg.SOLVER.IMS_PER_BATCH // num_processes < SYNC_BN_BELOW
        if not eval_only and num_processes > 1 and few and cfg.MODEL.DEVICE.startswith("cuda"):
            model = convert_sync_batchnorm(model)  # as our own trainings do
        return model

    def _get_trainer_hooks(self, cfg: Any, model: Any, *rest: Any) -> list[Any]:
        timer, average, *others = super()._get_trainer_hooks(cfg, model, *rest)
        return [timer, average, GoOnAveraging(average), AverageBuffers(cfg, model), *others]

    def do_test(self, cfg: Any, model: Any, train_iter: int | None = None) -> Any:
        """Evaluate as D2Go does; metrics are plain numbers, which alone the launching process reads back."""
        return plain(super().do_test(cfg, model, train_iter))


class GoOnAveraging(HookBase):
    """Lets the moving average of weights count the iterations before a resumed one, by which its decay warms up."""

    def __init__(self, average: Any) -> None:
        self.average = average

    def before_train(self) -> None:
        """Set the count, which D2Go keeps in no checkpoint, where there is one."""
        updater = getattr(self.average, "ema_updater", None)
        if updater is not None and updater._num_updates >= 0:
            updater._num_updates = self.trainer.start_iter


class AverageBuffers(HookBase):
    """Averages the statistics of batch normalisation over the processes before they are saved or evaluated.

    Each process has its own, as D2Go does not broadcast them; our own trainings average them likewise.
    """

    def __init__(self, cfg: Any, model: Any) -> None:
        self.model = getattr(model, "module", model)
        self.periods = [period for period in (cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD) if period > 0]

    def after_step(self) -> None:
        """Average where this iteration ends with a checkpoint or an evaluation."""
        done, num_processes = self.trainer.iter + 1, comm.get_world_size()
        if num_processes == 1 or not (done == self.trainer.max_iter or any(done % n == 0 for n in self.periods)):
            return
        average = getattr(self.model, "ema_state", None)
        for name, buffer in self.model.named_buffers():
            for tensor in (buffer, average.state.get(name) if average else None):
                if tensor is not None and tensor.is_floating_point():
                    dist.all_reduce(tensor)
                    tensor /= num_processes


def plain(results: Any) -> Any:
    """Return nested results with NumPy's numbers turned into Python's."""
    if isinstance(results, Mapping):
        return {name: plain(value) for name, value in results.items()}
    return results.item() if isinstance(results, np.generic) else results
