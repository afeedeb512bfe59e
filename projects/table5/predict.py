"""What a searched supernet predicts of topologies: the loss of its search head, with BN recalibrated for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World, start_world
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Batch, Source, Target
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_weights
from fbnetv5.config.read import load_config, path_override
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.loader import build_loader
from fbnetv5.data.sources import build_val_source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.batch_norm import recalibrated_bn
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.jobs.search import build_run
from fbnetv5.projects.table5.options import PredictConfig
from fbnetv5.report.run_folder import read_json
from fbnetv5.tasks.multitask import MultitaskNet


@dataclass(frozen=True)
class Prediction:
    """The losses that are asked for: of topologies of one task, by the supernet of one search.

    Attributes:
        config, overrides: of the search, without its folder.
        search: its folder.
        task: whose head gives the loss.
        topologies: their files, by code.
        options: how many images.
        result: the file to write.
    """

    config: Path
    overrides: tuple[str, ...]
    search: Path
    task: str
    topologies: tuple[tuple[str, Path], ...]
    options: PredictConfig
    result: Path

    @property
    def inputs(self) -> dict[str, Any]:
        """All that the losses depend on, as plain data."""
        codes = [code for code, _ in self.topologies]
        return {"codes": codes, "search": list(self.overrides), **vars(self.options)}


def prediction_file(root: Path, name: str) -> Path:
    """Return where the losses stand that the supernet predicts, by topology."""
    return root / f"{name}.json"


def write_prediction(prediction: Prediction) -> None:
    """Predict losses and write them.

    Raises:
        InputError: as :func:`predict`.
    """
    config = load_config(prediction.config, (*prediction.overrides, path_override("output", prediction.search)))
    topologies = {code: Topology.load(file) for code, file in prediction.topologies}
    losses = predict(config, prediction.task, topologies, prediction.options)
    write_text(prediction.result, json.dumps({"inputs": prediction.inputs, "losses": losses}, indent=2) + "\n")


def is_predicted(prediction: Prediction) -> bool:
    """Whether the losses of this very prediction have been written."""
    return bool(read_json(prediction.result).get("inputs") == prediction.inputs)


def predict(
    config: RunConfig, task: str, topologies: Mapping[str, Topology], options: PredictConfig
) -> dict[str, float]:
    """Return the loss of each topology as a sub-network of a finished search's supernet; lower is better.

    All see the same images: training images without augmentation to recalibrate BN on, validation images for the loss.

    Args:
        config: of the search, whose folder is ``output``.
        task: of the search, whose head gives the loss.
        topologies: by name.
        options: how many images.

    Raises:
        InputError: the search has no weights, or no validation image is labelled for the task.
    """
    with start_world(config.runtime.device, config.runtime.threads) as world:
        run = build_run(config, world)
        weights = Path(config.output) / WEIGHTS
        load_by_name(run.model, read_weights(weights), optional=None, origin=weights)
        net = MultitaskNet(run.model.network, {task: run.model.tasks[task]}, {task: run.model.heads[task]})
        target = run.model.tasks[task].target
        val = build_val_source(config.data, run.source.classes)
        if val is None or val.num_labelled(target.name) == 0:
            raise InputError(f"no validation image is labelled for '{task}': give data.val in search.overrides")
        size, normalisation = options.batch_size, run.model.normalisation
        calibration = _batches(config, run.source, target, options.num_calibration_images, size, world, normalisation)
        held_out = _batches(config, val, target, options.num_images, size, world, normalisation)
        return {
            name: _loss(net, topology.prune(net.head_paths), calibration, held_out, config)
            for name, topology in topologies.items()
        }


def _batches(
    config: RunConfig,
    source: Source,
    target: Target,
    num_images: int,
    batch_size: int,
    world: World,
    normalisation: Normalisation,
) -> list[Batch]:
    """Return batches of images that are labelled with ``target``, without random augmentation but crops."""
    rows = list(source.labelled(target.name))
    rows = rows[:: max(1, len(rows) // num_images)][:num_images]  # evenly spaced, as files may be sorted by class
    size = min(batch_size, len(rows))
    plain = replace(config.data, flip=False, color="none", scale=None, area=None)
    batches = build_loader(
        plain,
        Subset(source, rows),
        [target],
        world,
        steps=range(len(rows) // size),
        batch_size=size,
        workers=config.runtime.workers,
        seed=0,
        normalisation=normalisation,
    )
    return [batch.to(world.device) for batch in batches]


@torch.no_grad()
def _loss(
    net: MultitaskNet, topology: Topology, calibration: list[Batch], held_out: list[Batch], config: RunConfig
) -> float:
    """Return the mean loss over ``held_out``."""
    dtype = WEIGHT_DTYPES[config.runtime.precision]

    def forward(batch: Batch) -> dict[str, Tensor]:
        return net(batch.images.to(dtype, memory_format=torch.channels_last), batch.targets, topology)

    losses = []
    with recalibrated_bn(net, forward, calibration):
        net.eval()
        _let_heads_return_losses(net.heads)
        for index, batch in enumerate(held_out):
            with forked(0, Purpose.HEADS, index, device=batch.images.device):
                losses += [float(loss) for loss in forward(batch).values()]
    return sum(losses) / len(losses)


def _let_heads_return_losses(heads: nn.Module) -> None:
    """Put heads in training mode, but for BN, which keeps its statistics, and dropout."""
    for module in heads.modules():
        module.training = not isinstance(module, (_BatchNorm, nn.Dropout))
