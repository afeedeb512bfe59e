"""A study from its command line to its table, and its means and what it says is missed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fbnetv5.projects.tables.__main__ import main
from fbnetv5.projects.tables.cell import Cell, Row, expected, is_done, read_rows, run_cell
from fbnetv5.projects.tables.macro import macro_landscape
from fbnetv5.projects.tables.results import Mean, markdown, means, misses, read_means, write_means


def test_means_and_intervals_over_seeds_and_tasks(tmp_path: Path) -> None:
    cells = [
        (0.5, [Row("top1", "random", 200, "top1", 1.0), Row("together", "random", 200, "a", 2.0)]),
        (0.5, [Row("top1", "random", 200, "top1", 3.0), Row("together", "random", 200, "a", 4.0)]),
    ]
    for _, rows in cells:
        rows.append(Row("together", "random", 200, "b", 0.0))
    found = {(one.setting, one.task): one for one in means(cells)}
    alone, together = found["top1", "top1"], found["together", "mean"]
    assert (alone.seeds, alone.regret) == (2, 2.0)
    assert alone.interval == pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2), rel=1e-4)  # t, 1 degree of freedom
    assert together.regret == pytest.approx(1.5)
    write_means(found.values(), tmp_path / "means.csv")
    assert [one[:7] for one in read_means(tmp_path / "means.csv")] == [one[:7] for one in found.values()]
    assert "| random search | 2.00 ± 12.71 |" in markdown([alone])


def test_what_is_missed_is_named() -> None:
    def of(method: str, regret: float, noise: float = 0.5, evaluations: int = 800) -> Mean:
        return Mean("top1", "top1", method, noise, evaluations, 9, regret, 0.0)

    assert misses([of("last-look", 0.5), of("random", 1.0), of("ridge", 0.45)]) == []
    half, ridge = misses([of("last-look", 0.6), of("random", 1.0), of("ridge", 0.45)])
    assert "0.60 of random" in half
    assert "by 0.15" in ridge
    assert misses([of("last-look", 0.6, 0.0), of("random", 1.0, 0.0)]) == []
    assert misses([of("last-look", 0.6, evaluations=200), of("ridge", 0.1, evaluations=200)]) == []


def test_a_cell_measures_only_what_its_file_lacks(tmp_path: Path) -> None:
    cell = Cell("macro", 1.0, 0, ("random", "a-task"), (60,), tmp_path / "0.csv")
    assert expected(cell) == {("top1", "random", 60), ("together", "random", 60), ("together", "a-task", 60)}
    assert not is_done(cell)
    run_cell(cell)
    assert is_done(cell)
    kept = cell.file.read_text()
    cell.file.write_text(kept.replace(kept.rsplit(",", 2)[1], "9.9990"))
    more = Cell("macro", 1.0, 0, ("random",), (60, 100), cell.file)
    assert not is_done(more)
    run_cell(more)
    rows = {row[:4]: row.regret for row in read_rows(cell.file)}
    assert 9.999 in rows.values()
    assert rows["top1", "random", 100, "top1"] <= 48  # points between the best and the worst network
    cell.file.write_text(cell.file.read_text().replace(macro_landscape().digest, "0" * 8))
    assert not is_done(cell)  # it was measured on another landscape


def test_a_cell_that_is_extended_is_as_one_that_is_run_at_once(tmp_path: Path) -> None:
    cells = [Cell("macro", 1.0, 0, ("last-look",), counts, tmp_path / "0.csv") for counts in ((60,), (60, 100))]
    for cell in cells:
        run_cell(cell)
    at_once = replace(cells[1], file=tmp_path / "1.csv")
    run_cell(at_once)
    assert sorted(read_rows(cells[1].file)) == sorted(read_rows(at_once.file))
    run_cell(replace(at_once, evaluations=(40,)))
    assert {row.evaluations for row in read_rows(at_once.file)} == {40, 60, 100}


def test_a_study_runs_is_refused_over_another_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["macro", "--seeds", "2", "--noise", "0.5", "--evaluations", "60", "--methods", "random", "ridge"]
    command += ["--output", str(tmp_path), "--processes", "1"]
    main(command)
    assert "| additive ridge |" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main(command)
    assert "--resume" in capfd.readouterr().err
    before = (tmp_path / "results.csv").read_text()
    (tmp_path / "cells" / "0.5" / "1.csv").unlink()
    main([*command, "--resume"])
    assert "[1 of 2] noise-0.5-seed-0: finished already" in capfd.readouterr().out
    assert (tmp_path / "results.csv").read_text() == before
    assert {one.seeds for one in read_means(tmp_path / "results.csv")} == {2}
