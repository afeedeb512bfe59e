"""Graphs of jobs: their order, failures, what is done already, jobs that appear, and progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.runs.graph import Known, Progress, run_graph
from fbnetv5.runs.job import Call, Job, Outcome, Outcomes, Run, errors, finished
from fbnetv5.runs.place import Ended, InThisProcess, Place


def touch(file: Path) -> None:
    if file.name.startswith("bad"):
        raise InputError(f"no {file.name}")
    file.write_text("done")


def job(folder: Path, name: str, *after: str, group: str = "") -> Job:
    return Job(name, Call(touch, folder / name, Path.exists), folder, after, group)


def run(jobs: Sequence[Job], place: Place | None = None) -> tuple[dict[str, Outcome], list[str]]:
    """How jobs ended, and a line for each in the order in which they did."""
    lines: list[str] = []
    outcomes = run_graph(
        lambda _: Known(jobs),
        place or InThisProcess(titles=False),
        lambda outcome, progress: lines.append(progress.line(outcome)),
    )
    return outcomes, lines


def test_jobs_run_after_what_they_wait_for(tmp_path):
    jobs = [job(tmp_path, "last", "first", "second"), job(tmp_path, "second", "first"), job(tmp_path, "first")]
    outcomes, _ = run(jobs)
    assert list(outcomes) == ["first", "second", "last"]
    assert finished(outcomes) == {"first", "second", "last"}


def test_what_is_done_is_not_repeated(tmp_path):
    (tmp_path / "a").write_text("before")
    outcomes, lines = run([job(tmp_path, "a"), job(tmp_path, "b", "a")])
    assert [outcome.status for outcome in outcomes.values()] == ["skipped", "finished"]
    assert (tmp_path / "a").read_text() == "before"
    assert lines[0] == "[1 of 2] a: finished already"


def test_what_a_graph_forgets_once_it_has_ended_counts(tmp_path):
    jobs, lines = [job(tmp_path, name) for name in "abc"], []
    run_graph(
        lambda outcomes: Known([one for one in jobs if one.name not in outcomes]),
        InThisProcess(titles=False),
        lambda outcome, progress: lines.append(progress.line(outcome)),
    )
    assert [line.partition(",")[0].partition("]")[0] for line in lines] == ["[1 of 3", "[2 of 3", "[3 of 3"]


def test_what_follows_a_job_that_is_done_anew_is_of_an_older_one(tmp_path):
    (tmp_path / "b").write_text("before")
    outcomes, _ = run([job(tmp_path, "b", "a"), job(tmp_path, "a"), job(tmp_path, "c", "b")])
    assert [(name, outcome.status) for name, outcome in outcomes.items()] == [(name, "finished") for name in "abc"]
    assert (tmp_path / "b").read_text() == "done"


def test_a_failure_ends_only_what_waits_for_it(tmp_path):
    jobs = [
        job(tmp_path, "bad"),
        job(tmp_path, "needs-it", "bad"),
        job(tmp_path, "needs-that", "needs-it", "other"),
        job(tmp_path, "other"),
    ]
    outcomes, _ = run(jobs)
    statuses = {name: outcome.status for name, outcome in outcomes.items()}
    assert statuses == {"bad": "failed", "needs-it": "not run", "needs-that": "not run", "other": "finished"}
    assert errors(outcomes) == {
        "bad": "no bad",
        "needs-it": "bad did not finish",
        "needs-that": "needs-it did not finish",
    }


def test_jobs_appear_when_others_have_ended(tmp_path):
    def known(outcomes: Outcomes) -> Known:
        seen = [job(tmp_path, "search")]
        if "search" in finished(outcomes):
            return Known([*seen, *(job(tmp_path, f"train-{number}", "search") for number in range(2))])
        return Known(seen, {"train": 3})

    lines: list[str] = []
    outcomes = run_graph(known, InThisProcess(titles=False), lambda one, progress: lines.append(progress.line(one)))
    assert finished(outcomes) == {"search", "train-0", "train-1"}
    assert lines[0].startswith("[1 of 3, ETA 0:00:00] search: 0 s")


@pytest.mark.parametrize("after", ["b", "nowhere"])
def test_a_circle_is_a_mistake(tmp_path, after):
    with pytest.raises(ValueError, match="wait for one another, or for none that there is: a, b"):
        run([job(tmp_path, "a", after), job(tmp_path, "b", "a")])


def test_the_rest_takes_as_long_as_others_of_its_group(tmp_path):
    jobs = [job(tmp_path, name, group=name[0]) for name in ("a1", "a2", "b1", "b2", "c1")]
    taken = {"a1": 10.0, "b1": 40.0}
    outcomes = {one.name: Outcome(one, "finished", "", taken[one.name]) for one in jobs if one.name in taken}
    left = 10 + 40 + (10 + 40) / 2 + 2 * 40  # a2, b2, c1 by the mean over groups, and two more of b
    assert Progress(outcomes, Known(jobs, {"b": 2}), at_once=2).seconds_left == left / 2
    assert Progress({}, Known(jobs), at_once=2).seconds_left is None


class Pretended(Place):
    """A place for one job, which is not done, and ends well."""

    count = 1

    def __init__(self) -> None:
        self.running: list[Job] = []

    @property
    def room(self) -> int:
        return self.count - len(self.running)

    def start(self, jobs: Sequence[Job]) -> None:
        self.running += jobs

    def wait(self) -> list[Ended]:
        return [Ended(self.running.pop().name, "", 1.0)]

    def stop(self) -> None:
        pass


class Recorded(Place):
    """A place for two jobs that ends them in the order in which they were started, and notes what ran together."""

    count = 2

    def __init__(self) -> None:
        self.running: list[Job] = []
        self.together: list[set[str]] = []

    @property
    def room(self) -> int:
        return self.count - len(self.running)

    def start(self, jobs: Sequence[Job]) -> None:
        self.running += jobs
        self.together.append({one.name for one in self.running})

    def wait(self) -> list[Ended]:
        first = self.running.pop(0)
        touch(first.work.data)
        return [Ended(first.name, "", 1.0)]

    def stop(self) -> None:
        assert not self.running


def test_a_run_that_follows_one_done_anew_does_not_go_on_from_checkpoints_of_the_older(tmp_path):
    before = job(tmp_path, "before")
    for names, is_kept in ((("before",), False), ((), True)):
        checkpoint = tmp_path / "after" / "checkpoints" / "step-00000002"
        checkpoint.mkdir(parents=True)
        after = Job("after", Run(tmp_path / "config.yaml", (), print), tmp_path / "after", names)
        (tmp_path / "before").unlink(missing_ok=True)
        run([before, after], Pretended())
        assert checkpoint.exists() == is_kept


def test_as_many_run_together_as_there_is_room_for(tmp_path):
    place = Recorded()
    run([job(tmp_path, "a"), job(tmp_path, "b", "a"), job(tmp_path, "c"), job(tmp_path, "d")], place)
    assert place.together == [{"a", "c"}, {"c", "b"}, {"b", "d"}]
