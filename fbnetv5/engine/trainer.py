"""The trainer: a run's folder is opened or resumed, and its steps are taken, told of and saved, to the last one.

What a run trains, :class:`Trainable`, says what its batches, its step and its state are; :func:`train` does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn, optim

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError, Interrupted
from fbnetv5.base.types import Batch
from fbnetv5.base.weights import WEIGHTS, read_normalisation
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.skipped import SkippedImages
from fbnetv5.engine.checkpoint import Checkpoint, Checkpointer, refused
from fbnetv5.engine.log import RunLog, format_metrics
from fbnetv5.engine.loggers.logger import open_loggers
from fbnetv5.engine.optim import rate_factor
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.engine.stopping import Stopping

Item = TypeVar("Item")


class Duration(Protocol):
    """How long a run is: the nodes ``search`` and ``train`` of a config."""

    steps: int | None
    epochs: float | None
    batch_size: int


def count_steps(duration: Duration, num_images: int, images_per_step: int | None = None) -> int:
    """Return the iterations of a run, from its steps or its epochs.

    Args:
        duration: of the run.
        num_images: training images.
        images_per_step: distinct images of an iteration; by default the batch.
    """
    per_step = duration.batch_size if images_per_step is None else images_per_step
    return duration.steps or max(1, round((duration.epochs or 0) * num_images / per_step))


def check_duration(node: str, duration: Duration) -> None:
    """Raise InputError unless one of steps and epochs of a config's ``node`` is given."""
    if (duration.steps is None) == (duration.epochs is None):
        both = "" if duration.steps is None else f", not both: {node}.epochs=null leaves the steps"
        raise InputError(f"give one of {node}.steps and {node}.epochs{both}")
    if duration.epochs == 0:
        raise InputError(f"{node}.epochs=0 would learn nothing; it may be a fraction")


class Trainable(ABC, Generic[Item]):
    """The parts of a run and what is done with them; ``Item`` is what an iteration takes.

    Attributes:
        config: of the run.
        world: this process among those of the run.
        model: what is trained; its state dict is a checkpoint's weights.
        optimizer: of ``model``.
    """

    config: RunConfig
    world: World
    model: nn.Module
    optimizer: optim.Optimizer

    @property
    @abstractmethod
    def duration(self) -> Duration:
        """The node of the config that says how long the run is."""

    @property
    @abstractmethod
    def num_images(self) -> int:
        """Training images, which an epoch passes over."""

    @abstractmethod
    def summary(self) -> str:
        """Return what is about to run, in one line."""

    @abstractmethod
    def batches(self, start_step: int) -> Iterable[Item]:
        """Yield this rank's batches of the steps from ``start_step`` on."""

    @abstractmethod
    def step(self, step: int, batch: Item) -> dict[str, float]:
        """Take one step; return its metrics, the same on all ranks."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside weights and optimiser; what is keyed by the step needs no state."""
        return {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint."""
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])

    def prepare(self, folder: Path) -> None:
        """Write to the run's folder what it holds from the start; by default nothing."""

    def record(self, step: int, log: RunLog) -> None:
        """Write what belongs beside a record of metrics, after ``step`` steps; by default nothing."""

    def average_statistics(self) -> None:
        """Average over ranks the BN statistics that a checkpoint holds."""
        self.world.average_buffers(self.model)

    def evaluate(self) -> dict[str, float]:
        """Return metrics on the validation split; by default none."""
        return {}

    @property
    def evaluate_every(self) -> int | None:
        """Steps between two evaluations before the end; None evaluates nothing on the way."""
        return None

    def images(self, batch: Item) -> Sequence[Batch]:
        """Return the images of an iteration."""
        assert isinstance(batch, Batch)
        return (batch,)

    @property
    def images_per_step(self) -> int:
        """Distinct images of an iteration, over all processes."""
        return self.duration.batch_size

    @property
    def num_steps(self) -> int:
        """Iterations of the whole run."""
        return count_steps(self.duration, self.num_images, self.images_per_step)

    @property
    def steps_per_epoch(self) -> float:
        """Iterations of a pass over the training images."""
        return self.num_images / self.images_per_step

    def rate_factor(self, step: int) -> float:
        """Return what the base rate is multiplied by at a step."""
        return rate_factor(self.config.optimizer.schedule, step, self.num_steps, self.steps_per_epoch)


def train(run: Trainable[Item], folder: Path) -> None:
    """Train from the latest checkpoint, or the start, to the last step; metrics and checkpoints go to ``folder``.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the checkpoint of the last step is written.
        InputError: as the run's step and :func:`open_run_folder`, or a file cannot be written.
    """
    config, world = run.config, run.world
    checkpointer, checkpoint = open_run_folder(config, folder, world)
    run.prepare(folder)
    start_step = checkpoint.step if checkpoint else 0
    log = RunLog(
        folder if world.is_main else None,
        num_steps=run.num_steps,
        batch_size=run.duration.batch_size,
        every=config.runtime.log_every,
        start_step=start_step,
        loggers=open_loggers(config, folder, start_step) if world.is_main else (),
    )
    with log, Stopping(world) as stopping:
        log.say(f"{run.summary()}; {world.size} process(es) on {world.device.type}; writing to {folder}")
        if checkpoint:
            _restore(run, log, checkpoint)
            log.say(f"resuming from step {start_step}")
        elif config.resume:
            log.say(f"resume=true, but {folder} has no checkpoint: starting anew")
        is_resumed = checkpoint is not None
        del checkpoint  # as large as the model and its optimiser
        run.model.train()
        skipped = SkippedImages(world)
        if is_resumed and _evaluates(run, start_step) and not _was_evaluated(world, log):
            _evaluate(run, start_step, log)  # which ended early: checkpoints are written before it
        for done, metrics in _steps(run, start_step, skipped):
            log.add(metrics)
            if log.due(done):
                log.record(done)
                run.record(done, log)
            is_due = done % config.runtime.checkpoint_every == 0 or done == run.num_steps
            if is_due or _evaluates(run, done):
                _save(run, done, checkpointer, log)  # first: an evaluation that fails loses no step
            if done < run.num_steps and stopping.agreed(done):
                _save(run, done, checkpointer, log)
                raise Interrupted(f"resume=true goes on from step {done}, whose checkpoint is written")
            if _evaluates(run, done):
                _evaluate(run, done, log)
        if skipped.total:
            log.say(f"{skipped.total} times since step {start_step} another image replaced one that could not be read")


def _restore(run: Trainable[Item], log: RunLog, checkpoint: Checkpoint) -> None:
    """Bring a run and its log to a checkpoint. Raises InputError where it is damaged or not of this run."""
    _check_normalisation(run.model, checkpoint.folder)
    with refused(checkpoint.folder):
        if checkpoint.step > run.num_steps:
            raise InputError(f"{checkpoint.folder} is of step {checkpoint.step:,}, and the run has {run.num_steps:,}")
        run.restore(checkpoint)
        log.load_state_dict(checkpoint.state["log"])


def _check_normalisation(model: nn.Module, checkpoint: Path) -> None:
    """Raise InputError where a checkpoint's images were normalised otherwise than those that the run would read now.

    The normalisation comes with the first weights, and "pretrained" may find others on another day or machine.
    """
    now, then = getattr(model, "normalisation", None), read_normalisation(checkpoint / WEIGHTS)
    if now is not None and now != then:
        raise InputError(
            f"{checkpoint} learnt from images less {list(then.mean)} by {list(then.std)}, and the first weights that "
            f"are found now expect {list(now.mean)} and {list(now.std)}: pretrained ones are an installed package's, "
            "else timm's; resume where those of the beginning are found"
        )


def _evaluates(run: Trainable[Any], step: int) -> bool:
    """Whether the model is evaluated on the way, after ``step`` steps."""
    return run.evaluate_every is not None and step % run.evaluate_every == 0 and step < run.num_steps


def _was_evaluated(world: World, log: RunLog) -> bool:
    """Whether the evaluation of the step that the run goes on from was recorded; all ranks go by the first."""
    return bool(world.gather(torch.tensor([int(log.is_evaluated)]))[0])


def _steps(run: Trainable[Item], start_step: int, skipped: SkippedImages) -> Iterator[tuple[int, dict[str, float]]]:
    """Take the steps from ``start_step`` on; yield the number of those done, and the last one's metrics."""
    may_skip = run.config.data.undecodable == "skip"
    for step, batch in zip(range(start_step, run.num_steps), run.batches(start_step), strict=True):
        metrics = run.step(step, batch)
        if may_skip:
            metrics |= {"skipped": sum(skipped.count(images) for images in run.images(batch))}
        yield step + 1, metrics


def _save(run: Trainable[Any], step: int, checkpointer: Checkpointer, log: RunLog) -> None:
    run.average_statistics()
    if run.world.is_main:
        state = {"optimizer": run.optimizer.state_dict(), **run.state_dict(), "log": log.state_dict()}
        checkpointer.save(step, run.model, state)
    run.world.barrier()


def _evaluate(run: Trainable[Any], step: int, log: RunLog) -> None:
    if metrics := run.evaluate():
        log.evaluation(step, metrics)
        log.say(f"after step {step}: {format_metrics(metrics)}")
    run.model.train()
