"""The log of a run: a progress line, metrics.jsonl, probabilities.csv, and loggers. Rank 0 alone writes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import append_line, keep_lines
from fbnetv5.engine.loggers.logger import Logger
from fbnetv5.metrics.names import split_names

METRICS = "metrics.jsonl"
PROBABILITIES = "probabilities.csv"
EVALUATION = "val/"  # metrics on the validation split
UNTOLD = "ess/"  # metrics that are recorded, and would make the progress line too long


class RunLog:
    """Collects the metrics of every step and writes their means every ``every`` steps.

    Args:
        folder: of the run; None on ranks that do not write.
        num_steps: of the whole run, for the ETA.
        batch_size: images a step over all ranks, for the speed.
        every: steps between two records.
        start_step: steps done before; what an interrupted run recorded after them is cut off.
        loggers: get the same numbers; none on ranks that do not write.

    Attributes:
        is_evaluated: whether ``folder`` holds an evaluation after ``start_step`` steps.
    """

    is_evaluated = False

    def __init__(
        self,
        folder: Path | None,
        *,
        num_steps: int,
        batch_size: int,
        every: int,
        start_step: int = 0,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.folder = folder
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.every = every
        self.loggers = loggers
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._begin = self._previous = (time.perf_counter(), start_step)
        self._console = Console(stderr=True, highlight=False)
        if folder is not None:
            keep_lines(folder / METRICS, lambda line: json.loads(line)["step"] <= start_step)
            self.is_evaluated = _has_evaluation(folder / METRICS, start_step)
            keep_lines(folder / PROBABILITIES, lambda line: line.startswith("step,") or _first(line) <= start_step)
            self._bar, self._task = self._progress(start_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums since the last record, so that a resumed run writes the same means."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of one step; a metric that is not given at a step does not count there."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        if self.folder is not None:
            self._bar.advance(self._task)

    def due(self, step: int) -> bool:
        """Whether a record is written after ``step`` steps."""
        return step % self.every == 0 or step == self.num_steps

    def record(self, step: int) -> None:
        """Write the means since the last record, after ``step`` steps."""
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        self._sums, self._counts = {}, {}
        if self.folder is None:
            return
        now = time.perf_counter()
        seconds_per_step = (now - self._previous[0]) / max(1, step - self._previous[1])
        self._previous = (now, step)
        timings = {"seconds_per_step": seconds_per_step, "elapsed_seconds": now - self._begin[0]}
        append_line(self.folder / METRICS, json.dumps({"step": step, **means, **timings}))
        for logger in self.loggers:
            logger.log(step, means | timings)
        self._show(step, means, self.batch_size / seconds_per_step)

    def probabilities(self, step: int, rows: Mapping[str, Sequence[float]], columns: Sequence[str]) -> None:
        """Append one row a task to probabilities.csv: step, task, and a probability under every column."""
        if self.folder is None:
            return
        path = self.folder / PROBABILITIES
        lines = [] if path.exists() and path.stat().st_size else [",".join(["step", "task", *columns])]
        lines += [",".join([str(step), task, *(f"{value:.6f}" for value in values)]) for task, values in rows.items()]
        append_line(path, "\n".join(lines))

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an evaluation after ``step`` steps, under ``val/``."""
        named = {f"{EVALUATION}{name}": value for name, value in metrics.items()}
        if self.folder is None:
            return
        append_line(self.folder / METRICS, json.dumps({"step": step, **named}))
        for logger in self.loggers:
            logger.log(step, named)

    def say(self, message: str) -> None:
        """Print a line for the person who waits."""
        if self.folder is not None:
            self._console.print(message, markup=False, soft_wrap=True)

    def close(self, *, failed: bool = False) -> None:
        """Close the loggers and end the progress line."""
        if self.folder is not None:
            self._bar.stop()
        for logger in self.loggers:
            logger.close(failed=failed)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with contextlib.suppress(InputError) if kind is not None else contextlib.nullcontext():
            self.close(failed=kind is not None)  # what ended the run is more important than what could not be flushed

    def _progress(self, start_step: int) -> tuple[Progress, Any]:
        """Start the progress line; where the output is no terminal it stays silent and records are printed."""
        losses = TextColumn("{task.fields[losses]}", table_column=Column(no_wrap=True, ratio=1))  # what gives way
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), losses)
        hidden = not self._console.is_terminal
        bar = Progress(*columns, console=self._console, disable=hidden, transient=True, expand=True)
        bar.start()
        return bar, bar.add_task("", total=self.num_steps, completed=start_step, losses="", speed="")

    def _show(self, step: int, means: Mapping[str, float], images_per_second: float) -> None:
        started, first = self._begin
        remaining = (time.perf_counter() - started) / max(1, step - first) * (self.num_steps - step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in means.items() if not name.startswith(UNTOLD))
        speed = f"{images_per_second:.{1 if images_per_second < 10 else 0}f} images/s  ETA {clock(remaining)}"
        if self._console.is_terminal:
            self._bar.update(self._task, losses=shown, speed=speed)
        else:
            self.say(f"step {step}/{self.num_steps}  {shown}  {speed}")


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Return the metrics over all classes in one line."""
    named = split_names(metrics)
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if not named[name].of_class)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _has_evaluation(path: Path, step: int) -> bool:
    """Whether metrics.jsonl, all of whose lines are sound, holds an evaluation after ``step`` steps."""
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else ())
    return any(record["step"] == step and any(name.startswith(EVALUATION) for name in record) for record in records)


def _first(line: str) -> int:
    return int(line.split(",", 1)[0])
