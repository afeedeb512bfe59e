"""A search's work in D2Go's training loop beside the trainer's own step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fbnetv5.d2
from fbnetv5.config.identity import check_identity, identity
from fbnetv5.d2.supernet import FBNetV5Supernet, Passed
from fbnetv5.data.skipped import SkippedImages
from fbnetv5.engine.divergence import clip_gradient
from fbnetv5.engine.log import RunLog
from fbnetv5.engine.loggers.logger import open_loggers
from fbnetv5.jobs.exchange import Outcome, gather_outcomes
from fbnetv5.jobs.extend import require_same_network
from fbnetv5.jobs.supernet import learn

try:
    from detectron2.engine import HookBase
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error


class SearchHook(HookBase):
    """Clips the gradient, moves the tasks' distributions, records, and is the search's part of a checkpoint.

    It has to stand before the hook that saves: BN statistics are averaged over the processes for every checkpoint.

    Args:
        supernet: what is trained.
        folder: of the run.
        save_every: iterations between two checkpoints.
        datasets: names of Detectron2's data sets that are searched on, if any.
    """

    def __init__(self, supernet: FBNetV5Supernet, folder: Path, save_every: int, datasets: Sequence[str] = ()) -> None:
        self.supernet = supernet
        self.run = supernet.run
        self.folder = folder
        self.save_every = save_every
        self.identity = {**identity(self.run.config), "DATASETS.TRAIN": list(datasets)}
        self.skipped = SkippedImages(self.run.world)
        self._gathered: Outcome | None = None
        self._log: RunLog | None = None
        self._log_state: dict[str, Any] | None = None

    def before_train(self) -> None:
        """Open the log where a resumed run goes on, cutting off what was recorded after that."""
        config, world = self.run.config, self.run.world
        require_same_network(self.run.kept, self.run.model.state_dict(), str(config.search.extend))
        self._log = RunLog(
            self.folder if world.is_main else None,
            num_steps=self.run.num_steps,
            batch_size=config.search.batch_size,
            every=config.runtime.log_every,
            start_step=self.trainer.start_iter,
            loggers=open_loggers(config, self.folder, self.trainer.start_iter) if world.is_main else (),
        )
        if self._log_state is not None:
            self._log.load_state_dict(self._log_state)

    def after_backward(self) -> None:
        """Gather the losses, and clip the gradient.

        Raises:
            InputError: a loss or the gradient is not finite.
        """
        passed = self._passed()
        self._gathered = gather_outcomes(self.run.world, list(self.run.model.tasks), passed.iteration, passed.outcomes)
        clip_gradient(self.run.learner, self.run.config.optimizer.clip_norm, passed.iteration.step)

    def after_step(self) -> None:
        """Learn from the losses, record, and prepare the weights for being saved.

        Raises:
            RuntimeError: the ranks' probabilities differ.
        """
        assert self._gathered is not None
        assert self._log is not None
        passed, run = self._passed(), self.run
        metrics = learn(run, passed.iteration, self._gathered)
        self.trainer.storage.put_scalar("arch_lr", metrics["arch_lr"], smoothing_hint=False)
        if run.config.data.undecodable == "skip":
            metrics["skipped"] = self.skipped.count(passed.batch)
        self._log.add(metrics)
        done = passed.iteration.step + 1
        if self._log.due(done):
            self._log.record(done)
            self._log.probabilities(done, run.probabilities(), run.space.slot_names)
        if done % self.save_every == 0 or done == run.num_steps:
            run.world.average_buffers(run.learner)
        self.supernet.passed = self._gathered = None

    def after_train(self) -> None:
        """Close the log, also of a run that failed."""
        if self._log is not None:
            self._log.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what D2Go's checkpoint holds of the search beside weights, optimiser and schedule."""
        return {
            "identity": json.dumps(self.identity),
            "algorithm": self.run.algorithm.state_dict(),
            "log": {} if self._log is None else self._log.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`.

        Raises:
            InputError: it is that of a search with another configuration.
        """
        check_identity(self.identity, json.loads(state["identity"]), self.folder)
        self.run.algorithm.load_state_dict(state["algorithm"])
        self._log_state = state["log"] or None

    def _passed(self) -> Passed:
        assert self.supernet.passed is not None, "the trainer takes no step without a forward pass"
        return self.supernet.passed
