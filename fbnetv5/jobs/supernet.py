"""The supernet that a search or a pretraining trains: the parts of a run, and one iteration.

How many passes through the network a sample takes follows from what the search method draws (FBNetV5, Table 1):

======================  ==============================  =======  ========
method                  draws for T tasks               forward  backward
======================  ==============================  =======  ========
algorithms 1 and 2      T architectures, with gates     T        T
algorithm 3             one architecture, with gates    1        T
algorithm 4, random     one architecture                1        1
======================  ==============================  =======  ========

Without gates only the selected blocks are computed. With gates all are, so that a skipped block has a gradient as well.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Batch, Source
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.search import SearchConfig
from fbnetv5.data.loader import build_loader
from fbnetv5.data.sampler import images_of_step
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.divergence import DIVERGED, clip_gradient
from fbnetv5.engine.log import RunLog
from fbnetv5.engine.optim import set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.engine.trainer import Trainable
from fbnetv5.jobs.exchange import CROPPED_AWAY, Iteration, Outcome, count_labels, gather_outcomes, labelled_images
from fbnetv5.jobs.extend import require_same_network, task_names
from fbnetv5.jobs.judge import Judged, judge
from fbnetv5.latency.block_costs import UNITS, keep_latencies
from fbnetv5.latency.table import LatencyTable
from fbnetv5.search.algorithms import Draw, SearchAlgorithm
from fbnetv5.search.estimators import effective_sample_sizes
from fbnetv5.tasks.gates import gated
from fbnetv5.tasks.multitask import MultitaskNet

AGREE_EVERY = 100  # iterations after which all ranks go on from rank 0's probabilities


@dataclass
class SupernetRun(Trainable[Batch]):
    """The parts of a search or a pretraining, and its iteration.

    ``held_out`` are images of the training split that weights do not learn from, where there is a last look.
    ``kept`` holds the weights of the search that this one extends, by name; it is empty where it extends none.
    ``latency`` is there where it is what blocks cost.
    """

    config: RunConfig
    world: World
    source: Source
    space: TopologySpace
    model: MultitaskNet
    optimizer: optim.Optimizer
    algorithm: SearchAlgorithm
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    latency: LatencyTable | None = None
    held_out: Source | None = None

    @property
    def duration(self) -> SearchConfig:
        """The node ``search``."""
        return self.config.search

    @property
    def budget(self) -> float | None:
        """What the blocks of a derived topology cost at most, in the unit of ``space``'s costs; None for any."""
        search = self.config.search
        if search.budget is not None or search.budget_share is None:
            return search.budget
        return search.budget_share * sum(self.space.block_costs)

    @property
    def num_images(self) -> int:
        """Training images, whatever they are labelled for."""
        return len(self.source)

    @property
    def images_per_step(self) -> int:
        """Distinct images of an iteration: each is seen by the architectures of a group."""
        return self.config.search.batch_size // self.config.search.group

    @functools.cached_property
    def labelled(self) -> Tensor:
        """Which images are labelled for each task, bool [T, images]."""
        return labelled_images(self.source, [task.target for task in self.model.tasks.values()])

    @property
    def learner(self) -> nn.Module:
        """The part that learns: the model, or its heads alone where the network is a finished search's."""
        return self.model.heads if self.kept else self.model

    @property
    def weights(self) -> dict[str, Tensor]:
        """The supernet and all heads by name, those of the search that this one extends as they were."""
        return {**self.model.state_dict(), **self.kept}

    def arch_lr(self, step: int) -> float:
        """Return the rate of the logits at a step: 0 in the warm-up."""
        search = self.config.search
        if step < round(search.arch_start * self.num_steps):
            return 0.0
        return search.arch_lr * (self.rate_factor(step) if search.arch_schedule == "weights" else 1.0)

    def task_weight(self, name: str) -> float:
        """Return what a task's loss is multiplied by for the shared weights; its probabilities see the loss itself."""
        return self.config.search.task_weights.get(name, 1.0)

    def probabilities(self) -> dict[str, list[float]]:
        """Return, by task, the probability that each block is selected, slot by slot."""
        probabilities = self.algorithm.distribution.probabilities()
        return {name: p[:, 1].tolist() for name, p in zip(self.model.tasks, probabilities, strict=True)}

    def summary(self) -> str:
        config = self.config
        tasks = ", ".join(self.model.tasks)
        if self.kept:
            tasks += f", added to {', '.join(task_names(self.kept)) or 'the supernet'} of {config.search.extend}"
        unit = UNITS[config.search.cost]
        if self.latency is not None:
            costs = self.latency.block_latencies(self.space.num_stages)
            unit += f" on {self.latency.described}: {min(costs):.3g} to {max(costs):.3g}, {sum(costs):.3g} together"
            unit += f" beside a trunk of {self.latency.trunk_ms:.3g}"
        if config.job == "search" and self.budget is not None:
            both = None not in (config.search.budget, config.search.budget_share)
            unit += f", a topology's at most {self.budget:.3g}{' (budget, not budget_share)' * both}"
        return (
            f"{config.job} for {tasks}: family {config.model.family}, {len(self.space.num_options)} "
            f"blocks, their cost in {unit}; {len(self.source):,} images; {self.num_steps:,} steps of "
            f"{config.search.num_samples} architectures"
        )

    def batches(self, start_step: int) -> Iterable[Batch]:
        config = self.config
        return build_loader(
            config.data,
            self.source,
            [task.target for task in self.model.tasks.values()],
            self.world,
            steps=range(start_step, self.num_steps),
            batch_size=self.images_per_step,
            workers=config.runtime.workers,
            seed=config.seed,
            normalisation=self.model.normalisation,
        )

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        return supernet_step(self, step, batch)

    def prepare(self, folder: Path) -> None:
        keep_latencies(self.latency, folder, self.world)

    def record(self, step: int, log: RunLog) -> None:
        if self.config.job == "search":
            log.probabilities(step, self.probabilities(), self.space.slot_names)

    def average_statistics(self) -> None:
        self.world.average_buffers(self.learner)

    def state_dict(self) -> dict[str, Any]:
        return {"algorithm": self.algorithm.state_dict()}

    def restore(self, checkpoint: Checkpoint) -> None:
        require_same_network(self.kept, checkpoint.weights, str(self.config.search.extend))
        super().restore(checkpoint)
        self.algorithm.load_state_dict(checkpoint.state["algorithm"])


def supernet_step(run: SupernetRun, step: int, batch: Batch) -> dict[str, float]:
    """Run one iteration of the search method, by default FBNetV5's algorithm 4.

    The rank's batch is cut into contiguous micro-batches, one sample each: an architecture, or one for each task. With
    N samples over all ranks, every rank knows all N, and how many images of each are labelled; losses, scores and the
    gates' gradients are gathered at once.

    Returns:
        the step's metrics: each task's loss, estimated for its own distribution, its effective sample size, and the
        rates.

    Raises:
        InputError: a loss or a gradient is not finite. RuntimeError: the ranks have drawn different architectures.
    """
    iteration = begin_iteration(run, step, batch)
    draw = iteration.draw
    run.optimizer.zero_grad(set_to_none=True)
    passes = joint_passes if draw.gates is None else gated_passes
    outcomes = [
        passes(run, step, sample, part, draw, iteration.weights[:, sample])
        for sample, part in iteration.samples.items()
    ]
    run.world.sum_gradients(run.learner.parameters())
    gathered = gather_outcomes(run.world, list(run.model.tasks), iteration, outcomes)
    clip_gradient(run.learner, run.config.optimizer.clip_norm, step)
    set_lr(run.optimizer, run.config.optimizer.lr * run.rate_factor(step))
    run.optimizer.step()
    return learn(run, iteration, gathered)


def begin_iteration(run: SupernetRun, step: int, batch: Batch) -> Iteration:
    """Draw the architectures of a step, give each rank's samples their images, and weigh the losses to come."""
    draw, search = run.algorithm.draw(step), run.config.search
    on_device = batch.to(run.world.device, non_blocking=True)
    distinct = on_device.split(search.num_samples // run.world.size // search.group)
    parts = [part for part in distinct for _ in range(search.group)]
    num_labelled = _all_label_counts(run, step, parts)  # [T, N]
    weights = run.algorithm.loss_weights(draw, num_labelled)  # [T, N]
    samples = dict(enumerate(parts, start=run.world.rank * len(parts)))
    return Iteration(step, draw, samples, num_labelled, weights)


def learn(run: SupernetRun, iteration: Iteration, outcome: Outcome) -> dict[str, float]:
    """Update the tasks' distributions with the outcome of all samples; return the metrics of the step.

    Now and then all ranks go on from rank 0's probabilities: their machines may round differently.

    Raises:
        InputError: a gradient is not finite.
    """
    arch_lr, distribution = run.arch_lr(iteration.step), run.algorithm.distribution
    scores = _with_gradient(outcome, iteration)
    run.algorithm.update(iteration.draw, scores, iteration.num_labelled, arch_lr)
    if run.world.size > 1 and iteration.step % AGREE_EVERY == 0:
        distribution.logits = run.world.broadcast(distribution.logits)

    estimates = (iteration.weights * outcome.losses.nan_to_num()).sum(dim=1).tolist()
    seen = iteration.num_labelled.sum(dim=1) > 0
    sizes = effective_sample_sizes(iteration.weights).tolist()
    metrics = {f"loss/{name}": loss for name, loss, any_ in zip(run.model.tasks, estimates, seen, strict=True) if any_}
    metrics |= {f"ess/{name}": size for name, size, any_ in zip(run.model.tasks, sizes, seen, strict=True) if any_}
    return metrics | {"lr": run.config.optimizer.lr * run.rate_factor(iteration.step), "arch_lr": arch_lr}


def joint_passes(run: SupernetRun, step: int, sample: int, part: Batch, draw: Draw, weights: Tensor) -> Outcome:
    """Add the gradient of a sample's share of all losses, weighted by [T]: one forward and one backward pass."""
    judged = judge_jointly(run, step, sample, part, draw)
    if judged.losses:
        torch.stack([share(run, name, loss, weights) for name, loss in judged.losses.items()]).sum().backward()
    return Outcome(by_task(run, judged.losses), by_task(run, judged.scores))


def judge_jointly(run: SupernetRun, step: int, sample: int, part: Batch, draw: Draw) -> Judged:
    """Return the losses and scores of a sample whose architecture all tasks share."""
    topology = run.space.decode(draw.choices[sample].tolist()).prune(run.model.head_paths)
    return _judge(run, run.model, step, sample, part, topology)


def share(run: SupernetRun, name: str, loss: Tensor, weights: Tensor) -> Tensor:
    """Return what a task's loss on a sample adds to the loss of the shared weights; [T] are the sample's weights."""
    return loss * float(weights[list(run.model.tasks).index(name)]) * run.task_weight(name)


def by_task(run: SupernetRun, losses: Mapping[str, Tensor]) -> Tensor:
    """Return the losses or scores of a sample as [T], without their graph; NaN where nothing is labelled."""
    nothing = torch.full((), torch.nan, dtype=WEIGHT_DTYPES[run.config.runtime.precision], device=run.world.device)
    return torch.stack([losses[name].detach() if name in losses else nothing for name in run.model.tasks])


def gated_passes(run: SupernetRun, step: int, sample: int, part: Batch, draw: Draw, weights: Tensor) -> Outcome:
    """Add the gradients of a sample's share of each loss, weighted by [T]: a backward pass for each labelled task.

    The gates' gradients are those of the scores; where a score is not the loss, they take a backward pass of their own.

    There is one forward pass if the tasks share the architecture, and one for each task otherwise. All blocks are
    computed, as much as their gates say.
    """
    assert draw.gates is not None
    names = list(run.model.tasks)
    task_losses, task_scores = torch.full((2, len(names)), torch.nan, dtype=torch.float64)
    gradients = torch.zeros_like(draw.gates[:, sample])  # [T, B, O]
    for group in [names] if draw.shared else [[name] for name in names]:
        gates = draw.gates[names.index(group[0]), sample].detach()
        gates = gates.to(run.world.device, WEIGHT_DTYPES[run.config.runtime.precision]).requires_grad_()
        model = gated(run.model, group, gates)
        every_block = Topology.full(run.space.num_stages).prune(model.head_paths)
        losses, scores = _judge(run, model, step, sample, part, every_block)
        for name, loss in losses.items():
            task, is_last = names.index(name), name == list(losses)[-1]
            factor = float(weights[task]) * run.task_weight(name)
            gradients[task] = _backward(loss, scores[name], factor, gates, keep_graph=not is_last)
            task_losses[task], task_scores[task] = loss.detach(), scores[name].detach()
    return Outcome(task_losses, task_scores, gradients)


def _judge(run: SupernetRun, model: MultitaskNet, step: int, sample: int, part: Batch, topology: Topology) -> Judged:
    """Run a forward pass; return losses and scores. What is random in heads is the same for all samples of a group."""
    device, precision = run.world.device, run.config.runtime.precision
    images = part.images.to(WEIGHT_DTYPES[precision], memory_format=torch.channels_last)
    with autocast(device, precision):
        features = model.network(images, topology)
    group, gated_model = sample // run.config.search.group, model is not run.model
    return judge(model, features, images, part.targets, run.config, step, group, differentiable=gated_model)


def _backward(loss: Tensor, score: Tensor, factor: float, gates: Tensor, *, keep_graph: bool) -> Tensor:
    """Add the gradient of factor x loss to the weights'; return that of the score for its gates [B, O]."""
    if score is loss and factor != 0:  # one backward pass is enough
        gates.grad = None
        (loss * factor).backward(retain_graph=keep_graph)
        assert gates.grad is not None
        return gates.grad.cpu().double() / factor
    adds_to_weights = factor != 0
    gradient = torch.autograd.grad(score, gates, retain_graph=keep_graph or adds_to_weights)[0]
    if adds_to_weights:
        (loss * factor).backward(retain_graph=keep_graph)
    return gradient.cpu().double()


def _with_gradient(outcome: Outcome, iteration: Iteration) -> Tensor:
    """Return the scores [T, N], with their gradient with respect to the draw's gates if it has any.

    The passes ran with copies of the gates, on this and other processes. Adding (gates - their values) x gradient
    changes no score, and hands on the gradients of all of them.

    Raises:
        InputError: a gradient is not finite.
    """
    gates = iteration.draw.gates
    if gates is None or outcome.gate_gradients is None:
        return outcome.scores
    gradients = outcome.gate_gradients.movedim(-1, 1)  # [T, N, B, O]
    if not gradients.isfinite().all():
        raise InputError(f"the gradient of the gates is not finite at step {iteration.step}. {DIVERGED}")
    return outcome.scores + ((gates - gates.detach()) * gradients).sum(dim=(-2, -1))


def _all_label_counts(run: SupernetRun, step: int, parts: Sequence[Batch]) -> Tensor:
    """Count the images of all ranks' samples that are labelled for each task; int64 [T, N].

    Raises:
        RuntimeError: this rank's batch has other labels than its source says.
    """
    own, search = _label_counts(run.model, parts), run.config.search
    if run.world.size == 1:
        return own
    kinds = {task.target.kind for task in run.model.tasks.values()}
    if run.config.data.undecodable == "skip" or kinds & CROPPED_AWAY:  # a batch may have other labels than the source
        return run.world.gather(own)
    images = images_of_step(step, run.num_images, run.images_per_step, run.config.seed)
    every = count_labels(run.labelled, images, search.num_samples, search.group)
    if not torch.equal(every[:, run.world.rank * len(parts) :][:, : len(parts)], own):
        raise RuntimeError(f"the images of step {step} are labelled for other tasks than their source says")
    return every


def _label_counts(model: MultitaskNet, parts: Sequence[Batch]) -> Tensor:
    """Count the images of each micro-batch that are labelled for each task; int64 [T, n]."""
    counts = [[len(rows) for rows in model.labelled(part.targets).values()] for part in parts]
    return torch.tensor(counts).T
