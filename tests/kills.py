"""Runs that are killed at injected points and go on: what they leave, beside uninterrupted ones, to the bit.

``python -m tests.kills --rounds 300`` makes rounds over all jobs in turn. In a round a run dies from SIGKILL at a point
that is drawn: just before, in the middle of or just after one of its writes reaches the disk, is renamed or is
removed, or at any time; every third round it dies a second time as it goes on. Then it goes on to its end.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fbnetv5.base import files
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.engine import log as run_log
from fbnetv5.model.folder import save_model
from tests.export.models import FEW_BLOCKS, random_model
from tests.jobs import cases
from tests.processes import FORKS, PRELOADED, start

MANNERS = ("before", "half", "after", "any time")
CALLS = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir")  # of module os


def exporting(folder: Path) -> list[str]:
    """A random classifier for TorchScript, rated on two images."""
    model = random_model("cls", topology=FEW_BLOCKS["cls"], classes=ShapesSource(1, 64, 0).classes["label"])
    save_model(folder / "model", model, model.spec)
    keys = {
        "defaults": ["/fbnetv5/schema", "_self_"],
        "job": "export",
        "name": "exported",
        "export": {"model": str(folder / "model"), "formats": ["torchscript"], "precisions": ["fp32"]},
        "data": {"shapes": {"num_images": 16, "num_val_images": 2, "size": 64}},
        "runtime": {"device": "cpu", "threads": 1, "workers": 0},
    }
    (folder / "export.yaml").write_text(yaml.safe_dump(keys))
    return [f"--config={folder / 'export.yaml'}"]


SMALL = ("data.shapes.num_images=16", "data.shapes.size=32", "data.short_side=32")
SEARCH = (*SMALL, "data.crop=32", "search.steps=4", "runtime.log_every=1", "runtime.checkpoint_every=1")
TRAIN = (*SMALL, "data.shapes.num_val_images=2", "train.steps=4", "train.eval_every=2", "evaluate.num_drawn=0")
EVERY = ("runtime.log_every=1", "runtime.checkpoint_every=1")


def smaller(case: cases.Case, *overrides: str) -> cases.Case:
    """The same run with fewer and smaller images, and a checkpoint a step."""
    return lambda folder: [*case(folder), *overrides]


LOOK = "search.last_look={candidates: 6, images: 4, finalists: 2, neighbours: true}"
JOBS: dict[str, cases.Case] = {
    "search": smaller(cases.searching(LOOK), *SEARCH),
    "label": cases.labelling,
    "train cls": smaller(cases.training("cls"), *TRAIN, *EVERY, "data.crop=32"),
    "train det": smaller(cases.training("det"), *TRAIN, *EVERY),
    "train seg": smaller(cases.training("seg"), *TRAIN, *EVERY, "data.crop=32"),
    "train pose": smaller(cases.training_pose, *EVERY, "train.steps=4", "train.eval_every=2"),
    "train joint": smaller(cases.training_jointly, *EVERY, "train.steps=4", "train.eval_every=2"),
    "FNA++": smaller(cases.fna_search, *EVERY, "train.steps=4"),
    "FPNAS": smaller(cases.fpnas_search, "project.iterations=1"),
    "export": exporting,
}


@dataclass(frozen=True)
class Death:
    """The way in which a run dies: at its ``number``-th write, or when it has taken ``share`` of its time."""

    manner: str
    number: int = 0
    share: float = 0.0


@dataclass
class Found:
    """The rounds of a job.

    Attributes:
        kills: runs that died.
        different: rounds whose outcome is not that of an uninterrupted run, or that did not come to an end.
        left_over: rounds that left hidden files.
        notes: of what was found, one line each.
    """

    rounds: int = 0
    kills: int = 0
    different: int = 0
    left_over: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class Writes:
    """Counts what a process does to its disk; where a death is given, kills it there."""

    def __init__(self, death: Death | None) -> None:
        self.death = death
        self.count = 0

    def watch(self) -> None:
        """Stand between the program and the operating system from now on."""
        for name in CALLS:
            setattr(os, name, self._around(getattr(os, name), half=_cut if name == "fsync" else None))
        run_log.append_line = self._around(files.append_line, half=_append_half)

    def _around(self, original: Callable[..., Any], half: Callable[..., None] | None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            dies = self.death is not None and self.count == self.death.number and self.death.manner != "any time"
            if dies and self.death and self.death.manner != "after":
                if self.death.manner == "half" and half is not None:
                    half(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def _cut(handle: int) -> None:
    """Leave the first half of a file, as of one that was being written."""
    path = Path(f"/proc/self/fd/{handle}").resolve()
    if path.is_file():
        os.truncate(path, path.stat().st_size // 2)


def _append_half(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line[: len(line) // 2])


def take(given: Sequence[str], death: Death | None, counted: Path) -> None:
    """Run a job, to its end or its death; write the number of its writes."""
    writes = Writes(death)
    writes.watch()
    cases.take(given)
    counted.write_text(str(writes.count))


class Job:
    """A job that is run once without interruption, and then killed.

    Args:
        name: of the job.
        folder: for its runs.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        folder.mkdir(parents=True)
        self.given = JOBS[name](folder / "reads")
        began = time.monotonic()
        if self._run("whole", None):
            raise RuntimeError(f"{name}: {self._said()}")
        self.seconds = time.monotonic() - began
        self.num_writes = int((folder / "counted").read_text())
        self.expected = cases.outcome(folder / "whole")
        self.hidden = _hidden(folder / "whole")
        self.found = Found()

    def round(self, number: int, seed: int) -> None:
        """Kill a run, once or twice, have it go on, and compare."""
        began, found = time.monotonic(), self.found
        draw = random.Random(f"{seed} {self.name} {number}")
        shutil.rmtree(self.folder / "killed", ignore_errors=True)
        deaths = [self._death(draw) for _ in range(1 + (number % 3 == 2))]
        died = [self._run("killed", death) for death in deaths]
        status = self._run("killed", None)
        found.rounds += 1
        found.kills += sum(value == -signal.SIGKILL for value in died)
        if status or any(value not in (0, -signal.SIGKILL) for value in died):
            found.different += 1
            found.notes.append(f"round {number} {deaths}: ended with {died}, {status}: {self._said()}")
        elif (outcome := cases.outcome(self.folder / "killed")) != self.expected:
            names = sorted(self.expected.keys() | outcome.keys())
            differ = [name for name in names if outcome.get(name) != self.expected.get(name)]
            found.different += 1
            found.notes.append(f"round {number} {deaths}: {', '.join(differ)}")
        if left := sorted(_hidden(self.folder / "killed") - self.hidden):
            found.left_over += 1
            found.notes.append(f"round {number} {deaths}: left {', '.join(left)}")
        found.seconds += time.monotonic() - began

    def _death(self, draw: random.Random) -> Death:
        return Death(draw.choice(MANNERS), draw.randint(1, self.num_writes), draw.random())

    def _run(self, output: str, death: Death | None) -> int | None:
        """Run the job in a process that is forked from one that has imported all; return its status."""
        given = [*self.given, f"output={self.folder / output}", *(["resume=true"] if output == "killed" else [])]
        log, env = self.folder / "log", dict(os.environ)
        for suffix in (".out", ".err"):
            log.with_suffix(suffix).unlink(missing_ok=True)
        process = start(take, given, death, self.folder / "counted", log=log, env=env)
        if death is not None and death.manner == "any time":
            process.join(death.share * self.seconds)
            process.kill()
        process.join(300)
        process.kill()
        process.join()
        return process.exitcode

    def _said(self) -> str:
        lines = (self.folder / "log.err").read_text().strip().splitlines()
        return lines[-1] if lines else "nothing"


def _hidden(folder: Path) -> set[str]:
    """Return the files and folders whose names start with a dot: temporary files, locks and claims."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob(".*")}


def kill_runs(names: Sequence[str], rounds: int, seed: int, folder: Path) -> dict[str, Found]:
    """Make rounds over jobs in turn; return what was found of each."""
    jobs = [Job(name, folder / name.replace(" ", "_")) for name in names]
    for number in range(rounds):
        job = jobs[number % len(jobs)]
        job.round(number // len(jobs), seed)
        for note in job.found.notes[len(job.found.notes) - 1 :] if job.found.notes else ():
            if note.startswith(f"round {number // len(jobs)} "):
                print(f"{job.name}, {note}", file=sys.stderr, flush=True)
    return {job.name: job.found for job in jobs}


HEADER = ("job", "rounds", "kills", "equal", "different", "left over", "seconds a round")


def table(found: dict[str, Found]) -> list[tuple[str, ...]]:
    """Return the rows of the table, the sums last."""
    rows = []
    total = Counter[str]()
    for name, one in found.items():
        values = (one.rounds, one.kills, one.rounds - one.different, one.different, one.left_over)
        rows.append((name, *map(str, values), f"{one.seconds / max(1, one.rounds):.1f}"))
        total.update(dict(zip(HEADER[1:6], values, strict=True)))
    mean = sum(one.seconds for one in found.values()) / max(1, total["rounds"])
    return [*rows, ("all", *(str(total[name]) for name in HEADER[1:6]), f"{mean:.1f}")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the rounds, print the table; ends with status 1 where a round differs or left something over."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=300, help="over all jobs (default: 300)")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS), help="by default all")
    parser.add_argument("--seed", type=int, default=0, help="of where runs die")
    parser.add_argument("--csv", type=Path, help="write the table there")
    options = parser.parse_args(arguments)
    FORKS.set_forkserver_preload([*PRELOADED, "tests.jobs.cases", "tests.export.models"])
    with tempfile.TemporaryDirectory() as folder:
        found = kill_runs(options.jobs, options.rounds, options.seed, Path(folder))
    rows = table(found)
    for row in (HEADER, *rows):
        print("".join(value.ljust(12) for value in row).rstrip())
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
    raise SystemExit(any(one.different or one.left_over for one in found.values()))


if __name__ == "__main__":
    from tests import kills  # by the name that forked processes know it by

    kills.main()
