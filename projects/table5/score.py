"""The score of one trained network: a training of ``train_net.py`` that leaves nothing behind but its metrics.

One after the other in a warm process, such trainings share the images, which are loaded once and kept in memory.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fbnetv5.base.distributed import World
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.types import Source
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import DataConfig, RunConfig
from fbnetv5.config.write import yaml_of
from fbnetv5.data.kept import KeptSource
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.train import build_training
from fbnetv5.runs.inputs import inputs


@dataclass(frozen=True)
class Scored:
    """A training that is asked for.

    Attributes:
        config, overrides: of the training, with its topology and its seed.
        metric: that the metrics must have.
        result: the file to write.
    """

    config: Path
    overrides: tuple[str, ...]
    metric: str
    result: Path

    def load(self) -> RunConfig:
        """Return the training's configuration."""
        return load_config(self.config, self.overrides)


def write_score(scored: Scored) -> None:
    """Train, evaluate and write the metrics.

    Raises:
        InputError: as :func:`train_and_evaluate`, or there is no such metric.
    """
    started = time.monotonic()
    config = scored.load()
    metrics = train_and_evaluate(config)
    if scored.metric not in metrics:
        raise InputError(f"metric={scored.metric} is none of {', '.join(metrics)}")
    seconds = round(time.monotonic() - started, 1)
    document = {"metrics": metrics, "seconds": seconds, "inputs": inputs(config)}
    write_text(scored.result, json.dumps(document, indent=1, allow_nan=False) + "\n")


def has_score(scored: Scored) -> bool:
    """Whether the metrics of this very training have been written."""
    written = read_json(scored.result)
    return bool(written) and written.get("inputs") == inputs(scored.load())


def train_and_evaluate(config: RunConfig) -> dict[str, float]:
    """Train as the job ``train`` does, without a folder; return the metrics on the validation split.

    Raises:
        InputError: the configuration or the data are at fault, the training diverged, or there is no validation split.
    """
    with world_of(config.runtime) as world:
        return _train(config, world)


def _train(config: RunConfig, world: World) -> dict[str, float]:
    training = build_training(config, world)
    training.source, training.val_source = kept_sources(yaml_of(config.data))
    if training.val_source is None:
        raise InputError("there is nothing to score on: give data.val")
    training.model.train()
    for step, batch in enumerate(training.batches(0)):
        training.step(step, batch)
    return training.evaluate()


@functools.lru_cache(maxsize=4)
def kept_sources(data: str) -> tuple[Source, Source | None]:
    """Return the training and the validation split of a config's node ``data``, given as YAML; a process keeps both."""
    node = OmegaConf.merge(OmegaConf.structured(DataConfig), OmegaConf.create(data))
    config: Any = OmegaConf.to_object(node)
    source = build_source(config)
    val_source = build_val_source(config, source.classes)
    return KeptSource(source), None if val_source is None else KeptSource(val_source)
