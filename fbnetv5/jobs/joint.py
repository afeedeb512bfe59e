"""Training several tasks at once on images that are labelled for some of them: a joint network and its heads.

A loss is the mean over all images of an iteration that are labelled for its task, however they are shared by processes
and micro-batches: two processes find what one finds. (Of masks and of sampled proposals it is their mean in a
micro-batch, weighed by its images.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from fbnetv5.archs.families import get_family
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Batch
from fbnetv5.config.joint import task_entries
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.divergence import clip_gradient
from fbnetv5.engine.optim import build_optimizer
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.engine.task_weights import TaskWeights
from fbnetv5.jobs.evaluate import classes_of
from fbnetv5.jobs.model_training import ModelTraining, build_average, check_train_sizes, placed, synchronises_bn
from fbnetv5.model.joint_build import build_final_joint_model
from fbnetv5.model.joint_net import HEADS, JointModel


@dataclass
class JointTraining(ModelTraining[JointModel]):
    """The parts of a training of several tasks, and its iteration; ``source`` are images labelled for one at least."""

    task_weights: TaskWeights

    @property
    def num_images(self) -> int:
        """Training images that are labelled for a task that learns."""
        return len(self.source)

    def summary(self) -> str:
        cost, (height, width) = self.model.cost(), self.model.nominal_size
        separate = sum(one.macs for one in self.model.separate_costs().values())
        kept = [task for task in self.model.spec.tasks if task not in self.model.learned]
        added = f", added to {', '.join(kept)}" if kept else ""
        share = "the trunk" if self.model.spec.share == "trunk" else "trunk and blocks"
        return (
            f"train {', '.join(self.model.learned)}{added} on one {self.model.spec.network_name}, sharing "
            f"{share}: {cost.macs / 1e6:,.1f} M MACs at {height}x{width}, apart {separate / 1e6:,.1f} "
            f"M; {cost.params / 1e6:.2f} M parameters; {self.num_images:,} images; {self.num_steps:,} steps of "
            f"{self.config.train.batch_size}"
        )

    def batches(self, start_step: int) -> Iterable[Batch]:
        return self.loader(self.source, [self.model.targets[task] for task in self.model.learned], start_step)

    def statistics(self, model: JointModel) -> nn.Module:
        return model.learning_parts()  # the mean of equal numbers may differ from them by a rounding

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        return joint_step(self, step, batch)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "task_weights": self.task_weights.state_dict()}

    def restore(self, checkpoint: Checkpoint) -> None:
        super().restore(checkpoint)
        self.task_weights.load_state_dict(checkpoint.state["task_weights"])


def build_joint_training(config: RunConfig, world: World) -> JointTraining:
    """Build data, model, optimiser and moving average of a training of several tasks; all ranks build the same.

    Raises:
        InputError: the configuration does not fit together, or its data do not serve its heads.
    """
    if config.train.teacher.model is not None:
        raise InputError("train.teacher is for a model of one task; remove it, or train without model.tasks")
    check_train_sizes(config, world, get_family(config.model.family), partial=True)
    source = build_source(config.data)
    model = build_final_joint_model(
        config.model,
        config.data,
        source,
        seed=config.seed,
        is_main=world.is_main,
        trust_code=config.evaluate.trust_code,
    )
    val_source = build_val_source(config.data, {**source.classes, **classes_of(model)})
    placed(model, config, world)
    if synchronises_bn(config, world):  # of the network, which all ranks compute; not of heads
        model.network = convert_sync_batchnorm(model.network)
    entries = task_entries(config.model)
    weights = TaskWeights(
        {task: entries[task].weight for task in model.learned}, learnt=config.train.task_weights == "uncertainty"
    )
    weights.to(device=world.device, dtype=WEIGHT_DTYPES[config.runtime.precision])
    undecayed = {f"{HEADS}{task}.{name}" for task in model.learned for name in model.head(task).no_weight_decay()}
    optimizer = build_optimizer(model, config.optimizer, undecayed)
    if learnt := list(weights.parameters()):
        optimizer.add_param_group({"params": learnt, "weight_decay": 0.0, "factor": 1.0, "lr": config.optimizer.lr})
    rows = set[int]().union(*(source.labelled(model.targets[task].name) for task in model.learned))
    ema = build_average(model, config.train)
    labelled = Subset(source, sorted(rows))
    return JointTraining(config, world, labelled, val_source, model, optimizer, ema, weights)


def joint_step(run: JointTraining, step: int, batch: Batch) -> dict[str, float]:
    """Run one iteration: this rank's share of the batch in ``train.accumulate`` micro-batches, then one update.

    Returns:
        the step's metrics: each task's loss, ``loss/<task>``, where an image is labelled for it; the whole, ``loss``,
        as it is weighed; ``sigma/<task>`` where uncertainty is learnt; and the rate.

    Raises:
        InputError: a loss or the gradient is not finite.
    """
    model, tasks = run.model, run.model.learned
    parts = batch.to(run.world.device, non_blocking=True).split(run.config.train.accumulate)
    own = torch.tensor(
        [[len(rows) for rows in model.labelled(part.targets).values()] for part in parts]
    ).T  # [T, parts]
    num_labelled = run.world.gather(own).sum(dim=1)  # [T]
    shares = own / num_labelled.clamp(min=1)[:, None]
    run.optimizer.zero_grad(set_to_none=True)
    key = run.world.rank * len(parts)
    found = [
        _forward_backward(run, step, key + index, part, shares[:, index].tolist()) for index, part in enumerate(parts)
    ]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sigmas_learnt = list(run.task_weights.parameters())
    run.world.sum_gradients([*learning, *sigmas_learnt])
    if sigmas_learnt:
        clip_gradient(run.task_weights, run.config.optimizer.clip_norm, step)  # alone: it would dwarf the network's
    whole, *losses = run.world.gather(torch.stack(found, dim=1).cpu().double()).sum(dim=1).tolist()
    seen = {f"loss/{task}": loss for task, loss, count in zip(tasks, losses, num_labelled, strict=True) if count}
    sigmas = {f"sigma/{task}": sigma for task, sigma in run.task_weights.sigmas().items()}
    return run.update(step, whole, seen) | sigmas


def _forward_backward(run: JointTraining, step: int, key: int, part: Batch, shares: Sequence[float]) -> Tensor:
    """Add the gradient of a micro-batch's share of the loss.

    Args:
        run: the training.
        step, key: of what is random in heads.
        part: the micro-batch.
        shares: of the images that are labelled for each task, those in it, [T].

    Returns:
        [1 + T]: what it adds to the whole loss, and to each task's; 0 for tasks that nothing is labelled for.
    """
    device, precision = run.world.device, run.config.runtime.precision
    images = part.images.to(WEIGHT_DTYPES[precision], memory_format=torch.channels_last)
    with forked(run.config.seed, Purpose.HEADS, step, key, device=device), autocast(device, precision):
        found, zero = run.model.losses(images, part.targets, part.sizes)
    losses = {task: torch.stack(list(of_task.values())).sum() for task, of_task in found.items()}
    learned = dict(zip(run.model.learned, shares, strict=True))
    nothing = images.new_zeros(())
    whole = sum((run.task_weights(task, loss) * learned[task] for task, loss in losses.items()), nothing)
    if synchronises_bn(run.config, run.world):  # whose backward pass all ranks take together, whatever their labels
        whole = whole + zero
    if whole.requires_grad:
        whole.backward()
    added = [losses[task].detach() * share if task in losses else nothing for task, share in learned.items()]
    return torch.stack([whole.detach(), *added])
