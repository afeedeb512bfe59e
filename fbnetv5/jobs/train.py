"""Train: a network, a head and data become a trained model, its metrics and its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Batch, Source
from fbnetv5.config.schema import RunConfig, TrainConfig
from fbnetv5.data.augmentation import check_crop
from fbnetv5.data.loader import build_train_loader
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.divergence import clip_gradient, require_finite
from fbnetv5.engine.optim import build_optimizer, check_optimizer, set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.engine.trainer import Trainable, check_duration, train
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.evaluate import evaluate_and_report, evaluate_on
from fbnetv5.model.build import build_final_model
from fbnetv5.model.card import write_card
from fbnetv5.model.distill import Teacher, build_teacher
from fbnetv5.model.folder import save_model
from fbnetv5.model.task_net import TaskNet
from fbnetv5.report.html import try_report

SYNC_BN_BELOW = 16  # images at a time on a GPU, which BN's statistics are too noisy for


def run(config: RunConfig, folder: Path) -> None:
    """Train the final model of one task (FBNetV5, Appendix F.2) and evaluate it.

    Writes to ``folder``: config.yaml, metrics.jsonl, tensorboard/ and checkpoints/; then model.safetensors and
    config.json, which ``fbnetv5.load(folder)`` reads, and, with a validation split, metrics.json and predictions/;
    report.html shows all of it, README.md is the model's card.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime) as world:
        training = build_training(config, world)
        train(training, folder)
        if world.is_main:
            save_model(folder, training.averaged, training.model.spec)
            print(f"trained model: {folder} (fbnetv5.load('{folder}') reads it)")
        if training.val_source is not None:
            evaluate_and_report(config, training.averaged, training.val_source, folder, world)
        if world.is_main:
            write_card(training.averaged, folder)
            try_report(folder)


@dataclass
class Training(Trainable[Batch]):
    """The parts of a training, and its iteration."""

    config: RunConfig
    world: World
    source: Source
    val_source: Source | None
    model: TaskNet
    parallel: nn.Module
    optimizer: optim.Optimizer
    ema: ModelEmaV3 | None
    teacher: Teacher | None

    @property
    def duration(self) -> TrainConfig:
        """The node ``train``."""
        return self.config.train

    @property
    def num_images(self) -> int:
        """Training images that are labelled for the task."""
        return self.source.num_labelled(self.model.head.target.name)

    @property
    def averaged(self) -> TaskNet:
        """The model that is evaluated and saved: the moving average, where there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def evaluate_every(self) -> int | None:
        """Steps between two evaluations before the end."""
        return self.config.train.eval_every

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
        config = self.config
        return build_train_loader(
            config.data,
            self.source,
            self.model.head.target,
            self.world,
            steps=range(start_step, self.num_steps),
            batch_size=config.train.batch_size,
            workers=config.runtime.workers,
            seed=config.seed,
            normalisation=self.model.normalisation,
        )

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        return train_step(self, step, batch)

    def average_statistics(self) -> None:
        for model in dict.fromkeys((self.model, self.averaged)):
            self.world.average_buffers(model)

    def evaluate(self) -> dict[str, float]:
        if self.val_source is None:
            return {}
        self.world.average_buffers(self.averaged)
        return evaluate_on(self.config, self.averaged, self.val_source, self.world)

    def state_dict(self) -> dict[str, Any]:
        return {"ema": None if self.ema is None else self.ema.module.state_dict()}

    def restore(self, checkpoint: Checkpoint) -> None:
        super().restore(checkpoint)
        if self.ema is not None:
            self.ema.module.load_state_dict(checkpoint.state["ema"])


def build_training(config: RunConfig, world: World) -> Training:
    """Build data, model, optimiser, moving average and teacher of a training; all ranks build the same.

    Raises:
        InputError: the configuration does not fit together, or its data do not serve its head.
    """
    check_train_sizes(config, world)
    source = build_source(config.data)
    model = build_final_model(config.model, config.data, source, seed=config.seed, is_main=world.is_main)
    val_source = build_val_source(config.data, source.classes)
    teacher = build_teacher(config.train.teacher, model.spec.classes, model.normalisation)
    model.to(device=world.device, dtype=WEIGHT_DTYPES[config.runtime.precision])
    model.to(memory_format=torch.channels_last)
    if _synchronises_bn(config, world):
        model = convert_sync_batchnorm(model)
    undecayed = {f"head.{name}" for name in model.head.no_weight_decay()}
    optimizer = build_optimizer(model, config.optimizer, undecayed)
    average = config.train.ema
    ema = None if average is None else ModelEmaV3(model, average, use_warmup=config.train.ema_warmup)
    parallel: nn.Module = model
    if world.size > 1:
        devices = [world.device] if world.device.type == "cuda" else None
        parallel = DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)
    if teacher is not None:
        teacher.to(world.device)
    return Training(config, world, source, val_source, model, parallel, optimizer, ema, teacher)


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
    require_finite(means, step)
    clip_gradient(run.model, config.optimizer.clip_norm, step)
    lr = config.optimizer.lr * run.rate_factor(step)
    set_lr(run.optimizer, lr)
    run.optimizer.step()
    if run.ema is not None:
        run.ema.update(run.model, step=step + 1)
    return {"loss": sum(means.values()), **means, "lr": lr}


def _forward_backward(run: Training, step: int, key: int, part: Batch, scale: float) -> dict[str, Tensor]:
    """Add ``scale`` times the gradient of a micro-batch's loss; return its losses, by name."""
    device, precision = run.world.device, run.config.runtime.precision
    images = part.images.to(WEIGHT_DTYPES[precision], memory_format=torch.channels_last)
    with forked(run.config.seed, Purpose.HEADS, step, key, device=device), autocast(device, precision):
        targets = part.targets if run.teacher is None else run.teacher.teach(images, part.targets)
        losses: dict[str, Tensor] = run.parallel(images, targets, part.sizes)
    (torch.stack(list(losses.values())).sum() * scale).backward()
    return {name: loss.detach() for name, loss in losses.items()}


def _synchronises_bn(config: RunConfig, world: World) -> bool:
    wanted = config.train.sync_bn
    if wanted is None:
        wanted = config.train.batch_size // (world.size * config.train.accumulate) < SYNC_BN_BELOW
    return wanted and world.size > 1 and world.device.type == "cuda"  # torch has it on GPUs alone


def check_train_sizes(config: RunConfig, world: World) -> None:
    """Raise InputError unless steps, batch, accumulation and processes of a training fit together."""
    train = config.train
    check_duration("train", train)
    if train.batch_size % (world.size * train.accumulate):
        raise InputError(
            f"train.batch_size={train.batch_size} must be a multiple of {world.size} process(es) x "
            f"train.accumulate={train.accumulate}"
        )
    if train.ema is not None and train.ema >= 1:
        raise InputError(f"train.ema={train.ema} would never move: it is a decay below 1, such as 0.9998")
    check_optimizer(config.optimizer)
    check_crop(config.data)
    images = train.batch_size // (world.size * train.accumulate)
    if config.data.crop is not None and images * (config.data.crop // STRIDES[-1]) ** 2 < 2:
        raise InputError(
            f"one image of {config.data.crop} pixels at a time leaves batch normalisation a single value on path 3; "
            "raise train.batch_size or data.crop, or lower train.accumulate"
        )
    shortest = config.data.short_side * (config.data.scale or [1.0])[0]
    if config.data.crop is None and images == 1 and shortest <= STRIDES[-1]:
        raise InputError(
            f"one image of {shortest:g} pixels at a time leaves batch normalisation a single value on path 3; raise "
            "train.batch_size or data.short_side, or lower train.accumulate"
        )
