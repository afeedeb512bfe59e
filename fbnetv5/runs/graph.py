"""Runs a graph of jobs: each once what it waits for has finished, and none that has been done before."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fbnetv5.base.files import remove_folder
from fbnetv5.engine.log import clock
from fbnetv5.runs.job import Job, Outcome, Outcomes, Run, is_done
from fbnetv5.runs.place import Ended, Place
from fbnetv5.runs.record import RECORD, write_record


class Known(NamedTuple):
    """Jobs of a graph that are known.

    Attributes:
        jobs: all that are known, those to start first in front; also those that have ended.
        to_come: by group, how many more may appear once others have ended.
    """

    jobs: Sequence[Job]
    to_come: Mapping[str, int] = {}


@dataclass(frozen=True)
class Progress:
    """How far a graph is.

    Attributes:
        outcomes: of the jobs that have ended, by name.
        known: jobs, as it stands.
        at_once: jobs that can run at once.
    """

    outcomes: Outcomes
    known: Known
    at_once: int

    @property
    def seconds_left(self) -> float | None:
        """Time to the end, by the mean time of finished jobs of each group; None before there is one."""
        taken: dict[str, list[float]] = {}
        for outcome in self.outcomes.values():
            if outcome.status == "finished":
                taken.setdefault(outcome.job.group, []).append(outcome.seconds)
        if not taken:
            return None
        means = {group: statistics.mean(seconds) for group, seconds in taken.items()}
        overall = statistics.mean(means.values())
        waiting = [job.group for job in self.known.jobs if job.name not in self.outcomes]
        waiting += [group for group, count in self.known.to_come.items() for _ in range(count)]
        return sum(means.get(group, overall) for group in waiting) / max(1, min(self.at_once, len(waiting)))

    def line(self, outcome: Outcome) -> str:
        """Return in one line how a job ended, and how long the rest will take."""
        to_come = sum(self.known.to_come.values())
        known = self.outcomes.keys() | {job.name for job in self.known.jobs}  # a graph may forget what has ended
        total = f"{'at most ' if to_come else ''}{len(known) + to_come}"
        left = self.seconds_left
        eta = "" if not left else f", ETA {clock(left)}"
        how = {
            "finished": f"{outcome.seconds:.0f} s",
            "failed": f"failed after {outcome.seconds:.0f} s: {outcome.error}",
            "skipped": "finished already",
            "not run": f"not run: {outcome.error}",
        }
        return f"[{len(self.outcomes)} of {total}{eta}] {outcome.job.name}: {how[outcome.status]}"


def show(outcome: Outcome, progress: Progress) -> None:
    """Print how a job ended."""
    print(progress.line(outcome), flush=True)


def run_graph(
    known_after: Callable[[Outcomes], Known],
    place: Place,
    on_end: Callable[[Outcome, Progress], None] = show,
) -> dict[str, Outcome]:
    """Run all jobs of a graph; return how each ended, by name.

    What follows a job that is done anew is done anew as well. A job that fails ends nothing but those that wait for it,
    which are not run. How a run ended is written to its folder.

    Args:
        known_after: from what has ended to the jobs that are known then; names stay, and jobs may be added.
        place: where they run; its context must have been entered.
        on_end: is called when a job has ended, or has turned out to be done or not to be run; not on ranks other
            than the first.

    Raises:
        ValueError: jobs wait for one another, or for none that there is.
    """
    graph = _Graph(known_after, place, on_end)
    while graph.advance():
        for ended in place.wait():
            graph.end(ended)
    left = [job.name for job in graph.known.jobs if job.name not in graph.outcomes]
    if left:
        raise ValueError(f"jobs that wait for one another, or for none that there is: {', '.join(left)}")
    return graph.outcomes


@dataclass
class _Graph:
    known_after: Callable[[Outcomes], Known]
    place: Place
    on_end: Callable[[Outcome, Progress], None]
    known: Known = field(default_factory=lambda: Known(()))
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, Job] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def advance(self) -> bool:
        """Skip what is done, start what can start; return whether anything runs."""
        while self._settle():
            pass
        ready = [job for job in self._waiting() if all(self._has_finished(name) for name in job.after)]
        starting = ready[: self.place.room]
        if starting:
            for job in starting:
                if isinstance(job.work, Run) and _is_main():
                    if self._follows_new(job):  # and was not known when what it follows ended
                        _clear(job)
                    (job.folder / RECORD).unlink(missing_ok=True)
            self.running |= {job.name: job for job in starting}
            self.place.start(starting)
        return bool(self.running)

    def end(self, ended: Ended) -> None:
        """Take note of a job that has ended."""
        job = self.running.pop(ended.name)
        if not ended.error and _is_main():
            for later in self.known.jobs:
                if job.name in later.after:
                    _clear(later)  # before the record, without which the job would be done anew
        if isinstance(job.work, Run) and _is_main():
            write_record(job.folder, job.work.swept, ended.error, ended.seconds)
        self._note(Outcome(job, "failed" if ended.error else "finished", ended.error, ended.seconds))

    def _settle(self) -> bool:
        """Note jobs that need not or cannot be run; return whether there were any, which may make others appear."""
        self.known = self.known_after(self.outcomes)
        new = [
            job
            for job in self._waiting()
            if job.name not in self.seen and all(self._has_finished(name) for name in job.after)
        ]
        self.seen |= {job.name for job in new}
        done = [job for job in new if not self._follows_new(job) and is_done(job)]
        for job in done:
            self._note(Outcome(job, "skipped"))
        stuck = False
        for job in self._waiting():
            failed = [name for name in job.after if name in self.outcomes and not self._has_finished(name)]
            if failed:
                stuck = True
                self._note(Outcome(job, "not run", f"{failed[0]} did not finish"))
        return bool(done) or stuck

    def _waiting(self) -> list[Job]:
        return [job for job in self.known.jobs if job.name not in self.outcomes and job.name not in self.running]

    def _follows_new(self, job: Job) -> bool:
        """Whether a job that this one waits for has been done anew, so that what there is of this one is of another."""
        return any(self.outcomes[name].status == "finished" for name in job.after)

    def _has_finished(self, name: str) -> bool:
        return name in self.outcomes and self.outcomes[name].is_finished

    def _note(self, outcome: Outcome) -> None:
        self.outcomes[outcome.job.name] = outcome
        if _is_main():
            self.on_end(outcome, Progress(self.outcomes, self.known_after(self.outcomes), self.place.count))


def _clear(job: Job) -> None:
    """Remove what there is of a run: what it follows has been done anew."""
    if isinstance(job.work, Run) and job.folder.exists():
        remove_folder(job.folder)


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"
