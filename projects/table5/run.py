"""An ablation from its plan to its table."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.engine.log import clock
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.plan import METHODS, Part, Plan
from fbnetv5.projects.table5.pool import WorkerPool
from fbnetv5.projects.table5.results import gather
from fbnetv5.projects.table5.table import markdown
from fbnetv5.projects.table5.work import Work, do_part, is_done, record_end

RESULTS = "ablation.json"
TABLE = "ablation.md"


@dataclass
class Progress:
    """How the parts ended, by name: ``errors`` is empty for those that finished."""

    num_processes: int
    errors: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by group, of the parts that this run finished
    begin: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> set[str]:
        """The parts that did not fail."""
        return {name for name, error in self.errors.items() if not error}

    @property
    def failed(self) -> dict[str, str]:
        """The errors of those that did."""
        return {name: error for name, error in self.errors.items() if error}


def run_ablation(config: AblationConfig, *, num_processes: int, resume: bool) -> bool:
    """Run what is not finished of an ablation; return whether nothing is missing at its end.

    Writes to ``config.output`` a folder for each search and training, and after each part ablation.json, all numbers,
    and ablation.md, the table.

    Args:
        config: of the ablation.
        num_processes: parts at a time, each in a process of one thread.
        resume: go on with an ablation that the folder holds.

    Raises:
        InputError: the configuration is wrong, or the folder holds an ablation and ``resume`` is not set.
    """
    root = Path(config.output).absolute()
    if (root / RESULTS).exists() and not resume:
        raise InputError(f"{root} holds an ablation already: --resume goes on with it, --output writes elsewhere")
    plan, progress = Plan(config, root), Progress(num_processes)
    searches, trainings = most_parts(plan)
    print(
        f"ablation of {', '.join(plan.tasks)}: {searches} searches and at most {trainings} trainings of "
        f"{plan.window.least / 1e6:.2f} to {plan.window.most / 1e6:.2f} M MACs, {num_processes} at a time; "
        f"writing to {root}",
        flush=True,
    )
    write_results(plan, progress)
    with WorkerPool(num_processes, do_part) as pool:
        running: dict[str, Part] = {}
        while True:
            _start_ready(plan, progress, pool, running)
            if not pool.is_busy:
                break
            done = pool.wait()
            part = running.pop(done.name)
            record_end(part, done.error, done.seconds)
            progress.errors[part.name] = done.error
            if not done.error:
                progress.seconds.setdefault(part.group, []).append(done.seconds)
            write_results(plan, progress)
            print(_line(plan, progress, part, done.seconds), flush=True)
    write_results(plan, progress)  # once more, for the parts that were finished already
    print(f"\n{(root / TABLE).read_text(encoding='utf-8')}\ntable: {root / TABLE}\nall numbers: {root / RESULTS}")
    return not progress.failed and not plan.errors


def most_parts(plan: Plan) -> tuple[int, int]:
    """Return how many searches there are, and how many trainings if no topology is sampled twice."""
    config, num_tasks = plan.config, len(plan.tasks)
    seeds = len(config.seeds)
    return seeds * (1 + num_tasks), seeds * len(METHODS) * num_tasks * config.num_topologies


def write_results(plan: Plan, progress: Progress) -> None:
    """Write all numbers that there are, and the table."""
    results = gather(plan, progress.finished, progress.failed, progress.num_processes)
    write_text(plan.root / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_text(plan.root / TABLE, markdown(results))


def remaining_seconds(plan: Plan, progress: Progress) -> float | None:
    """Estimate the time to the end from the mean time of finished parts of each group; None before there is one."""
    if not progress.seconds:
        return None
    means = {group: statistics.mean(seconds) for group, seconds in progress.seconds.items()}
    known = list(plan.parts(progress.errors, progress.finished))
    overall = statistics.mean(means.values())
    left = sum(means.get(part.group, overall) for part in known if part.name not in progress.errors)
    for task in plan.tasks:  # topologies that are not sampled yet
        num_sampled = sum(part.kind == "train" and part.task == task for part in known)
        unknown = most_parts(plan)[1] // len(plan.tasks) - num_sampled
        waiting = any(part.kind == "search" and part.name not in progress.errors for part in known)
        left += waiting * unknown * means.get(f"train-{task}", overall)
    return left / progress.num_processes


def _start_ready(plan: Plan, progress: Progress, pool: WorkerPool, running: dict[str, Part]) -> None:
    """Start parts until no worker is free; what an earlier run has finished only counts."""
    while pool.has_room:
        ready = plan.parts(progress.errors, progress.finished)
        part = next((part for part in ready if part.name not in progress.errors and part.name not in running), None)
        if part is None:
            return
        work = Work(part, plan.root, plan.config.predict)
        if is_done(work):
            progress.errors[part.name] = ""
            print(f"{part.name}: finished already", flush=True)
            continue
        log = plan.root / f"{part.name}.log" if part.kind == "predict" else part.folder / "job.log"
        pool.start(part.name, work, log)
        running[part.name] = part


def _line(plan: Plan, progress: Progress, part: Part, seconds: float) -> str:
    """Say in one line how a part ended, and how long the rest will take."""
    searches, trainings = most_parts(plan)
    error = progress.errors[part.name]
    total = searches + trainings + len(plan.config.seeds) * len(plan.tasks)
    left = remaining_seconds(plan, progress)
    eta = "" if left is None else f", ETA {clock(left)}"
    how = f"failed after {seconds:.0f} s: {error}" if error else f"{seconds:.0f} s"
    return f"[{len(progress.errors)} of at most {total}{eta}] {part.name}: {how}"
