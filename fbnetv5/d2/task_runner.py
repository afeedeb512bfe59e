"""D2Go's runner for segmentation and classification: FBNetV5Runner with what D2Go lacks for these.

d2go.train_net --runner fbnetv5.d2.task_runner.TaskRunner --config-file configs/d2go/ade20k_a_c.yaml
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, optim

import fbnetv5.d2
from fbnetv5.base.distributed import World
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.types import LABEL
from fbnetv5.config.optimizer import ScheduleConfig
from fbnetv5.d2.runner import FBNetV5Runner
from fbnetv5.engine.optim import rate_factor
from fbnetv5.metrics.accuracy import Accuracy

try:
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.evaluation import DatasetEvaluator
    from detectron2.utils import comm
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error

POLY = "PolyLR"


class TaskRunner(FBNetV5Runner):
    """Trains and evaluates ``FBNetV5Segmentation`` and ``FBNetV5Classification``, reading data with our own mapper."""

    @classmethod
    def get_default_cfg(cls) -> Any:
        """Return the defaults of :class:`FBNetV5Runner` with our mapper, RGB, and the normalisation of our own jobs."""
        cfg = super().get_default_cfg()
        cfg.D2GO_DATA.MAPPER.NAME = "MultitaskDatasetMapper"
        cfg.INPUT.FORMAT = "RGB"
        cfg.MODEL.PIXEL_MEAN = [round(255 * mean, 3) for mean in IMAGENET.mean]
        cfg.MODEL.PIXEL_STD = [round(255 * std, 3) for std in IMAGENET.std]
        return cfg

    def build_lr_scheduler(self, cfg: Any, optimizer: optim.Optimizer) -> Any:
        """Return D2Go's schedule; ``SOLVER.LR_SCHEDULER_NAME: PolyLR`` is MaskFormer's, (1 - share done) ** 0.9."""
        if cfg.SOLVER.LR_SCHEDULER_NAME != POLY:
            return super().build_lr_scheduler(cfg, optimizer)
        schedule, num_steps = ScheduleConfig(name="poly", power=0.9), cfg.SOLVER.MAX_ITER
        return optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(schedule, step, num_steps, 1.0))

    @staticmethod
    def get_evaluator(cfg: Any, dataset_name: str, output_folder: str | Path) -> Any:
        """Return D2Go's evaluator, or ours for labels of images."""
        if MetadataCatalog.get(dataset_name).get("evaluator_type") == "accuracy":
            return AccuracyEvaluator(dataset_name)
        return FBNetV5Runner.get_evaluator(cfg, dataset_name, output_folder)


class AccuracyEvaluator(DatasetEvaluator):
    """Top-1 and top-5 accuracy, in %, over all processes.

    Args:
        dataset_name: of a registered data set whose images have ``label``, and its metadata ``label_classes``.
    """

    def __init__(self, dataset_name: str) -> None:
        self.classes = MetadataCatalog.get(dataset_name).label_classes
        self.labels = {entry["file_name"]: entry[LABEL.name] for entry in DatasetCatalog.get(dataset_name)}
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.accuracy = Accuracy(LABEL, self.classes)

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Tensor]]) -> None:
        """Take in the ``scores`` [K] of images, which are looked up by ``file_name``."""
        names = [entry["file_name"] for entry in inputs]
        targets = [{LABEL.name: self.labels[name]} for name in names]
        self.accuracy.update([output["scores"] for output in outputs], targets, names)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the accuracies; every process has to ask."""
        on_cuda = torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl"
        device = torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
        found = self.accuracy.compute(World(comm.get_rank(), comm.get_world_size(), device))
        return {"classification": {name: 100 * found[name] for name in ("top1", "top5") if name in found}}
