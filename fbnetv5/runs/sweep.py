"""A sweep from its plan to its table."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import CONFIG, load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.runs.graph import Known, run_graph
from fbnetv5.runs.job import Job, Outcome, Run
from fbnetv5.runs.launchers import LauncherConfig, find_place
from fbnetv5.runs.plan import plan_sweep


def run_sweep(file: Path, overrides: Sequence[str], launcher: LauncherConfig, run: Callable[[RunConfig], None]) -> bool:
    """Run all jobs of a sweep, print a table of them at the end, and return whether none failed.

    With ``resume=true``, what an earlier sweep finished under the same configuration is left alone.

    Args:
        file: the config.
        overrides: in hydra's grammar; an axis is ``key=a,b``.
        launcher: where the jobs run.
        run: does one of them.

    Raises:
        InputError: a key or value is wrong, the folders hold runs already, or the launcher cannot be had.
    """
    started = time.monotonic()
    jobs = plan_sweep(file, overrides, run)
    assert isinstance(jobs[0].work, Run)
    first = load_config(file, jobs[0].work.overrides)
    root = jobs[0].folder.parent
    if (root / CONFIG).exists():
        raise InputError(f"{root} holds a run of its own: output=FOLDER writes the sweep elsewhere")
    taken = [job.folder for job in jobs if (job.folder / CONFIG).exists()]
    if taken and not first.resume:
        raise InputError(
            f"{taken[0]} holds a run already{f', and {len(taken) - 1} more do' if len(taken) > 1 else ''}: "
            "resume=true goes on with the sweep, output=FOLDER writes elsewhere, or delete it"
        )
    with find_place(launcher, jobs, first.runtime) as place:
        outcomes = run_graph(lambda _: Known(jobs), place)
    if os.environ.get("RANK", "0") == "0":
        print(f"\n{table([outcomes[job.name] for job in jobs], time.monotonic() - started)}")
    return all(outcome.is_finished for outcome in outcomes.values())


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the end of a sweep as text: a line a job, a line a failure with its error and folder, and the counts."""
    width = max(len(outcome.job.name) for outcome in outcomes) + 2
    lines = [f"{'job':<{width}}{'status':<10}{'seconds':>8}   folder"]
    for outcome in outcomes:
        earlier = outcome.status == "skipped"
        status, took = ("finished", "earlier") if earlier else (outcome.status, f"{outcome.seconds:.0f}")
        lines.append(f"{outcome.job.name:<{width}}{status:<10}{took:>8}   {shown(outcome.job.folder)}")
    failed = [outcome for outcome in outcomes if not outcome.is_finished]
    lines += [f"failed: {_axes(outcome.job)}: {outcome.error} ({shown(outcome.job.folder)})" for outcome in failed]
    count = f"{len(outcomes) - len(failed)} of {len(outcomes)} jobs finished"
    ending = f", {len(failed)} failed; resume=true runs what is not finished" if failed else ""
    folder = shown(outcomes[0].job.folder.parent)
    return "\n".join([*lines, f"{count}{ending}; {seconds:.0f} s", f"compare: fbnetv5 collect {shlex.quote(folder)}"])


def shown(folder: Path) -> str:
    """Return a path as a person in the working directory would write it."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _axes(job: Job) -> str:
    return " ".join(text.lstrip("+") for text in job.work.swept) if isinstance(job.work, Run) else job.name
