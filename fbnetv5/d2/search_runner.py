"""D2Go's runner for a search: our supernet and algorithm in D2Go's training loop, its checkpoints and its DDP.

d2go.train_net --runner fbnetv5.d2.runner.SearchRunner --config-file configs/d2go/search_fbnetv5_a.yaml
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import optim

import fbnetv5.d2
from fbnetv5.base.files import write_text
from fbnetv5.base.types import Batch
from fbnetv5.base.version import __version__
from fbnetv5.base.weights import WEIGHTS, save_weights
from fbnetv5.config.targets import import_module
from fbnetv5.config.write import saved_yaml
from fbnetv5.d2.cfg_node import add_fbnetv5_config
from fbnetv5.d2.data import register_datasets
from fbnetv5.d2.search_config import check_search_config, fill_shared_keys, read_search_config, set_search_defaults
from fbnetv5.d2.search_hook import SearchHook
from fbnetv5.d2.supernet import FBNetV5Supernet
from fbnetv5.jobs.derived import clear_found, write_topologies
from fbnetv5.jobs.last_look import take_last_look
from fbnetv5.jobs.search import go_on_with_latencies
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.latency.block_costs import keep_latencies

try:
    from d2go.config import temp_defrost
    from d2go.runner.default_runner import Detectron2GoRunner
    from d2go.trainer.api import TestNetOutput, TrainNetOutput
    from detectron2.utils import comm
    from detectron2.utils.events import get_event_storage
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error

logger = logging.getLogger(__name__)
CONFIG = "search.yaml"  # our resolved configuration; config.yaml is D2Go's


class SearchRunner(Detectron2GoRunner):
    """Searches topologies with a method that takes one backward pass a sample: algorithm 4, or random sampling.

    ``OUTPUT_DIR`` gets D2Go's files, and of ours: search.yaml, metrics.jsonl, probabilities.csv, tensorboard/; at the
    end model.safetensors (the supernet), last_look.json, topology_<task>.yaml and .png, topologies.png, family_<task>/
    and joint.yaml.
    """

    @classmethod
    def get_default_cfg(cls) -> Any:
        """Return D2Go's defaults with ``MODEL.FBNETV5``, as a search needs them."""
        cfg = super().get_default_cfg()
        add_fbnetv5_config(cfg)
        set_search_defaults(cfg)
        return cfg

    @classmethod
    def create_shared_context(cls, cfg: Any) -> None:
        """Let the process that launches others read what they return: torch >= 2.6 takes known classes only."""
        torch.serialization.add_safe_globals([TestNetOutput, TrainNetOutput])

    def register(self, cfg: Any) -> None:
        """Register modules and data sets, and complete ``cfg`` from the search's own file.

        Raises:
            InputError: a key has no place in a search, or the search's file is at fault.
        """
        fbnetv5.d2.register()
        check_search_config(cfg, comm.get_world_size(), self.get_default_cfg())
        config = read_search_config(cfg)
        for module in config.runtime.imports:
            import_module("runtime.imports", module)
        register_datasets(cfg)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = config.runtime.tf32
        if config.runtime.threads is not None:
            torch.set_num_threads(config.runtime.threads)
        with temp_defrost(cfg):
            fill_shared_keys(cfg, config)
        super().register(cfg)

    def build_optimizer(self, cfg: Any, model: Any) -> optim.Optimizer:
        """Return the optimiser of our own searches: the same groups of parameters."""
        return supernet_run(model).optimizer

    def build_lr_scheduler(self, cfg: Any, optimizer: optim.Optimizer) -> Any:
        """Return the schedule of our own searches, a pure function of the iteration."""
        run = self._search.run
        return optim.lr_scheduler.LambdaLR(optimizer, lambda step: run.rate_factor(step))

    def build_checkpointer(self, cfg: Any, model: Any, save_dir: str, **kwargs: Any) -> Any:
        """Return D2Go's checkpointer; in training, with the state of the search."""
        if "optimizer" in kwargs:
            kwargs["search"] = self._search
        return super().build_checkpointer(cfg, model, save_dir, **kwargs)

    def build_detection_train_loader(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of our own searches, in the same order."""
        return SearchLoader(self._search.run)

    def do_train(self, cfg: Any, model: Any, resume: bool) -> Any:
        """Train as D2Go does, then write what was found.

        Raises:
            InputError: a loss or a gradient is not finite, or the run to resume is another one.
        """
        folder, run = Path(cfg.OUTPUT_DIR), supernet_run(model)
        if resume:
            go_on_with_latencies(run, folder)
        self._search = SearchHook(_unwrapped(model), folder, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.DATASETS.TRAIN)
        keep_latencies(run.latency, folder, run.world)
        if run.world.is_main:
            header = f"fbnetv5 {__version__} in D2Go's training loop\n{run.world.size} process(es)"
            write_text(folder / CONFIG, saved_yaml(run.config, header))
        trained = super().do_train(cfg, model, resume)
        looked = take_last_look(run)
        if run.world.is_main:
            clear_found(folder)
            save_weights(folder / WEIGHTS, run.weights, run.model.normalisation, run.model.origin)
            write_topologies(run, folder, looked)
        comm.synchronize()
        return trained

    def do_test(self, cfg: Any, model: Any, train_iter: int | None = None) -> dict[str, Any]:
        """Evaluate nothing: what a search finds is evaluated once it is trained."""
        logger.info("a search has nothing to evaluate: train the topologies that it found")
        return {}

    def _get_trainer_hooks(self, *args: Any) -> list[Any]:
        return [self._search, *super()._get_trainer_hooks(*args)]


class SearchLoader:
    """This rank's batches of a search from the iteration on that D2Go's trainer is at when it asks for the first."""

    def __init__(self, run: SupernetRun) -> None:
        self.run = run

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.run.batches(get_event_storage().iter))


def supernet_run(model: Any) -> SupernetRun:
    """Return the parts of the search that a model, possibly in DDP's hands, belongs to."""
    return _unwrapped(model).run


def _unwrapped(model: Any) -> FBNetV5Supernet:
    supernet: FBNetV5Supernet = getattr(model, "module", model)
    return supernet
