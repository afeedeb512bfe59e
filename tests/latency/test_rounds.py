"""Rounds of asking for files' milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.latency.bundle import TIMES, File, medians, read_times
from fbnetv5.latency.rounds import drift, measure_files

FILES = {name: File(Path(f"{name}.onnx"), (1, 3, 8, 8)) for name in "abc"}


class Asked:
    """A timer that notes what it was asked for, and answers by the number of the question."""

    def __init__(self, answer: Callable[[int], float]) -> None:
        self.answer = answer
        self.order = ""

    def __call__(self, file: File) -> float:
        self.order += file.path.stem
        return self.answer(len(self.order) - 1)


def test_rounds_go_there_and_back_and_the_first_is_thrown_away(tmp_path):
    asked = Asked(lambda number: 100.0 if number < 3 else 1.0)
    found = measure_files(FILES, asked, 3, tmp_path / TIMES, say=print)
    assert asked.order == "abccbaabccba"
    assert found == {name: [1.0, 1.0, 1.0] for name in "abc"}
    assert read_times(tmp_path / TIMES, FILES) == found
    measure_files(FILES, asked, 3, tmp_path / TIMES, say=print)
    with pytest.raises(InputError, match="was timed by , not by a phone: remove it"):
        measure_files(FILES, asked, 3, tmp_path / TIMES, say=print, timed_by="a phone")
    assert len(asked.order) == 12  # nothing was asked again


def test_what_was_timed_before_a_fault_is_kept(tmp_path):
    def breaks(number: int) -> float:
        if number == 7:
            raise InputError("adb failed")
        return 2.0

    with pytest.raises(InputError, match=r"adb failed; what was timed is kept in .*times\.csv"):
        measure_files(FILES, Asked(breaks), 3, tmp_path / TIMES, say=print)
    assert sorted(map(len, read_times(tmp_path / TIMES, FILES).values())) == [1, 1, 2]
    asked = Asked(lambda _: 2.0)
    found = measure_files(FILES, asked, 3, tmp_path / TIMES, say=print)
    assert found == {name: [2.0, 2.0, 2.0] for name in "abc"}
    assert asked.order == "cbabccba"  # a round to warm up, what the second lacked, the third


def test_files_that_were_added_are_timed_in_the_same_rounds_as_the_others(tmp_path, capsys):
    two = {name: FILES[name] for name in "ab"}
    measure_files(two, Asked(lambda _: 1.0), 3, tmp_path / TIMES, say=print)
    found = measure_files(FILES, Asked(lambda _: 2.0), 3, tmp_path / TIMES, say=print)  # as on a device that is hot
    assert found == {name: [2.0, 2.0, 2.0] for name in "abc"}
    assert "files were added: all are timed again" in capsys.readouterr().out
    assert read_times(tmp_path / "times.earlier.csv", two) == {name: [1.0, 1.0, 1.0] for name in "ab"}
    measure_files(FILES | {"d": FILES["a"]}, Asked(lambda _: 3.0), 3, tmp_path / TIMES, say=print)
    assert read_times(tmp_path / "times.earlier.csv", two) == {name: [1.0, 1.0, 1.0] for name in "ab"}
    assert read_times(tmp_path / "times.earlier1.csv", FILES) == {name: [2.0, 2.0, 2.0] for name in "abc"}


def test_times_that_drift_are_measured_again_by_the_next_call(tmp_path):
    heating = Asked(lambda number: 1.0 + 0.1 * number)
    with pytest.raises(InputError, match=r"times drift: .* factor of 1\.\d\d"):
        measure_files(FILES, heating, 3, tmp_path / TIMES, say=print)
    found = measure_files(FILES, Asked(lambda _: 4.0), 3, tmp_path / TIMES, say=print)
    assert found == {name: [4.0, 4.0, 4.0] for name in "abc"}
    told: list[str] = []
    measure_files(FILES, Asked(lambda n: 1.0 + n), 3, tmp_path / "other.csv", say=told.append, steady=False)
    assert "times drift" in told[-1]


def test_drift_in_closed_form():
    assert drift({"a": [1, 9, 2], "b": [3, 9, 4]}, 3) == 6 / 4
    assert drift({"a": [9, 9, 4, 5, 6, 2, 2, 2]}, 6) == 4.5 / 2
    assert drift({"a": [1, 2]}, 2) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("part,ms\nd,1\n", "'d' is no part of the bundle"),
        ("part,ms\na,x\n", "is damaged"),
        ("part,ms\na,-1\n", "a takes -1"),
        ("part,ms\na,nan\n", "is damaged"),
        ("name;time\na;1\n", "its columns are part,ms"),
    ],
)
def test_a_wrong_table_of_times_is_refused(text, message, tmp_path):
    (tmp_path / TIMES).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_times(tmp_path / TIMES, FILES)
    assert "\n" not in str(error.value)


def test_every_part_needs_a_time():
    assert medians({"a": [3.0, 1.0, 2.0]}, Path(TIMES)) == {"a": 2.0}
    with pytest.raises(InputError, match=r"times\.csv has no times of b"):
        medians({"a": [1.0], "b": []}, Path(TIMES))
