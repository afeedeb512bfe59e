"""The table of an ablation, from numbers made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from fbnetv5.projects.table5.agreement import tau
from fbnetv5.projects.table5.table import markdown, missing_jobs, search_costs
from fbnetv5.runs.markdown import spread

RANDOM = {"a": 0.50, "b": 0.52, "c": 0.54, "d": 0.60}
FOUND = {0: (0.60, 0.62), 1: (0.56, 0.58)}  # by seed: the trained scores of the two derived topologies


def results() -> dict[str, Any]:
    """Two searches, one task, two topologies each, and one under the MACs of a hand-made one."""
    found = [
        {"seed": seed, "method": "multitask", "task": "cls", "under": under, "topologies": names, "macs": macs,
         "scores": scores}
        for seed, equal in FOUND.items()
        for under, names, macs, scores in (
            ("", [f"x{seed}", f"y{seed}"], [2_000_000, 2_100_000], list(equal)),
            ("fpn", [f"z{seed}"], [1_400_000], [0.5 + 0.02 * seed]),
        )
    ]  # fmt: skip
    ranks = [
        {"seed": seed, "task": "cls"}
        | {f"{of}_{part}": 0.5 + 0.2 * seed for of in ("score", "regression") for part in ("all", "first", "others")}
        for seed in FOUND
    ]
    searches = [
        {"seed": seed, "method": "multitask", "task": None, "steps": 10, "forward_passes": 20, "backward_passes": 20,
         "seconds": 8.0 + seed}
        for seed in FOUND
    ]  # fmt: skip
    return {
        "name": "made by hand",
        "config": {"seeds": [0, 1], "num_topologies": 2, "methods": ["multitask"]},
        "tasks": ["cls"],
        "metrics": {"cls": "top1"},
        "repeats": 3,
        "num_processes": 2,
        "random": {"cls": {"scores": RANDOM, "icc": 0.81, "tau_ceiling": 0.71}},
        "named": {"cls": {"fpn": {"macs": 1_500_000, "score": 0.49}}},
        "found": found,
        "searches": searches,
        "ranks": ranks,
        "failed": {},
    }


def cells(page: str, first: str, second: str = "") -> list[str]:
    """The cells of the row that starts with ``first`` and ``second``."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return next(row for row in rows if row[0] == first and (not second or row[1] == second))


def test_scores_differences_and_percentiles_are_those_of_the_numbers():
    page = markdown(results())
    p = stats.ttest_ind([61, 57], [50, 52, 54, 60], equal_var=False, alternative="greater").pvalue
    assert cells(page, "cls", "top1")[2:] == [
        "Multitask (Alg. 4)", "59.0 ± 2.8", "54.0 ± 4.3 (4)", "+5.0", f"{p:.3f}", "75", "2", "4 of 4",
    ]  # fmt: skip
    assert cells(page, "cls", "fpn") == ["cls", "fpn", "1.50", "49.0", "1.40", "51.0 ± 1.4", "+2.0", "2"]
    assert cells(page, "cls", "last look") == ["cls", "last look", *["0.60 ± 0.14"] * 3, "0.71", "2"]
    assert cells(page, "Multitask (Alg. 4)") == ["Multitask (Alg. 4)", "1", "20", "20", "8.5 ± 0.7", "2"]
    assert "Nothing is missing." in page


def test_the_cost_of_single_task_search_is_that_of_all_its_searches():
    found = results()
    found["tasks"].append("seg")
    single = [row | {"method": "single-task", "task": task} for row in found["searches"] for task in ("cls", "seg")]
    costs = search_costs(found | {"searches": [*found["searches"], *single]}, "single-task")
    assert costs == [{"forward_passes": 40, "backward_passes": 40, "seconds": 16 + 2 * seed} for seed in (0, 1)]
    assert search_costs(found, "multitask")[0]["forward_passes"] == 20


def test_rank_correlations_of_known_values():
    assert tau([1, 2, 3], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert tau([1, 2, 3], [0.3, 0.2, 0.1]) == pytest.approx(-1)
    assert tau([2, 1, 3, 4], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(2 / 3)  # one of six pairs the other way round
    assert tau([1, 2], [0.1, 0.2]) is None
    assert tau([1, 1, 1], [0.1, 0.2, 0.3]) is None


def test_what_is_missing_is_named_and_not_averaged_over():
    found = results()
    found["found"][0]["scores"][1] = None
    found["searches"][0]["seconds"] = None
    found["ranks"].pop()
    found["failed"] = {"cls/1f-0": "out of paper"}
    page = markdown(found)
    assert cells(page, "cls", "top1")[3:] == ["57.0", "54.0 ± 4.3 (4)", "+3.0", "-", "75", "1", "4 of 4"]
    assert missing_jobs(found) == [
        "cls/1f-0: out of paper",
        "1 searches have not finished",
        "1 derived topologies have not been trained with all seeds",
        "1 predictions have not been made",
    ]


def test_an_empty_ablation_has_a_table():
    empty = results() | {"found": [], "searches": [], "ranks": [], "random": {"cls": {"scores": {}}}}
    assert cells(markdown(empty), "cls", "top1")[3:] == ["-", "- (0)", "-", "-", "-", "0", "-"]


def test_spread():
    assert [spread([]), spread([1.25]), spread([1, 3]), spread([0.5], digits=2, sign="+")] == [
        "-", "1.2", "2.0 ± 1.4", "+0.50",
    ]  # fmt: skip
