"""The numbers of Table 13, from the folders of its runs, and the table in Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.run_files import FINAL_METRICS
from fbnetv5.projects.fna.methods import read_result
from fbnetv5.projects.fna.table13_plan import ROWS, SEED_NETWORK, Table13Config, adapt_name, search_name
from fbnetv5.report.run_folder import logged_time
from fbnetv5.runs.job import Outcomes, errors, finished
from fbnetv5.runs.markdown import NOTHING, markdown_table, spread

COLUMNS = ("table", "row", "seed", "backbone_macs", "score", "search_seconds", "adapt_seconds")
NUMBERS = COLUMNS[4:]


def line_of(table: str, run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a run that has a score as a line of the csv file."""
    return (
        table,
        str(run["row"]),
        str(run["seed"]),
        str(run["backbone_macs"]),
        *(f"{run[name]:.5f}" for name in NUMBERS),
    )


def parse(line: Sequence[str]) -> dict[str, Any]:
    """Return a run from a line of the csv file. Raises InputError where it holds no numbers."""
    _, row, seed, macs, *numbers = line
    try:
        values = dict(zip(NUMBERS, map(float, numbers), strict=True))
        return {"row": int(row), "seed": int(seed), "backbone_macs": int(macs), **values}
    except ValueError as error:
        raise InputError(f"'{','.join(line)}' is no row of {', '.join(COLUMNS)}: {error}") from error


def gather(
    config: Table13Config, root: Path, outcomes: Outcomes, before: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return what ``table13.json`` holds.

    Args:
        config: of the table.
        root: folder of the table.
        outcomes: of the runs that have ended.
        before: runs that are known from elsewhere; they need no outcome.
    """
    done = finished(outcomes)
    unread: dict[str, str] = {}
    runs = {(run["row"], run["seed"]): dict(run) for run in before}
    for row, seed in itertools.product(config.rows, config.seeds):
        if (row, seed) not in runs:
            runs[row, seed] = _run(config, root, done, seed, row, unread)
    return {
        "name": config.name,
        "metric": config.adapt.metric,
        "seeds": list(config.seeds),
        "seed_network_seconds": _seconds(root / SEED_NETWORK) if SEED_NETWORK in done else None,
        "runs": [runs[place] for place in sorted(runs)],
        "failed": errors(outcomes) | unread,
    }


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page that ``table13.md`` holds: of each row mean ± standard deviation over seeds."""
    title = f"# Table 13 of FNA++: {results['name']}"
    scored = f"{results['metric']} (%)"
    rows = [["Row", "Method", "Backbone MACs (M)", scored, "- row 1's", "Search (s)", "Adaptation (s)", "Seeds"]]
    by_row: dict[int, list[Mapping[str, Any]]] = {}
    for run in results["runs"]:
        by_row.setdefault(run["row"], []).extend([run] if run["score"] is not None else [])
    first = {run["seed"]: run["score"] for run in by_row.get(1, [])}
    for row, runs in by_row.items():
        gains = [100 * (run["score"] - first[run["seed"]]) for run in runs if run["seed"] in first]
        rows.append(
            [
                f"({row})",
                ROWS[row].name,
                spread([run["backbone_macs"] / 1e6 for run in runs]),
                spread([100 * run["score"] for run in runs]),
                NOTHING if row == 1 else spread(gains, sign="+"),
                spread([run["search_seconds"] for run in runs], digits=0),
                spread([run["adapt_seconds"] for run in runs], digits=0),
                str(len(runs)),
            ]
        )
    table = markdown_table(rows, numeric_from=2)
    failed = [f"- {name}: {error}" for name, error in results["failed"].items()]
    missing = sum(run["score"] is None for run in results["runs"])
    end = f"{missing} of {len(results['runs'])} runs have no score yet." if missing else "Nothing is missing."
    note = "Mean ± standard deviation over seeds. Seconds are those of the iterations; rows share their searches."
    if results["seed_network_seconds"] is not None:
        note += f" The seed network was trained once, in {results['seed_network_seconds']:.0f} s."
    return "\n".join([title, "", note, "", *table, "", end, *failed]) + "\n"


def _run(
    config: Table13Config, root: Path, done: Collection[str], seed: int, row: int, unread: dict[str, str]
) -> dict[str, Any]:
    """Return the numbers of a row for a seed; null where its adaptation has not finished, or lacks the metric.

    ``unread`` takes what the metrics lack, by the name of the adaptation.
    """
    search, adapt = search_name(seed, ROWS[row].search), adapt_name(seed, row)
    run: dict[str, Any] = {"row": row, "seed": seed, "score": None}
    if adapt not in done:
        return run
    report = read_json(root / adapt / FINAL_METRICS)
    metrics = {name: value for name, value in report.get("metrics", {}).items() if "/" not in name}
    if config.adapt.metric not in metrics:
        unread[adapt] = f"adapt.metric={config.adapt.metric} is none of {', '.join(metrics)}"
        return run
    return run | {
        "score": metrics[config.adapt.metric],
        "metrics": metrics,
        "macs": report.get("model", {}).get("macs"),
        "params": report.get("model", {}).get("params"),
        **_searched(root / search),
        "search_seconds": _seconds(root / search),
        "adapt_seconds": _seconds(root / adapt),
    }


def _seconds(run: Path) -> float:
    """Return the seconds of a run's iterations, those before an interruption included."""
    return logged_time(run)[1]


def _searched(folder: Path) -> dict[str, Any]:
    info = read_result(folder).info
    return {"operations": info["operations"], "backbone_macs": info["backbone_macs"]}
