"""MLflow: a run of the experiment ``MLFLOW_EXPERIMENT_NAME``, or fbnetv5, where ``MLFLOW_TRACKING_URI`` says."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.engine.loggers.logger import keep_run, known_run

SERVICE = "mlflow"
REFUSED = re.compile(r"[^\w\-./ ]")  # characters that names of metrics may not have
PARAMS_AT_ONCE, PARAM_LENGTH = 100, 500  # what the service takes


class MLflow:
    """A :class:`~fbnetv5.engine.loggers.logger.Logger` of MLflow.

    Raises:
        InputError: the service refuses the run.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], start_step: int) -> None:
        from mlflow import MlflowClient, entities

        self._metric, self._told = entities.Metric, False
        try:
            self._client = MlflowClient()
            known = known_run(folder, SERVICE)
            if known is not None:
                self._client.update_run(known, status="RUNNING")
            self._run = known or self._new_run(name)
            keep_run(folder, SERVICE, self._run)
            if known is None:
                params = [
                    entities.Param(REFUSED.sub("_", key), str(value)[:PARAM_LENGTH]) for key, value in config.items()
                ]
                for start in range(0, len(params), PARAMS_AT_ONCE):
                    self._client.log_batch(self._run, params=params[start : start + PARAMS_AT_ONCE])
        except InputError:
            raise
        except Exception as error:  # it has errors of many kinds
            raise InputError(
                f"runtime.loggers: mlflow cannot start: {' '.join(str(error).split())}; set MLFLOW_TRACKING_URI, or "
                "leave it out"
            ) from error

    def _new_run(self, name: str) -> str:
        title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fbnetv5")
        found = self._client.get_experiment_by_name(title)
        experiment = self._client.create_experiment(title) if found is None else found.experiment_id
        return str(self._client.create_run(experiment, run_name=name).info.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers after ``step`` steps."""
        now = int(1000 * time.time())
        metrics = [self._metric(REFUSED.sub("_", name), value, now, step) for name, value in values.items()]
        with self._no_end_of_the_run():
            self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, failed: bool) -> None:
        """End the run."""
        with self._no_end_of_the_run():
            self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")

    @contextlib.contextmanager
    def _no_end_of_the_run(self) -> Iterator[None]:
        """Say, once, that the service does not answer: a training goes on, and metrics.jsonl has all numbers."""
        try:
            yield
        except Exception as error:  # it has errors of many kinds
            if not self._told:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                print(f"warning: mlflow does not take all numbers: {reason}", file=sys.stderr, flush=True)
            self._told = True
