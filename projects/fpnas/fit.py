"""Training and judging classifiers on images in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fbnetv5.base.seeding import Purpose, forked, generator
from fbnetv5.base.types import LABEL
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.batch_norm import batch_statistics
from fbnetv5.engine.optim import build_optimizer, cosine, set_lr
from fbnetv5.engine.precision import WEIGHT_DTYPES, autocast
from fbnetv5.model.task_net import TaskNet
from fbnetv5.projects.fpnas.images import ImageSet, check_data, epoch_batches, num_batches, val_batches


@dataclass(frozen=True)
class FitHistory:
    """What a training went through: the mean loss of each epoch, and how many images in all."""

    losses: list[float]
    num_images: int


def fit(
    module: nn.Module,
    model_at: Callable[[int], TaskNet],
    images: ImageSet,
    config: RunConfig,
    *,
    epochs: int,
    final_lr: float | None,
    key: tuple[int, ...],
    device: torch.device,
) -> FitHistory:
    """Train for whole epochs.

    Args:
        module: what is moved; a parameter that a step's model does not have stays as it is at that step.
        model_at: from the number of a step to the model, a part of ``module``, that it trains.
        images: to train on.
        config: its data, search.batch_size, optimizer, precision and seed.
        epochs: passes over ``images``.
        final_lr: the rate falls from optimizer.lr to this along a cosine (stage two, Section 4.1); None keeps it.
        key: what order, augmentation and dropout depend on, beside the seed.
        device: of the module.
    """
    crop, batch_size = check_data(config.data), config.search.batch_size
    optimizer = build_optimizer(module, config.optimizer)
    num_steps = epochs * num_batches(len(images), batch_size)
    step, num_images = 0, 0
    losses: list[float] = []
    module.train()
    for epoch in range(epochs):
        total = torch.zeros((), dtype=torch.float64, device=device)
        shuffle = generator(config.seed, Purpose.ORDER, epoch, *key)
        for pixels, labels in epoch_batches(images, batch_size, crop=crop, flip=config.data.flip, shuffle=shuffle):
            lr = config.optimizer.lr
            set_lr(optimizer, lr if final_lr is None else cosine(lr, final_lr, step / num_steps))
            targets = [{LABEL.name: label} for label in labels.tolist()]
            with (
                forked(config.seed, Purpose.HEADS, step, *key, device=device),
                autocast(device, config.runtime.precision),
            ):
                parts = model_at(step)(to_input(pixels, config, device), targets)
            assert isinstance(parts, dict)
            loss = torch.stack(list(parts.values())).sum()
            optimizer.zero_grad(set_to_none=True)  # without a gradient, neither momentum nor decay moves a parameter
            loss.backward()
            optimizer.step()
            total += loss.detach().double() * len(labels)
            num_images += len(labels)
            step += 1
        losses.append(float(total) / len(images))
    return FitHistory(losses, num_images)


@torch.no_grad()
def accuracy(model: TaskNet, images: ImageSet, config: RunConfig, device: torch.device) -> float:
    """Return the share of images whose class is the likeliest, in [0, 1]; a score that is no number is wrong.

    Args:
        model: on ``device``; put in evaluation mode.
        images: to judge on.
        config: its data, search.batch_size and precision.
        device: of the model.
    """
    model.eval()
    return _accuracy(model, images, config, device)


@torch.no_grad()
def accuracy_by_batch(model: TaskNet, images: ImageSet, config: RunConfig, device: torch.device) -> float:
    """As :func:`accuracy`, with BN's statistics of each batch, as in training.

    The running statistics of weights that several models share are a mix over all of them, and right for none.
    """
    model.eval()
    with batch_statistics(model):
        return _accuracy(model, images, config, device)


def _accuracy(model: TaskNet, images: ImageSet, config: RunConfig, device: torch.device) -> float:
    num_right = 0
    for pixels, labels in val_batches(images, config.search.batch_size, crop=check_data(config.data)):
        with autocast(device, config.runtime.precision):
            scores = torch.stack(list(model(to_input(pixels, config, device)))).cpu()  # [b, classes]
        num_right += int((scores.isfinite().all(dim=1) & (scores.argmax(dim=1) == labels)).sum())
    return num_right / len(images)


def to_input(pixels: Tensor, config: RunConfig, device: torch.device) -> Tensor:
    """Bring a batch to the device, in the precision and the memory format of the run."""
    return pixels.to(device, WEIGHT_DTYPES[config.runtime.precision], memory_format=torch.channels_last)
