"""A sweep from its plan to its table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.run_folder import CONFIG
from fbnetv5.runs.launchers import LauncherConfig, run_jobs
from fbnetv5.runs.outcome import RECORD, Outcome, is_finished
from fbnetv5.runs.plan import SweepJob, plan_sweep


def run_sweep(file: Path, overrides: Sequence[str], launcher: LauncherConfig, run: Callable[[RunConfig], None]) -> bool:
    """Run all jobs of a sweep, print a table of them at the end, and return whether none failed.

    With ``resume=true``, what an earlier sweep finished under the same configuration is left alone.

    Args:
        file: the config.
        overrides: in hydra's grammar; an axis is ``key=a,b``.
        launcher: where the jobs run.
        run: runs one job in this process.

    Raises:
        InputError: a key or value is wrong, the folders hold runs already, or the launcher cannot be had.
    """
    started = time.monotonic()
    jobs = plan_sweep(file, overrides)
    resume = load_config(file, jobs[0].overrides).resume
    taken = [job.folder for job in jobs if (job.folder / CONFIG).exists()]
    if taken and not resume:
        raise InputError(
            f"{taken[0]} holds a run already{f', and {len(taken) - 1} more do' if len(taken) > 1 else ''}: "
            "resume=true goes on with the sweep, output=FOLDER writes elsewhere, or delete it"
        )
    done = {job: Outcome(job, "skipped") for job in jobs if is_finished(job.folder, load_config(file, job.overrides))}
    waiting = [job for job in jobs if job not in done]
    for job in waiting:
        (job.folder / RECORD).unlink(missing_ok=True)
    if done:
        print(f"{len(done)} of {len(jobs)} jobs are finished already")
    outcomes = dict(done)
    for outcome in run_jobs(launcher, file, waiting, run) if waiting else ():
        outcomes[outcome.job] = outcome
        took = f"{outcome.status} after {outcome.seconds:.0f} s"
        print(f"[{len(outcomes)}/{len(jobs)}] {outcome.job.name}: {took}", flush=True)
    if os.environ.get("RANK", "0") == "0":
        print(f"\n{table([outcomes[job] for job in jobs], time.monotonic() - started)}")
    return all(outcome.status != "failed" for outcome in outcomes.values())


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the end of a sweep as text: a line a job, a line a failure with its error and folder, and the counts."""
    width = max(len(outcome.job.name) for outcome in outcomes) + 2
    lines = [f"{'job':<{width}}{'status':<10}{'seconds':>8}   folder"]
    for outcome in outcomes:
        earlier = outcome.status == "skipped"
        status, took = ("finished", "earlier") if earlier else (outcome.status, f"{outcome.seconds:.0f}")
        lines.append(f"{outcome.job.name:<{width}}{status:<10}{took:>8}   {shown(outcome.job.folder)}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    lines += [f"failed: {_axes(outcome.job)}: {outcome.error} ({shown(outcome.job.folder)})" for outcome in failed]
    count = f"{len(outcomes) - len(failed)} of {len(outcomes)} jobs finished"
    ending = f", {len(failed)} failed; resume=true runs what is not finished" if failed else ""
    folder = shown(outcomes[0].job.folder.parent)
    return "\n".join([*lines, f"{count}{ending}; {seconds:.0f} s", f"compare: python scripts/collect.py {folder}"])


def shown(folder: Path) -> str:
    """Return a path as a person in the working directory would write it."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _axes(job: SweepJob) -> str:
    return " ".join(text.lstrip("+") for text in job.swept)
