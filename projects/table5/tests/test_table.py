"""The table of an ablation, from numbers made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from fbnetv5.projects.table5.table import markdown, missing_jobs, rank_correlations, search_costs
from fbnetv5.runs.markdown import spread

SCORES = {  # by seed and method: the trained scores of its two topologies
    (0, "random"): (0.50, 0.60),
    (0, "single-task"): (0.60, 0.70),
    (0, "multitask"): (0.62, 0.64),
    (1, "random"): (0.40, 0.50),
    (1, "single-task"): (0.50, 0.60),
    (1, "multitask"): (0.56, 0.60),
}


def results() -> dict[str, Any]:
    """Two seeds, one task, two topologies a method; the supernet ranks seed 0 perfectly and seed 1 the wrong way."""
    topologies = [
        {
            "seed": seed,
            "task": "cls",
            "code": f"{method}{index}",
            "methods": [method],
            "blocks": 3,
            "backbone_macs": 2_000_000 + 100_000 * index,
            "predicted_loss": -score if seed == 0 else score,
            "score": score,
            "metrics": {"top1": score},
        }
        for (seed, method), scores in SCORES.items()
        for index, score in enumerate(scores)
    ]
    searches = [
        {"seed": seed, "method": method, "task": task, "steps": 10, "forward_passes": 20, "backward_passes": 20,
         "seconds": seconds + seed}
        for seed in (0, 1)
        for method, task, seconds in (("multitask", None, 8.0), ("single-task", "cls", 10.0))
    ]  # fmt: skip
    return {
        "name": "made by hand",
        "config": {"seeds": [0, 1], "num_topologies": 2},
        "tasks": ["cls"],
        "metrics": {"cls": "top1"},
        "num_processes": 2,
        "least_macs": 2e6,
        "most_macs": 2.1e6,
        "searches": searches,
        "topologies": topologies,
        "failed": {},
    }


def cells(page: str, first: str, second: str = "") -> list[str]:
    """The cells of the row that starts with ``first`` and ``second``."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return next(row for row in rows if row[0] == first and (not second or row[1] == second))


def test_best_mean_and_gain_are_means_and_deviations_over_seeds():
    page = markdown(results())
    assert cells(page, "cls", "Random")[2:] == ["2.05 M", "top1", "55.0 ± 7.1", "50.0 ± 7.1", "-", "2"]
    multitask = cells(page, "cls", "Multitask (Alg. 4)")
    assert multitask[4:] == ["62.0 ± 2.8", "60.5 ± 3.5", "+10.5 ± 3.5", "2"]  # gains of 8 and 13, seed by seed
    assert cells(page, "cls", "Single task (Alg. 1)")[6] == "+10.0 ± 0.0"
    assert cells(page, "Multitask (Alg. 4)") == ["Multitask (Alg. 4)", "1", "20", "20", "8.5 ± 0.7", "2"]
    assert "Nothing is missing." in page


def test_the_cost_of_single_task_search_is_that_of_all_its_searches():
    found = results()
    found["tasks"].append("seg")
    found["searches"] += [row | {"task": "seg"} for row in found["searches"] if row["method"] == "single-task"]
    costs = search_costs(found, "single-task")
    assert costs == [{"forward_passes": 40, "backward_passes": 40, "seconds": 20 + 2 * seed} for seed in (0, 1)]
    assert search_costs(found, "multitask")[0]["forward_passes"] == 20


def test_rank_correlations_of_known_values():
    first, second = rank_correlations(results(), "cls")
    assert (first["tau"], first["rho"], first["count"]) == (pytest.approx(1), pytest.approx(1), 6)
    assert second["tau"] == pytest.approx(-1)
    swapped = results()
    low, high = sorted(swapped["topologies"][:3], key=lambda row: row["score"])[:2]
    low["predicted_loss"], high["predicted_loss"] = high["predicted_loss"], low["predicted_loss"]
    # scores .50 .60 .60 .70 .62 .64: the two lowest swap, and the third ties with the second in both rankings' truth
    assert rank_correlations(swapped, "cls")[0]["tau"] < 1


def test_what_is_missing_is_named_and_not_averaged_over():
    found = results()
    found["topologies"][1]["score"] = None  # random, seed 0
    found["topologies"][1]["predicted_loss"] = None
    found["topologies"] = [row for row in found["topologies"] if row["code"] != "multitask1" or row["seed"] == 0]
    found["searches"][0]["seconds"] = None
    found["failed"] = {"seed-0/train/cls-1f": "out of paper"}
    page = markdown(found)
    assert cells(page, "cls", "Random")[4:] == ["50.0", "45.0", "-", "1"]
    assert cells(page, "cls", "Single task (Alg. 1)")[6:] == ["+10.0", "2"]
    assert len(rank_correlations(found, "cls")) == 2
    assert missing_jobs(found) == [
        "seed-0/train/cls-1f: out of paper",
        "1 searches have not finished",
        "1 samples have fewer topologies than asked for: multitask-cls of seed 1",
        "1 sampled topologies have no trained score",
        "1 have no predicted one",
    ]


def test_an_empty_ablation_has_a_table():
    empty = results() | {"topologies": [], "searches": []}
    assert cells(markdown(empty), "cls", "Random")[2:] == ["-", "top1", "-", "-", "-", "0"]


def test_spread():
    assert [spread([]), spread([1.25]), spread([1, 3]), spread([0.5], digits=2, sign="+")] == [
        "-", "1.2", "2.0 ± 1.4", "+0.50",
    ]  # fmt: skip
