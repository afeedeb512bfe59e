"""Has the trainings of a search done, and none of them twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import RunConfig
from fbnetv5.projects.fpnas.bound import BoundedSpace, Choices
from fbnetv5.projects.fpnas.history import History
from fbnetv5.projects.fpnas.jobs import FOLDER, Result, Training, read_result
from fbnetv5.projects.fpnas.work import Work, do_training, is_done
from fbnetv5.projects.fpnas.workers import ProgressLine, do_all, find_place, threads_of
from fbnetv5.runs.job import Call, Job, Outcome


class Crew:
    """A context in which trainings are done (a ``methods.Trainer``).

    Args:
        config: of the run.
        folder: of the run; what the trainings come to is written to it.
        space: whose bound holds for everything that is trained.
        history: takes the results.
        classes: names of the classes.
        num_processes: trainings at a time, as :func:`find_place` takes it. Results do not depend on it.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        space: BoundedSpace,
        history: History,
        classes: tuple[str, ...],
        num_processes: int | None,
    ) -> None:
        self.folder, self.space, self.history = folder, space, history
        self.place = find_place(config.runtime, num_processes)
        self.progress = ProgressLine(history.budget_epochs, "epochs")
        self._config = replace(config, runtime=replace(config.runtime, threads=threads_of(config.runtime)))
        self._classes = classes
        self._stack = contextlib.ExitStack()

    def train(self, trainings: Sequence[Training]) -> list[Result]:
        """Return the results of trainings, in their order; those that an earlier run has finished are not done again.

        Raises:
            ValueError: a network of a training is not below the bound.
            InputError: a training failed.
        """
        for training in trainings:
            for choices in training.networks:
                self.space.require_within(choices)
        epochs = {training.name: training.epochs for training in trainings}

        def on_end(outcome: Outcome) -> None:
            count = self.progress.skip if outcome.status == "skipped" else self.progress.advance
            count(epochs[outcome.job.name])

        do_all(list(map(self._job, trainings)), self.place, on_end)
        results = list(map(self._result, trainings))
        self.history.add(zip(trainings, results, strict=True))
        return results

    def decide(self, iteration: int, position: int | None, choices: Choices, accuracy: float) -> None:
        """Record the network that an iteration ends with; of the block at ``position``, where one was optimised."""
        self.history.decide(iteration, position, choices, accuracy)
        block = "" if position is None else f", block {position + 1}: {self.history.block_name(position, choices)}"
        self.progress.say(
            f"iteration {iteration + 1}{block}, {100 * accuracy:.2f} % top-1, {self.space.macs(choices) / 1e6:.2f} M "
            f"MACs; {self.progress.done} of {self.progress.total} epochs{self.progress.eta()}"
        )

    def forget(self, weights: Iterable[str]) -> None:
        """Delete files of weights that no training needs any more."""
        for file in filter(None, weights):
            (self.folder / file).unlink(missing_ok=True)

    def _job(self, training: Training) -> Job:
        work = Work(training, self._config, self.folder, self._classes)
        return Job(training.name, Call(do_training, work, is_done), self.folder / FOLDER)

    def _result(self, training: Training) -> Result:
        result = read_result(self.folder, training)
        if result is None:
            raise InputError(f"{self.folder / FOLDER / training.name}.json: the result that was just written is gone")
        return result

    def __enter__(self) -> Crew:
        self._stack.enter_context(self.progress)
        self._stack.enter_context(self.place)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
