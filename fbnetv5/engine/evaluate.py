"""Running a trained model over a split: predictions to an evaluator and to files."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Batch, Size
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.joint import JointEvaluator
from fbnetv5.model.joint_net import JointModel
from fbnetv5.model.photos import padded_size
from fbnetv5.model.task_net import TaskNet


class Writer(Protocol):
    """A receiver of predictions, such as ``report.predictions.PredictionWriter``."""

    def add(self, names: Sequence[str], predictions: Sequence[Any], sizes: Sequence[Size]) -> None:
        """Take one prediction an image, with the image's name and its stored (height, width)."""

    def close(self) -> None:
        """Finish what was written."""


@torch.no_grad()
def evaluate(
    model: TaskNet | JointModel,
    batches: Iterable[Batch],
    world: World,
    *,
    num_images: int,
    evaluator: Evaluator | JointEvaluator | None = None,
    writer: Writer | None = None,
) -> dict[str, float]:
    """Predict every image of this rank's batches; compare with the labels, write predictions, or both.

    Args:
        model: put in evaluation mode.
        batches: as ``build_eval_loader`` yields them.
        num_images: of all ranks, for the progress line.
        evaluator: takes predictions and labels, in the pixels of the stored images.
        writer: takes predictions; it is closed at the end.

    Returns:
        the metrics over all ranks, on each of them; empty without an evaluator.

    Raises:
        InputError: no image could be read.
    """
    model.eval()
    dtype = next(model.parameters()).dtype
    num_skipped = 0
    for batch in _shown(batches, num_images, world):
        for message in batch.skipped:
            print(f"skipped: {message}", file=sys.stderr)
        num_skipped += len(batch.skipped)
        if len(batch) == 0:
            continue
        for part in batch.by_size(functools.partial(padded_size, model)):
            images = part.images.to(world.device, dtype, memory_format=torch.channels_last)
            predictions = model(images, true_sizes=part.sizes, output_sizes=part.original_sizes)
            if evaluator is not None:
                evaluator.update(predictions, part.targets, part.names)
            if writer is not None:
                writer.add(part.names, predictions, part.original_sizes)
    num_skipped = int(world.gather(torch.tensor([num_skipped])).sum())
    if num_skipped == num_images:
        raise InputError(f"none of the {num_images:,} images could be read")
    if writer is not None:
        writer.close()
    if num_skipped and world.is_main:
        print(f"{num_skipped} of {num_images:,} images could not be read and were left out", file=sys.stderr)
    return {} if evaluator is None else evaluator.compute(world)


def _shown(batches: Iterable[Batch], num_images: int, world: World) -> Iterator[Batch]:
    """Pass batches on, with a progress line where a person watches."""
    console = Console(stderr=True)
    columns = (TextColumn("evaluating"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not (world.is_main and console.is_terminal)
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        line = bar.add_task("", total=-(-num_images // world.size))
        for batch in batches:
            yield batch
            bar.advance(line, len(batch))
