"""Train: a network, a head and data become a trained model, its metrics and its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fbnetv5.archs.families import get_family
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, NothingToRateError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import LABEL, Batch
from fbnetv5.config.schema import ModelConfig, RunConfig, TrainConfig
from fbnetv5.data.loader import labelled_part
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.engine.optim import build_optimizer
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.engine.trainer import train
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.evaluate import evaluate_and_report, evaluator_of
from fbnetv5.jobs.joint import JointTraining, build_joint_training
from fbnetv5.jobs.model_training import (
    ModelTraining,
    build_average,
    check_train_sizes,
    placed,
    synchronises_bn,
    tell_unrated,
)
from fbnetv5.model.build import build_final_model
from fbnetv5.model.card import write_card
from fbnetv5.model.distill import Teacher, build_teacher
from fbnetv5.model.folder import save_model
from fbnetv5.model.task_net import TaskNet
from fbnetv5.report.html import try_report


def run(config: RunConfig, folder: Path) -> None:
    """Train the final model of one task (FBNetV5, Appendix F.2), or of several with ``model.tasks``, and evaluate it.

    Writes to ``folder``: config.yaml, metrics.jsonl, tensorboard/ and checkpoints/; then model.safetensors and
    config.json, which ``fbnetv5.load(folder)`` reads, and, with a validation split, metrics.json and predictions/;
    report.html shows all of it, README.md is the model's card.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime) as world:
        build = build_joint_training if config.model.tasks or config.model.joint else build_training
        train_and_report(build(config, world), folder)


def train_and_report(training: Training | JointTraining, folder: Path) -> None:
    """Train to the end, save the model, evaluate it, and write its card and report.

    Raises:
        InputError: the training diverged, the data or a file is at fault; the message says which.
    """
    config, world = training.config, training.world
    if training.val_source is not None:
        evaluator_of(config, training.model, training.val_source)  # so that what it reads is checked beforehand
    train(training, folder)
    if world.is_main:
        save_model(folder, training.averaged, training.model.spec)
        print(f"trained model: {folder} (fbnetv5.load('{folder}') reads it)")
    if training.val_source is not None:
        try:
            evaluate_and_report(config, training.averaged, training.val_source, folder, world)
        except NothingToRateError as error:
            tell_unrated(error, world)
    elif world.is_main:
        print("there is no data.val, so the model is not rated")
    if world.is_main:
        write_card(training.averaged, folder)
        try_report(folder)


@dataclass
class Training(ModelTraining[TaskNet]):
    """The parts of a training of one task, and its iteration.

    ``parallel`` is the model as several processes share it.
    """

    parallel: nn.Module
    teacher: Teacher | None

    @property
    def num_images(self) -> int:
        """Training images that are labelled for the task."""
        return self.source.num_labelled(self.model.head.target.name)

    def summary(self) -> str:
        cost, spec = self.model.cost(), self.model.spec
        height, width = self.model.nominal_size
        blocks = "" if spec.topology is None else f", {len(spec.topology.blocks)} blocks"
        return (
            f"train {type(self.model.head).__name__} on {spec.network_name}{blocks}: "
            f"{cost.macs / 1e6:,.1f} M MACs at {height}x{width}, {cost.params / 1e6:.2f} M parameters; "
            f"{self.num_images:,} images, {len(spec.classes)} classes; {self.num_steps:,} steps of "
            f"{self.config.train.batch_size}"
        )

    def batches(self, start_step: int) -> Iterable[Batch]:
        target = self.model.head.target
        return self.loader(labelled_part(self.source, target), [target], start_step, keep_unknown=True)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        return train_step(self, step, batch)


def build_training(config: RunConfig, world: World) -> Training:
    """Build data, model, optimiser, moving average and teacher of a training; all ranks build the same.

    Raises:
        InputError: the configuration does not fit together, or its data do not serve its head.
    """
    for key, value, default in (
        ("train.task_weights", config.train.task_weights, TrainConfig.task_weights),
        ("model.share", config.model.share, ModelConfig.share),
    ):
        if value != default:
            raise InputError(f"{key}={value} is for several tasks, and there are no model.tasks; remove it")
    check_train_sizes(config, world, None if config.model.network else get_family(config.model.family))
    source = build_source(config.data)
    model = build_final_model(config.model, config.data, source, seed=config.seed, is_main=world.is_main)
    val_source = build_val_source(config.data, source.classes)
    if config.train.teacher.model is not None:
        check_taught(model, config)
    teacher = build_teacher(config.train.teacher, model.spec.classes, model.normalisation)
    placed(model, config, world)
    if synchronises_bn(config, world):
        model = convert_sync_batchnorm(model)
    undecayed = {f"head.{name}" for name in model.head.no_weight_decay()}
    optimizer = build_optimizer(model, config.optimizer, undecayed)
    ema = build_average(model, config.train)
    parallel: nn.Module = model
    if world.size > 1:
        devices = [world.device] if world.device.type == "cuda" else None
        unread = bool(config.model.network)  # a project's network may have layers that its head does not read
        parallel = DistributedDataParallel(
            model, device_ids=devices, broadcast_buffers=False, find_unused_parameters=unread
        )
    if teacher is not None:
        teacher.to(world.device)
    return Training(config, world, source, val_source, model, optimizer, ema, parallel, teacher)


def check_taught(model: TaskNet, config: RunConfig) -> None:
    """Raise InputError where a teacher's answers would not be learnt, or be of the padding of images too."""
    if model.head.target != LABEL:
        raise InputError(f"train.teacher: {type(model.head).__name__} is no classifier, which alone learns from one")
    if config.data.crop is None:
        raise InputError("train.teacher needs data.crop: of whole images a teacher would see the padding of a batch")


def train_step(run: Training, step: int, batch: Batch) -> dict[str, float]:
    """Run one iteration: this rank's share of the batch in ``train.accumulate`` micro-batches, then one update.

    Returns:
        the step's metrics: each loss, its mean over micro-batches and ranks, and the rate.

    Raises:
        InputError: a loss or the gradient is not finite.
    """
    config, world = run.config, run.world
    parts = batch.to(world.device, non_blocking=True).split(config.train.accumulate)
    run.optimizer.zero_grad(set_to_none=True)
    losses: list[dict[str, Tensor]] = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        syncs_later = isinstance(run.parallel, DistributedDataParallel) and not last
        with run.parallel.no_sync() if syncs_later else contextlib.nullcontext():  # type: ignore[operator]
            key = world.rank * len(parts) + index
            losses.append(_forward_backward(run, step, key, part, 1 / len(parts)))
    names = list(losses[0])
    local = torch.stack([torch.stack([part[name] for name in names]) for part in losses], dim=1)  # [L, parts]
    means = dict(zip(names, world.gather(local.cpu()).mean(dim=1).tolist(), strict=True))
    return run.update(step, sum(means.values()), means)


def _forward_backward(run: Training, step: int, key: int, part: Batch, scale: float) -> dict[str, Tensor]:
    """Add ``scale`` times the gradient of a micro-batch's loss; return its losses, by name."""
    device, precision = run.world.device, run.config.runtime.precision
    images = part.images.to(WEIGHT_DTYPES[precision], memory_format=torch.channels_last)
    with forked(run.config.seed, Purpose.HEADS, step, key, device=device), autocast(device, precision):
        targets = part.targets if run.teacher is None else run.teacher.teach(images, part.targets)
        losses: dict[str, Tensor] = run.parallel(images, targets, part.sizes)
    (torch.stack(list(losses.values())).sum() * scale).backward()
    return {name: loss.detach() for name, loss in losses.items()}
