"""The tables of an ablation from the files that are kept of it, without its searches.

    python -m projects.table5.published                        of shapes, as the README has them

What searches found stands in ``found_shapes.csv``, what trainings came to in the table of truth. Not all topologies
have as many trainings, and a seed shifts the scores of all alike, so scores are fitted: score = topology + seed.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.cli.arguments import parser_of
from fbnetv5.projects.table5.results import Results
from fbnetv5.projects.table5.run import COLUMNS
from fbnetv5.projects.table5.table import equal_table, named_table
from fbnetv5.projects.table5.truth import CONFIG, Truth
from fbnetv5.projects.table5.truth_options import load_truth
from fbnetv5.projects.table5.truth_table import Judged, Row, judged, report, training_deviation
from fbnetv5.runs.markdown import NOTHING, markdown_table

FOUND = Path(__file__).parent / "found_shapes.csv"


def gather(truth: Truth, found: Sequence[Mapping[str, str]]) -> Results:
    """Return the numbers of the ablation's first two tables, as its ``ablation.json`` has them.

    Args:
        truth: the table of truth, with its rows.
        found: the rows of ``found.csv``.

    Raises:
        InputError: a topology that was found has no training.
    """
    if not found:
        raise InputError("nothing was found yet: the file of what searches found has no rows")
    plan, rows = truth.plan, truth.before
    scores = {task: judged(rows, task) for task in plan.tasks}
    searches: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in found:
        searches.setdefault((row["seed"], row["method"], row["task"], row["under"]), []).append(row)
    for row in found:
        if row["topology"] not in scores[row["task"]]:
            raise InputError(f"{row['task']}/{row['topology']} was found, but {truth.file} has no training of it")
    return {
        "config": {
            "methods": list(dict.fromkeys(row["method"] for row in found)),
            "num_topologies": max(int(row["place"]) for row in found),
        },
        "tasks": list(plan.tasks),
        "metrics": {task: plan.config.train[task].metric for task in plan.tasks},
        "repeats": None,
        "random": {
            task: {"scores": {one.name: scores[task][one.name].score for one in networks if one.name in scores[task]}}
            for task, networks in plan.drawn.items()
        },
        "named": {
            task: {one.name: {"macs": one.macs, "score": _score(scores[task].get(one.name))} for one in networks}
            for task, networks in plan.named.items()
        },
        "found": [
            {
                "seed": int(seed),
                "method": method,
                "task": task,
                "under": under,
                "topologies": [row["topology"] for row in own],
                "macs": [int(row["macs"]) for row in own],
                "scores": [scores[task][row["topology"]].score for row in own],
            }
            for (seed, method, task, under), own in searches.items()
        ],
        "trainings": {task: {name: one.trainings for name, one in scores[task].items()} for task in plan.tasks},
    }


def markdown(truth: Truth, results: Results) -> str:
    """Return the page: what was found beside random and hand-made topologies, and how far scores can be trusted."""
    plan = truth.plan
    drawn = {task: [one.name for one in plan.drawn[task]] for task in plan.tasks}
    lines = [
        *equal_table(results),
        "",
        *named_table(results),
        "",
        "Trainings a topology, least to most and mean; and how far one deviates, in points, beside topology and seed.",
        "",
        *_trainings(results, drawn, plan.config.named, truth.before),
        "",
        *report(truth.before, drawn, plan.config.named, plan.config.seeds),
    ]
    return "\n".join(lines) + "\n"


def read_found(file: Path) -> list[dict[str, str]]:
    """Return the rows of a ``found.csv``.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return [{column: row[column] for column in COLUMNS} for row in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} is no table of {', '.join(COLUMNS)}: {error}") from error


def _trainings(
    results: Results, drawn: Mapping[str, Sequence[str]], named: Sequence[str], trained: Sequence[Row]
) -> list[str]:
    rows = [["Task", "Found", "Random", "Hand-made", "Deviation"]]
    for task, counts in results["trainings"].items():
        found = {name for row in results["found"] if row["task"] == task for name in row["topologies"]}
        cells = []
        for names in (found, drawn[task], named):
            own = [counts[name] for name in names if name in counts]
            cells.append(f"{min(own)} to {max(own)}, {statistics.mean(own):.1f}" if own else NOTHING)
        deviation = training_deviation(trained, task)
        rows.append([task, *cells, NOTHING if deviation is None else f"{100 * deviation:.2f}"])
    return markdown_table(rows, numeric_from=1)


def _score(one: Judged | None) -> float | None:
    return None if one is None else one.score


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault."""
    parser = parser_of(__doc__, "python -m projects.table5.published")
    parser.add_argument("--truth", type=Path, default=CONFIG, metavar="FILE", help="config of the table of truth")
    parser.add_argument("--found", type=Path, default=FOUND, metavar="FILE", help="what searches found")
    options = parser.parse_args(arguments)
    truth = Truth(load_truth(options.truth, {}))
    print(markdown(truth, gather(truth, read_found(options.found))), end="")


if __name__ == "__main__":
    main()
