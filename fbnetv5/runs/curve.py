"""``fbnetv5 curve``: what a search found, trained, exported and timed, beside what people draw by hand.

Of each config of a training, the family of the topology that it names is trained, point by point, each as the config
says. All of them are exported, and timed in the same rounds when nothing else runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.lock import locked
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.latency.exported import opened_timer
from fbnetv5.runs.collect import collect_runs, fronts, is_drawn, labels_of, scores_of
from fbnetv5.runs.curve_plan import Runner, Wanted, plan_curves
from fbnetv5.runs.file_times import column_of, time_files
from fbnetv5.runs.gather import find_runs, read_rows
from fbnetv5.runs.graph import Known, run_graph
from fbnetv5.runs.machine import gpus_for, jobs_at_once
from fbnetv5.runs.sweep import shown
from fbnetv5.runs.warm import WarmProcesses


def run_curves(
    files: Sequence[Path],
    overrides: Sequence[str],
    run: Runner,
    timing: LatencyConfig,
    wanted: Wanted,
    num_jobs: int | None = None,
) -> bool:
    """Train, export and time the families of trainings' topologies, and draw the curves; return whether none failed.

    What has been finished under the same configuration is not done again.

    Args:
        files, overrides, run, wanted: see :func:`fbnetv5.runs.curve_plan.plan_curves`.
        timing: as :func:`fbnetv5.runs.file_times.time_files` takes it.
        num_jobs: trainings and exports at a time, each of one thread, if ``overrides`` do not say otherwise; by default
            one a GPU, or as the cores allow.

    Raises:
        InputError: something does not fit, or files cannot be timed; what was done is kept.
    """
    plan = plan_curves(files, overrides, run, wanted)
    if timing.command is not None:
        with opened_timer(timing, plan.groups[0][0], timing.threads or 1):
            pass  # which refuses a wrong command before hours of training
    gpus = gpus_for(plan.runtime)
    count = jobs_at_once(num_jobs, gpus, plan.runtime.threads or 1)
    with locked(plan.root):
        plan.write_starts()
        print(
            f"{len(plan.trainings)} trainings and their exports, {count} at a time, into {shown(plan.root)}", flush=True
        )
        with WarmProcesses(count, devices=gpus) as place:
            outcomes = run_graph(lambda _: Known(plan.jobs), place)
        folders = [job.folder for job in plan.trainings if outcomes[job.name].is_finished]
        if not folders:
            raise InputError("no training was finished, so there is nothing to time")
        for group in plan.groups:
            time_files(folders, timing, *group)
            x = column_of(group, timing)
            page = plan.root if len(plan.groups) == 1 else plan.root / "_".join(group)
            print(f"\n{curves_text(folders, x)}\n")
            collect_runs([str(job.folder) for job in plan.trainings if job.folder.exists()], page, x=x)
    return all(outcome.is_finished for outcome in outcomes.values())


def curves_text(folders: Sequence[Path], x: str) -> str:
    """Return a table a task of the trainings in ``folders``, the fastest first; ``x`` is the column of their times."""
    rows = [row for run in find_runs(folders) for row in read_rows(run)]
    scores = scores_of(rows, x, None)
    front = fronts(rows, x, scores)
    lines = []
    for task, score in scores.items():
        own = [place for place, row in enumerate(rows) if row.task == task and {x, score} <= row.values.keys()]
        own.sort(key=lambda place: rows[place].values[x])
        names = labels_of([rows[place] for place in own])
        lines += [f"{task}: {score} against {x}"] if own else []
        width = max(map(len, names), default=0)
        for name, place in zip(names, own, strict=True):
            notes = ["drawn by hand"] * is_drawn(rows[place]) + ["none faster is as good"] * (place in front)
            values = f"{rows[place].values[x]:8.2f} ms  {rows[place].values[score]:8.4g}"
            lines.append(f"  {name:<{width}} {values}  {', '.join(notes)}".rstrip())
    return "\n".join(lines)
