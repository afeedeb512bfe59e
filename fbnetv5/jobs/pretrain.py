"""Pretrain: train the supernet on architectures drawn at random, for a search to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fbnetv5.base.weights import WEIGHTS, save_weights
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.trainer import train
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.search import build_run
from fbnetv5.report.html import try_report

UNIFORM = {"_target_": "fbnetv5.search.algorithms.RandomSampling"}


def run(config: RunConfig, folder: Path) -> None:
    """Train the supernet with every block kept with probability 0.5 (FBNetV5, Section 4.1).

    Writes to ``folder``: config.yaml, metrics.jsonl, tensorboard/, checkpoints/, report.html and model.safetensors,
    which ``model.weights`` of a search takes.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime) as world:
        search = replace(config.search, algorithm=UNIFORM, compare="loss")  # as nothing is chosen by scores
        supernet = build_run(replace(config, search=search), world, folder)
        train(supernet, folder)
        if world.is_main:
            model = supernet.model
            save_weights(folder / WEIGHTS, model.state_dict(), model.normalisation, model.origin)
            print(f"pretrained supernet: {folder / WEIGHTS} (give it to a search as model.weights)")
            try_report(folder)
