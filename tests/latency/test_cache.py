from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fbnetv5.base.paths import cache_folder
from fbnetv5.latency.cache import FOLDER, cache_file, load_or_measure
from fbnetv5.latency.table import LatencyTable
from tests.latency.tables import CPU, NANO, conditions, random_table
from tests.latency.test_measure import Ticking


def never() -> float:
    raise AssertionError("the cache should have had it")


def test_a_table_is_measured_once(tmp_path, capsys):
    table = load_or_measure(NANO, conditions(), CPU, tmp_path, Ticking())
    assert load_or_measure(NANO, conditions(), CPU, tmp_path, never) == table
    name = cache_file(conditions(), tmp_path).name
    assert {file.name for file in tmp_path.iterdir()} == {name, f"{name}.lock"}
    said = capsys.readouterr()
    assert said.err == ""
    assert f"latencies were measured before, on {conditions()}" in said.out


def test_one_measures_and_the_others_wait(tmp_path):
    measured = []

    def measure() -> LatencyTable:
        measured.append(random_table(0))
        time.sleep(0.5)  # in which the others look
        return replace(measured[0], conditions=conditions())

    def look(_: int) -> LatencyTable:
        return load_or_measure(NANO, conditions(), CPU, tmp_path, measure=measure)

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(look, range(3))
    assert others == [first] * 2
    assert len(measured) == 1


@pytest.mark.parametrize(
    "change", [{"device": "abacus"}, {"threads": 99}, {"precision": "float64"}, {"torch": "0"}, {"layers": "0"}]
)
def test_other_conditions_have_another_file(change, tmp_path):
    other = replace(conditions(), **change)
    assert cache_file(other, tmp_path) != cache_file(conditions(), tmp_path)


@pytest.mark.parametrize("content", ["", "{", "\x00", "null"])
def test_a_damaged_file_is_measured_anew(content, tmp_path, capsys):
    file = cache_file(conditions(), tmp_path)
    file.write_text(content)
    table = load_or_measure(NANO, conditions(), CPU, tmp_path, Ticking())
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {file} is damaged")
    assert warning.count("\n") == 1
    assert LatencyTable.load(file) == table


def test_a_file_of_other_conditions_is_measured_anew(tmp_path, capsys):
    file = cache_file(conditions(repeats=7), tmp_path)
    random_table(0).save(file)
    assert load_or_measure(NANO, conditions(repeats=7), CPU, tmp_path, Ticking()).conditions.repeats == 7
    assert "measured under other conditions" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    table = load_or_measure(NANO, conditions(), CPU, tmp_path / "taken", Ticking())
    assert table.trunk_ms == pytest.approx(4.0)
    assert "warning: latencies are not cached" in capsys.readouterr().err


def test_the_cache_is_the_users(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder(FOLDER) == Path("/somewhere/fbnetv5/latency")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert cache_folder(FOLDER) == Path("/home/ada/.cache/fbnetv5/latency")
