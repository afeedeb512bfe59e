"""The table of an ablation, in the layout of FBNetV5's Table 5, and how well the supernet ranks topologies."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from scipy.stats import kendalltau, spearmanr

from fbnetv5.projects.table5.plan import METHODS
from fbnetv5.runs.markdown import NOTHING, markdown_table, spread

Results = dict[str, Any]
NAMES = {"random": "Random", "single-task": "Single task (Alg. 1)", "multitask": "Multitask (Alg. 4)"}


def markdown(results: Results) -> str:
    """Return the page that ``ablation.md`` holds, from what ``ablation.json`` holds."""
    seeds, count = results["config"]["seeds"], results["config"]["num_topologies"]
    missing = missing_jobs(results)
    lines = [
        f"# Ablation {results['name']}",
        "",
        f"{len(seeds)} seed(s); {count} topologies a seed, method and task, each trained alike. Mean ± standard "
        "deviation over seeds, in %. Backbones as the head sees them have "
        f"{results['least_macs'] / 1e6:.2f} to {results['most_macs'] / 1e6:.2f} M MACs.",
        "",
        *score_table(results),
        "",
        *cost_table(results),
        "",
        *correlation_table(results),
        "",
        "Missing or failed:" if missing else "Nothing is missing.",
        *(f"- {line}" for line in missing),
    ]
    return "\n".join(lines) + "\n"


def score_table(results: Results) -> list[str]:
    """Return the scores of each task and method: the best and the mean of a seed's topologies."""
    rows = [["Task", "Search", "Backbone MACs", "Metric", "Best", "Mean", "Mean - random's", "Seeds"]]
    for task in results["tasks"]:
        random = mean_scores(results, task, "random")
        for method in METHODS:
            scores = seed_scores(results, task, method)
            means = mean_scores(results, task, method)
            gains = [means[seed] - random[seed] for seed in means if seed in random]
            macs = [row["backbone_macs"] for row in _sampled(results, task, method)]
            rows.append(
                [
                    task,
                    NAMES[method],
                    f"{statistics.mean(macs) / 1e6:.2f} M" if macs else NOTHING,
                    results["metrics"][task],
                    spread([100 * max(values) for values in scores.values()]),
                    spread([100 * mean for mean in means.values()]),
                    NOTHING if method == "random" else spread([100 * gain for gain in gains], sign="+"),
                    str(len(scores)),
                ]
            )
    return markdown_table(rows, numeric_from=4)


def cost_table(results: Results) -> list[str]:
    """Return the cost of each search method for all tasks together."""
    rows = [["Search", "Searches a seed", "Forward passes", "Backward passes", "Seconds", "Seeds"]]
    rows.append([NAMES["random"], "0", "0", "0", "0", NOTHING])
    for method in METHODS[1:]:
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


def correlation_table(results: Results) -> list[str]:
    """Return the rank correlation of what the multitask supernet predicts with the trained score, by task."""
    rows = [["Task", "Kendall's tau", "Spearman's rho", "Topologies a seed", "Seeds"]]
    for task in results["tasks"]:
        found = rank_correlations(results, task)
        counts = [str(one["count"]) for one in found]
        rows.append(
            [
                task,
                spread([one["tau"] for one in found], digits=2),
                spread([one["rho"] for one in found], digits=2),
                ", ".join(counts) or NOTHING,
                str(len(found)),
            ]
        )
    return [
        "Rank correlation of the multitask supernet's prediction (its search head's loss with BN recalibrated for the "
        "topology, sign flipped) with the trained score, over all distinct topologies of a seed.",
        "",
        *markdown_table(rows, numeric_from=1),
    ]


def rank_correlations(results: Results, task: str) -> list[dict[str, Any]]:
    """Return Kendall's tau and Spearman's rho of each seed that has three topologies with both numbers that differ."""
    found = []
    for seed in results["config"]["seeds"]:
        rows = [row for row in results["topologies"] if row["seed"] == seed and row["task"] == task]
        pairs = [
            (-row["predicted_loss"], row["score"])
            for row in rows
            if row["predicted_loss"] is not None and row["score"] is not None
        ]
        if len(pairs) < 3:
            continue
        predicted, trained = zip(*pairs, strict=True)
        if len(set(predicted)) > 1 and len(set(trained)) > 1:  # the correlation with a constant is not defined
            tau, rho = kendalltau(predicted, trained).statistic, spearmanr(predicted, trained).statistic
            found.append({"seed": seed, "tau": float(tau), "rho": float(rho), "count": len(pairs)})
    return found


def seed_scores(results: Results, task: str, method: str) -> dict[int, list[float]]:
    """Return the scores of the topologies that a method sampled, by seed, where all have been trained."""
    scores: dict[int, list[float]] = {}
    for seed in results["config"]["seeds"]:
        values = [row["score"] for row in _sampled(results, task, method) if row["seed"] == seed]
        if values and None not in values:
            scores[seed] = values
    return scores


def mean_scores(results: Results, task: str, method: str) -> dict[int, float]:
    """Return the mean score of the topologies that a method sampled, by seed."""
    return {seed: statistics.mean(values) for seed, values in seed_scores(results, task, method).items()}


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
    untrained = [row for row in results["topologies"] if row["score"] is None]
    unpredicted = [row for row in results["topologies"] if row["predicted_loss"] is None]
    few = [
        f"{method}-{task} of seed {seed}"
        for seed in results["config"]["seeds"]
        for method in METHODS
        for task in results["tasks"]
        if sum(row["seed"] == seed for row in _sampled(results, task, method)) < results["config"]["num_topologies"]
    ]
    for rows, what in (
        (searches, "searches have not finished"),
        (few, "samples have fewer topologies than asked for"),
        (untrained, "sampled topologies have no trained score"),
        (unpredicted, "have no predicted one"),
    ):
        if rows:
            named = f": {', '.join(few)}" if rows is few and len(few) <= 6 else ""
            lines.append(f"{len(rows)} {what}{named}")
    return lines


def _sampled(results: Results, task: str, method: str) -> list[dict[str, Any]]:
    return [row for row in results["topologies"] if row["task"] == task and method in row["methods"]]


def _common(values: Iterable[float]) -> str:
    """Return numbers of all seeds, which are the same unless the configuration changed between them."""
    distinct = sorted(set(values))
    return NOTHING if not distinct else " to ".join(f"{value:,.0f}" for value in dict.fromkeys(distinct))
