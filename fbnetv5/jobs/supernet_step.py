"""One iteration of a search or a pretraining: the parts of a run, and what is done with them.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn, optim

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, TopologySpace
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Batch, Source
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.divergence import DIVERGED, clip_gradient, require_finite_losses
from fbnetv5.engine.optim import rate_factor, set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.latency.table import LatencyTable
from fbnetv5.search.algorithms import Draw, SearchAlgorithm
from fbnetv5.tasks.multitask import MultitaskNet


@dataclass
class SupernetRun:
    """The parts of a run, as :func:`supernet_step` uses them.

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

    @property
    def learner(self) -> nn.Module:
        """What learns: the model, or its heads alone where the network is a finished search's."""
        return self.model.heads if self.kept else self.model

    @property
    def weights(self) -> dict[str, Tensor]:
        """The supernet and all heads by name, those of the search that this one extends as they were."""
        return {**self.model.state_dict(), **self.kept}

    @property
    def num_steps(self) -> int:
        """Iterations of the whole run, from ``search.steps`` or ``search.epochs``."""
        search = self.config.search
        return search.steps or max(1, round((search.epochs or 0) * len(self.source) / search.batch_size))

    def task_weight(self, name: str) -> float:
        """What a task's loss is multiplied by for the shared weights; its probabilities see the loss itself."""
        return self.config.search.task_weights.get(name, 1.0)

    def rate_factor(self, step: int) -> float:
        """What the base rates of weights and logits are multiplied by at a step."""
        steps_per_epoch = len(self.source) / self.config.search.batch_size
        return rate_factor(self.config.optimizer.schedule, step, self.num_steps, steps_per_epoch)


class Outcome(NamedTuple):
    """What one sample gave: losses [T], NaN where nothing is labelled, and their gates' gradients [T, B, O], if any."""

    losses: Tensor
    gate_gradients: Tensor | None = None


@dataclass(frozen=True)
class Iteration:
    """What an iteration runs, known before any loss is.

    Attributes:
        step: its number.
        draw: the architectures of all ranks' samples.
        samples: this rank's micro-batches by the number of their sample among all N.
        num_labelled: images of each sample that are labelled for each task, int64 [T, N].
        weights: how much each task's loss counts on each sample, [T, N].
    """

    step: int
    draw: Draw
    samples: Mapping[int, Batch]
    num_labelled: Tensor
    weights: Tensor


def supernet_step(run: SupernetRun, step: int, batch: Batch) -> dict[str, float]:
    """Run one iteration of the search method, by default FBNetV5's algorithm 4.

    The rank's batch is cut into contiguous micro-batches, one sample each: an architecture, or one for each task. With
    N samples over all ranks, every rank knows all N; label counts are gathered before the forward pass, losses and
    the gates' gradients after it.

    Returns:
        the step's metrics: each task's loss, estimated for its own distribution, and the rate.

    Raises:
        InputError: a loss or a gradient is not finite. RuntimeError: the ranks' probabilities differ.
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
    losses = gather_losses(run, iteration, [outcome.losses for outcome in outcomes])
    clip_gradient(run.learner, run.config.optimizer.clip_norm, step)
    set_lr(run.optimizer, run.config.optimizer.lr * run.rate_factor(step))
    run.optimizer.step()
    return learn(run, iteration, _with_gradient(losses, draw, outcomes, run.world, step))


def begin_iteration(run: SupernetRun, step: int, batch: Batch) -> Iteration:
    """Draw the architectures of a step, cut the rank's batch into its samples, and weigh the losses to come."""
    draw = run.algorithm.draw(step)
    on_device = batch.to(run.world.device, non_blocking=True)
    parts = on_device.split(run.config.search.num_samples // run.world.size)
    num_labelled = run.world.gather(_label_counts(run.model, parts))  # [T, N]
    weights = run.algorithm.loss_weights(draw, num_labelled)  # [T, N]
    samples = dict(enumerate(parts, start=run.world.rank * len(parts)))
    return Iteration(step, draw, samples, num_labelled, weights)


def gather_losses(run: SupernetRun, iteration: Iteration, losses: Sequence[Tensor]) -> Tensor:
    """Return the losses of all ranks' samples, float64 [T, N], from those of this rank's, one [T] a sample.

    Raises:
        InputError: one is not finite although images are labelled for it.
    """
    gathered = run.world.gather(torch.stack(list(losses), dim=1).cpu().double())
    require_finite_losses(gathered, iteration.num_labelled, list(run.model.tasks), iteration.step)
    return gathered


def learn(run: SupernetRun, iteration: Iteration, losses: Tensor) -> dict[str, float]:
    """Update the tasks' distributions with the losses [T, N]; return the metrics of the step.

    Raises:
        RuntimeError: the ranks' probabilities differ.
    """
    search, factor = run.config.search, run.rate_factor(iteration.step)
    arch_lr = search.arch_lr * factor if iteration.step >= search.arch_start_step else 0.0
    run.algorithm.update(iteration.draw, losses, iteration.num_labelled, arch_lr)
    run.world.require_identical(run.algorithm.distribution.fingerprint(), "the architecture probabilities")

    estimates = (iteration.weights * losses.detach().nan_to_num()).sum(dim=1).tolist()
    seen = iteration.num_labelled.sum(dim=1) > 0
    metrics = {f"loss/{name}": loss for name, loss, any_ in zip(run.model.tasks, estimates, seen, strict=True) if any_}
    return metrics | {"lr": run.config.optimizer.lr * factor, "arch_lr": arch_lr}


def joint_passes(run: SupernetRun, step: int, sample: int, part: Batch, draw: Draw, weights: Tensor) -> Outcome:
    """Add the gradient of a sample's share of all losses, weighted by [T]: one forward and one backward pass."""
    losses = joint_losses(run, step, sample, part, draw)
    if losses:
        torch.stack([share(run, name, loss, weights) for name, loss in losses.items()]).sum().backward()
    return Outcome(loss_vector(run, losses))


def joint_losses(run: SupernetRun, step: int, sample: int, part: Batch, draw: Draw) -> dict[str, Tensor]:
    """Return the losses, by task, of a sample whose architecture all tasks share; of those that are labelled."""
    topology = run.space.decode(draw.choices[sample].tolist()).prune(run.model.head_paths)
    return _forward(run, run.model, step, sample, part, topology)


def share(run: SupernetRun, name: str, loss: Tensor, weights: Tensor) -> Tensor:
    """Return what a task's loss on a sample adds to the loss of the shared weights; [T] are the sample's weights."""
    return loss * float(weights[list(run.model.tasks).index(name)]) * run.task_weight(name)


def loss_vector(run: SupernetRun, losses: Mapping[str, Tensor]) -> Tensor:
    """Return the losses of a sample as [T], without their graph; NaN where nothing is labelled."""
    nothing = torch.tensor(torch.nan, dtype=WEIGHT_DTYPES[run.config.runtime.precision], device=run.world.device)
    return torch.stack([losses[name].detach() if name in losses else nothing for name in run.model.tasks])


def gated_passes(run: SupernetRun, step: int, sample: int, part: Batch, draw: Draw, weights: Tensor) -> Outcome:
    """Add the gradients of a sample's share of each loss, weighted by [T]: a backward pass for each labelled task.

    There is one forward pass if the tasks share the architecture, and one for each task otherwise. All blocks are
    computed, as much as their gates say.
    """
    assert draw.gates is not None
    names = list(run.model.tasks)
    task_losses = torch.full((len(names),), torch.nan, dtype=torch.float64)
    gradients = torch.zeros_like(draw.gates[:, sample])  # [T, B, O]
    for group in [names] if draw.shared else [[name] for name in names]:
        gates = draw.gates[names.index(group[0]), sample].detach()
        gates = gates.to(run.world.device, WEIGHT_DTYPES[run.config.runtime.precision]).requires_grad_()
        model = _gated(run.model, group, gates)
        every_block = Topology.full(run.space.num_stages).prune(model.head_paths)
        losses = _forward(run, model, step, sample, part, every_block)
        for name, loss in losses.items():
            task, is_last = names.index(name), name == list(losses)[-1]
            factor = float(weights[task]) * run.task_weight(name)
            gradients[task] = _backward(loss, factor, gates, keep_graph=not is_last)
            task_losses[task] = loss.detach()
    return Outcome(task_losses, gradients)


class GatedNetwork(nn.Module):
    """A supernet whose blocks count as much as their gates [B, 2] say; option 1 of a slot is to select its block."""

    def __init__(self, network: MultiPathNet, gates: Tensor) -> None:
        super().__init__()
        self.network = network
        self.gates = gates

    def forward(self, images: Tensor, topology: Topology) -> dict[int, Tensor]:
        """Return path to feature, as :class:`MultiPathNet` does."""
        return self.network(images, topology, self.gates[:, 1].view(topology.num_stages, NUM_PATHS))


def _gated(model: MultitaskNet, names: Sequence[str], gates: Tensor) -> MultitaskNet:
    """Return the model with some of its tasks, on a gated network; all modules are shared with it."""
    tasks, heads = {name: model.tasks[name] for name in names}, {name: model.heads[name] for name in names}
    return MultitaskNet(GatedNetwork(model.network, gates), tasks, heads)  # type: ignore[arg-type]


def _forward(
    run: SupernetRun, model: MultitaskNet, step: int, sample: int, part: Batch, topology: Topology
) -> dict[str, Tensor]:
    """Run a forward pass; return the losses of the tasks that an image of the micro-batch is labelled for."""
    device, precision = run.world.device, run.config.runtime.precision
    images = part.images.to(WEIGHT_DTYPES[precision], memory_format=torch.channels_last)
    with forked(run.config.seed, Purpose.HEADS, step, sample, device=device), autocast(device, precision):
        return model(images, part.targets, topology)


def _backward(loss: Tensor, factor: float, gates: Tensor, *, keep_graph: bool) -> Tensor:
    """Add the gradient of factor x loss to the weights'; return that of the loss itself for its gates [B, O]."""
    if factor == 0:  # of the weights' gradient nothing would be left, of the gates' nothing to divide
        return torch.autograd.grad(loss, gates, retain_graph=keep_graph)[0].cpu().double()
    gates.grad = None
    (loss * factor).backward(retain_graph=keep_graph)
    assert gates.grad is not None
    return gates.grad.cpu().double() / factor


def _with_gradient(losses: Tensor, draw: Draw, outcomes: Sequence[Outcome], world: World, step: int) -> Tensor:
    """Return the losses [T, N], with their gradient with respect to the draw's gates if it has any.

    The passes ran with copies of the gates, on this and other processes. Adding (gates - their values) x gradient
    changes no loss, and hands on the gradients of all of them.

    Raises:
        InputError: a gradient is not finite.
    """
    if draw.gates is None:
        return losses
    own = torch.stack([outcome.gate_gradients for outcome in outcomes if outcome.gate_gradients is not None], dim=-1)
    gradients = world.gather(own).movedim(-1, 1)  # [T, N, B, O]
    if not gradients.isfinite().all():
        raise InputError(f"the gradient of the gates is not finite at step {step}. {DIVERGED}")
    return losses + ((draw.gates - draw.gates.detach()) * gradients).sum(dim=(-2, -1))


def _label_counts(model: MultitaskNet, parts: Sequence[Batch]) -> Tensor:
    """Count the images of each micro-batch that are labelled for each task; int64 [T, n]."""
    counts = [[len(rows) for rows in model.labelled(part.targets).values()] for part in parts]
    return torch.tensor(counts).T
