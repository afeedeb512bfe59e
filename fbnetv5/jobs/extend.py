"""Adding tasks to a finished search: its supernet is frozen, and only what is new learns (``search.extend``).

FBNetV5 names this as open (Section 6). Weights and BN statistics of the supernet stay as they are, the heads and
probabilities of the earlier tasks are not even computed, and architectures are drawn from the new tasks' distributions
alone.

BN normalises by the statistics of the micro-batch, as it did while the weights were learnt, so that a sub-network
computes what it computed then. The running statistics mix the sub-networks of the whole search: they fit some better
than others, and would prefer those.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fbnetv5.base.documents import parse_yaml, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.limits import MAX_DOCUMENT
from fbnetv5.base.paths import local_folder
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_normalisation, read_origin, read_weights
from fbnetv5.config.read import CONFIG
from fbnetv5.config.schema import ModelConfig
from fbnetv5.engine.batch_norm import bn_layers
from fbnetv5.tasks.multitask import MultitaskNet

NETWORK = "network."
HEADS = "heads."
SUPERNET_FILES = (CONFIG, WEIGHTS)
SUPERNET_JOBS = ("search", "pretrain")


def read_finished(extend: str, job: str, model: ModelConfig, tasks: Collection[str]) -> dict[str, Tensor]:
    """Read the supernet, with its heads, of a finished run; by name, on the CPU.

    Args:
        extend: its folder, ``search.extend`` of the run that adds tasks to it.
        job: of that run.
        model: of that run.
        tasks: the names of the tasks to add.

    Raises:
        InputError: there is no finished search, it has another family, number of stages or a task of the same name, or
            this run is no search or would start from other weights as well.
    """
    start = f"search.extend={extend}"
    if job != "search":
        raise InputError(f"{start} adds tasks to a search, and this is job={job}; remove it")
    for key in ("weights", "trunk_weights"):
        if getattr(model, key) is not None:
            raise InputError(f"model.{key} has no effect with {start}, whose supernet is kept; remove one of the two")
    folder = local_folder(extend, SUPERNET_FILES)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{start}: there is no {CONFIG}, so this is not the folder of a run")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{start}: there is no {WEIGHTS} yet; finish that search first (resume=true)")
    described = _described(folder / CONFIG)
    if described["job"] not in SUPERNET_JOBS:
        raise InputError(f"{start} is a run of job={described['job']}; give the folder of a search")
    for key in ("family", "num_stages"):
        own, other = getattr(model, key), described[key]
        if own != other:
            raise InputError(f"{start} has model.{key}={other}, this run {own}; set model.{key}={other}")
    weights = read_weights(folder / WEIGHTS)
    for name in tasks:
        if name in task_names(weights):
            raise InputError(f"tasks.{name}: {start} has a task of that name; rename it, or set tasks.{name}=null")
    return weights


def task_names(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the tasks whose heads are among a supernet's weights, sorted."""
    return tuple(sorted({name.split(".")[1] for name in weights if name.startswith(HEADS)}))


def freeze_network(model: MultitaskNet, weights: Mapping[str, Tensor], folder: str) -> None:
    """Give ``model``'s network the weights of the finished search in ``folder``, for good.

    Nothing of it takes a gradient, and its BN layers use batch statistics in training without keeping any.

    Raises:
        InputError: they do not fit.
    """
    file = local_folder(folder, SUPERNET_FILES) / WEIGHTS
    network = {name: tensor for name, tensor in weights.items() if name.startswith(NETWORK)}
    load_by_name(model, network, optional=HEADS, origin=file)
    model.normalisation, model.origin = read_normalisation(file), read_origin(file)
    model.network.requires_grad_(False)
    for layer in bn_layers(model.network):
        layer.track_running_stats = False  # of a layer that has them, torch then leaves them as they are


def require_same_network(kept: Mapping[str, Tensor], restored: Mapping[str, Tensor], folder: str) -> None:
    """Raise InputError unless the network of a checkpoint is the one that the run extends now."""
    for name, tensor in kept.items():
        if name.startswith(NETWORK) and not bool((restored[name] == tensor.to(restored[name].dtype)).all()):
            raise InputError(
                f"search.extend={folder} has changed since this run began ({name} differs); restore it, or start again "
                "in another output folder"
            )


def _described(file: Path) -> dict[str, Any]:
    """Return what a run's configuration says of its supernet: job, family and num_stages."""
    try:
        document = parse_yaml(read_text(file, MAX_DOCUMENT))
        model = document["model"]
        return {"job": document["job"], "family": model["family"], "num_stages": model["num_stages"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{file}: cannot read this configuration: {' '.join(str(error).split())}") from error
