"""An ablation's numbers as tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from fbnetv5.projects.table5.results import Results
from fbnetv5.runs.markdown import NOTHING, chance, markdown_table, spread
from fbnetv5.runs.statistics import p_above

NAMES = {"multitask": "Multitask (Alg. 4)", "single-task": "Single task (Alg. 1)"}


def markdown(results: Results) -> str:
    """Return the whole page; what is missing is named at its end and counted nowhere."""
    missing = missing_jobs(results)
    lines = [
        f"# {results['name']}",
        "",
        *equal_table(results),
        "",
        *named_table(results),
        "",
        *rank_table(results),
        "",
        *cost_table(results),
        "",
        *(["Missing:", "", *(f"- {line}" for line in missing)] if missing else ["Nothing is missing."]),
    ]
    return "\n".join(lines) + "\n"


def equal_table(results: Results) -> list[str]:
    """Return the scores of derived and of random topologies at equal MACs."""
    rows = [
        ["Task", "Metric", "Method", "Score", "Random", "Difference", "p", "Above, % of random", "Searches", "Distinct"]
    ]
    for task in results["tasks"]:
        random = [100 * score for score in results["random"][task]["scores"].values()]
        for method in results["config"]["methods"]:
            found = [100 * score for score in mean_scores(results, task, method)]
            row = [task, results["metrics"][task], NAMES[method], spread(found), f"{spread(random)} ({len(random)})"]
            if not found or len(random) < 2:
                rows.append([*row, NOTHING, NOTHING, NOTHING, str(len(found)), NOTHING])
                continue
            difference = statistics.mean(found) - statistics.mean(random)
            above = sum(score < statistics.mean(found) for score in random) / len(random)
            p = chance(p_above(found, random))
            names = [name for one in _found(results, task, method, "") for name in one["topologies"]]
            distinct = f"{len({*names})} of {len(names)}"
            rows.append([*row, f"{difference:+.1f}", p, f"{100 * above:.0f}", str(len(found)), distinct])
    return [
        "Topologies of equal MACs, in %. Score: over searches, the mean of "
        f"{results['config']['num_topologies']} derived topologies, by {_trainings(results)}; mean and "
        "deviation. Random: mean and deviation of topologies drawn with probability 1/2 a block (their number)"
        f"{_as_often(results)}. p: that searches are no better than these, by Welch's one-sided t test. Distinct: "
        "different topologies among those found; what several searches find is trained once.",
        "",
        *markdown_table(rows, numeric_from=3),
    ]


def mean_scores(results: Results, task: str, method: str, under: str = "") -> list[float]:
    """Return the mean score of what each search found, of those searches whose topologies have all been trained."""
    return [statistics.mean(row["scores"]) for row in _found(results, task, method, under) if _is_whole(row)]


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Whether all topologies of a search have been trained."""
    return bool(row["scores"]) and None not in row["scores"]


def _as_often(results: Results) -> str:
    return "" if results["repeats"] is None else ", trained as often"


def _trainings(results: Results) -> str:
    """Say which trainings judge a topology; no number where not all have as many."""
    if results["repeats"] is None:
        return "all trainings of each"
    return "one training each" if results["repeats"] == 1 else f"{results['repeats']} trainings each"


def named_table(results: Results) -> list[str]:
    """Return the scores of hand-made topologies and of what is derived under their MACs."""
    rows = [["Task", "Topology", "M MACs", "Score", "Derived: M MACs", "Score", "Difference", "Searches"]]
    for task in results["tasks"]:
        for name, entry in results["named"][task].items():
            found = [100 * score for score in mean_scores(results, task, "multitask", name)]
            judged = [row for row in _found(results, task, "multitask", name) if _is_whole(row)]
            macs = [value / 1e6 for row in judged for value in row["macs"]]
            own = None if entry["score"] is None else 100 * entry["score"]
            both = own is not None and found
            rows.append(
                [
                    task,
                    name,
                    f"{entry['macs'] / 1e6:.2f}",
                    NOTHING if own is None else f"{own:.1f}",
                    f"{statistics.mean(macs):.2f}" if macs else NOTHING,
                    spread(found),
                    f"{statistics.mean(found) - own:+.1f}" if both and own is not None else NOTHING,
                    str(len(found)),
                ]
            )
    return [
        "Hand-made topologies, and what a search derives under the MACs of each; in %, by "
        f"{_trainings(results)}, of derived ones the mean over searches.",
        "",
        *markdown_table(rows, numeric_from=2),
    ]


def rank_table(results: Results) -> list[str]:
    """Return the rank correlation of what the multitask supernet predicts with the trained score, by task."""
    rows = [["Task", "Predicted by", "All", "First", "Others", "Ceiling", "Searches"]]
    for task in results["tasks"]:
        ceiling = results["random"][task].get("tau_ceiling")
        for of, name in (("score", "score"), ("regression", "last look")):
            found = [row for row in results["ranks"] if row["task"] == task]
            parts = [[row[f"{of}_{part}"] for row in found] for part in ("all", "first", "others")]
            rows.append(
                [
                    task,
                    name,
                    *(spread([tau for tau in part if tau is not None], digits=2) for part in parts),
                    NOTHING if ceiling is None else f"{ceiling:.2f}",
                    str(len(found)),
                ]
            )
    return [
        "Kendall's tau of the multitask supernet's prediction with the trained score, over random topologies: of "
        "its scores of them on images that the search held out, and of its last look's regression. First: the part of "
        "them by which choices were made, others: the rest. Ceiling: of a perfect prediction, given how far trained "
        "scores can be trusted.",
        "",
        *markdown_table(rows, numeric_from=2),
    ]


def cost_table(results: Results) -> list[str]:
    """Return the cost of each search method for all tasks together."""
    rows = [["Search", "Searches a seed", "Forward passes", "Backward passes", "Seconds", "Seeds"]]
    for method in results["config"]["methods"]:
        number = 1 if method == "multitask" else len(results["tasks"])
        costs = search_costs(results, method)
        rows.append(
            [
                NAMES[method],
                str(number),
                *(_common([cost[key] for cost in costs]) for key in ("forward_passes", "backward_passes")),
                spread([cost["seconds"] for cost in costs]),
                str(len(costs)),
            ]
        )
    return [
        "The cost of searching for all tasks. A pass is one architecture on its share of the batch; an architecture of "
        "Alg. 1 computes every block of the supernet, one of Alg. 4 the selected ones. Seconds are those of the "
        f"iterations, of one thread, with up to {results['num_processes']} jobs running at a time.",
        "",
        *markdown_table(rows, numeric_from=1),
    ]


def search_costs(results: Results, method: str) -> list[dict[str, float]]:
    """Return what a method's searches cost together, for each seed in which all have finished."""
    keys = ("forward_passes", "backward_passes", "seconds")
    costs = []
    for seed in results["config"]["seeds"]:
        rows = [row for row in results["searches"] if row["seed"] == seed and row["method"] == method]
        if rows and all(row["seconds"] is not None for row in rows):
            costs.append({key: sum(row[key] for row in rows) for key in keys})
    return costs


def missing_jobs(results: Results) -> list[str]:
    """Return a line for each job that failed, and for what has not been done yet."""
    lines = [f"{name}: {error}" for name, error in results["failed"].items()]
    searches = [row for row in results["searches"] if row["seconds"] is None]
    untrained = {
        (row["task"], name)
        for row in results["found"]
        for name, score in zip(row["topologies"], row["scores"], strict=True)
        if score is None
    }
    unranked = len(results["config"]["seeds"]) * len(results["tasks"]) - len(results["ranks"])
    for count, what in (
        (len(searches), "searches have not finished"),
        (len(untrained), "derived topologies have not been trained with all seeds"),
        (unranked, "predictions have not been made"),
    ):
        if count:
            lines.append(f"{count} {what}")
    return lines


def _found(results: Results, task: str, method: str, under: str) -> list[dict[str, Any]]:
    return [
        row for row in results["found"] if row["task"] == task and row["method"] == method and row["under"] == under
    ]


def _common(values: Iterable[float]) -> str:
    """Return numbers of all seeds, which are the same unless the configuration changed between them."""
    distinct = sorted(set(values))
    return ", ".join(f"{value:,.0f}" for value in distinct) or NOTHING
