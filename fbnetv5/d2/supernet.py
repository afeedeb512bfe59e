"""The multitask supernet as a meta-architecture: one iteration of a search inside D2Go's training loop.

D2Go's trainer takes a step as it does for every model: forward, sum of the losses, backward, DDP's mean of the
gradients over the processes, the optimiser's step. What a search needs beside it happens where that loop has room:

=====================================  ==================================================================
in :meth:`FBNetV5Supernet.forward`     draw architectures, gather label counts, run the samples
after the backward pass (a hook)       gather losses, clip the gradient
after the optimiser's step (a hook)    move the tasks' distributions, record
=====================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fbnetv5.d2
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Batch, Source
from fbnetv5.config.schema import DataConfig
from fbnetv5.d2.data import source_from_catalog
from fbnetv5.d2.search_config import read_search_config
from fbnetv5.jobs.exchange import Iteration, Outcome
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun, begin_iteration, by_task, judge_jointly, share

try:
    from d2go.registry.builtin import META_ARCH_REGISTRY as D2GO_META_ARCH_REGISTRY
    from detectron2.modeling import META_ARCH_REGISTRY
    from detectron2.utils import comm
    from detectron2.utils.events import get_event_storage
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error


@dataclass(frozen=True)
class Passed:
    """An iteration whose forward passes are done: what it ran, on what, and what came of this rank's samples."""

    iteration: Iteration
    batch: Batch
    outcomes: list[Outcome]


@D2GO_META_ARCH_REGISTRY.register()
@META_ARCH_REGISTRY.register()
class FBNetV5Supernet(nn.Module):
    """The supernet and the search heads, under the names that they have in our own runs.

    Args:
        cfg: a config of D2Go's with ``MODEL.FBNETV5.SEARCH``.

    Raises:
        InputError: as :func:`read_search_config` and :func:`build_run`; or the search method needs more than one
            backward pass a sample, for which D2Go's loop has no room.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        config = read_search_config(cfg)
        world = World(comm.get_rank(), comm.get_world_size(), _device(cfg.MODEL.DEVICE))
        self.run: SupernetRun = build_run(config, world, Path(cfg.OUTPUT_DIR), _registered_source(cfg, config.data))
        if self.run.algorithm.draw(0).gates is not None:
            raise InputError(
                f"search.algorithm={config.search.algorithm['_target_']} takes several backward passes a sample, and "
                "D2Go's loop one; run it with train_net.py of fbnetv5"
            )
        self.network = self.run.model.network
        self.heads = self.run.model.heads
        self.passed: Passed | None = None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Run this rank's samples of the iteration that D2Go's trainer is at, forward and backward, one by one.

        What is returned has the gradient that they added up to, so the trainer's backward pass only hands it to DDP. It
        is scaled so that DDP's mean over the processes is the gradient of sum_t sum_i w_ti l_t(a_i). Sums are taken in
        the order of our own loop, and there is one sample's graph at a time, as there.

        Args:
            batch: this rank's images, a multiple of its samples.

        Returns:
            ``loss/<task>``, a scalar for every task, 0 where this rank has no label. Its mean over the processes, which
            D2Go logs, is the task's loss as estimated for its own distribution, times its weight.

        Raises:
            RuntimeError: outside of a training; a supernet predicts nothing by itself.
        """
        if not self.training:
            raise RuntimeError("a supernet predicts nothing by itself: train the topologies that it found")
        run, names = self.run, list(self.run.model.tasks)
        iteration = begin_iteration(run, get_event_storage().iter, batch)
        parameters = [parameter for parameter in run.learner.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        totals = gradients[0].new_zeros(len(names))
        outcomes = []
        for sample, part in iteration.samples.items():
            losses, scores = judge_jointly(run, iteration.step, sample, part, iteration.draw)
            shares = {name: share(run, name, loss, iteration.weights[:, sample]) for name, loss in losses.items()}
            _add_gradients(gradients, shares, parameters)
            for name, value in shares.items():
                totals[names.index(name)] += value.detach()
            outcomes.append(Outcome(by_task(run, losses), by_task(run, scores)))
        self.passed = Passed(iteration, batch, outcomes)
        values = _WithGradient.apply(totals * run.world.size, gradients, run.world.size, *parameters)
        return {f"loss/{name}": value for name, value in zip(names, values.unbind(), strict=True)}


class _WithGradient(torch.autograd.Function):
    """Losses [T] whose sum has a gradient that is known already, times ``scale``."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, gradients: list[Tensor], scale: int, *parameters: Tensor) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, factors: Tensor) -> Any:
        gradients = [gradient.mul_(factors[0] * ctx.scale) for gradient in ctx.gradients]  # a sum's factors are equal
        return None, None, None, *gradients


def _add_gradients(
    gradients: Sequence[Tensor], shares: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]
) -> None:
    """Add the gradient of a sample's losses to the rank's, in place; there may be no loss, for lack of labels."""
    if not shares:
        return
    added = torch.autograd.grad(torch.stack(list(shares.values())).sum(), parameters, allow_unused=True)
    for total, gradient in zip(gradients, added, strict=True):
        if gradient is not None:
            total += gradient


def _device(name: str) -> torch.device:
    """Return the device of this process; D2Go has chosen among several GPUs by now."""
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def _registered_source(cfg: Any, data: DataConfig) -> Source | None:
    """Return the images of ``DATASETS.TRAIN``, or None where it names none."""
    return source_from_catalog(*cfg.DATASETS.TRAIN, data=data) if cfg.DATASETS.TRAIN else None
