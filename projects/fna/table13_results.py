"""The numbers of Table 13, from the folders of its runs, and the table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.engine.log import METRICS as LOGGED
from fbnetv5.jobs.evaluate import METRICS
from fbnetv5.projects.fna.methods import read_result
from fbnetv5.projects.fna.table13_plan import ROWS, SEED_NETWORK, Part, Table13Config, adapt_name, search_name
from fbnetv5.projects.table5.results import logged_time
from fbnetv5.projects.table5.table import NOTHING, spread
from fbnetv5.projects.table5.work import read_json


def gather(config: Table13Config, parts: Mapping[str, Part], errors: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``table13.json`` holds.

    Args:
        config: of the table.
        parts: all, by name.
        errors: of those that have ended; empty for those that finished.
    """
    return {
        "name": config.name,
        "metric": config.adapt.metric,
        "seeds": list(config.seeds),
        "seed_network_seconds": _seconds(parts[SEED_NETWORK]) if errors.get(SEED_NETWORK) == "" else None,
        "runs": [_run(config, parts, errors, seed, row) for row in config.rows for seed in config.seeds],
        "failed": {name: error for name, error in errors.items() if error},
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
    rule = ["---", "---", *["---:"] * (len(rows[0]) - 2)]
    table = [f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:])]
    failed = [f"- {name}: {error}" for name, error in results["failed"].items()]
    missing = sum(run["score"] is None for run in results["runs"])
    end = f"{missing} of {len(results['runs'])} runs have no score yet." if missing else "Nothing is missing."
    note = "Mean ± standard deviation over seeds. Seconds are those of the iterations; rows share their searches."
    if results["seed_network_seconds"] is not None:
        note += f" The seed network was trained once, in {results['seed_network_seconds']:.0f} s."
    return "\n".join([title, "", note, "", *table, "", end, *failed]) + "\n"


def _run(
    config: Table13Config, parts: Mapping[str, Part], errors: Mapping[str, str], seed: int, row: int
) -> dict[str, Any]:
    """Return the numbers of a row for a seed; null where its adaptation has not finished."""
    search, adapt = parts[search_name(seed, ROWS[row].search)], parts[adapt_name(seed, row)]
    run: dict[str, Any] = {"row": row, "seed": seed, "score": None}
    if errors.get(adapt.name, "not ended"):
        return run
    report = read_json(adapt.folder / METRICS)
    metrics = {name: value for name, value in report.get("metrics", {}).items() if "/" not in name}
    if config.adapt.metric not in metrics:
        raise InputError(f"adapt.metric={config.adapt.metric} is none of {', '.join(metrics)}, those of {adapt.folder}")
    return run | {
        "score": metrics[config.adapt.metric],
        "metrics": metrics,
        "macs": report.get("model", {}).get("macs"),
        "params": report.get("model", {}).get("params"),
        **_searched(search.folder),
        "search_seconds": _seconds(search),
        "adapt_seconds": _seconds(adapt),
    }


def _seconds(part: Part) -> float:
    """Return the seconds of a run's iterations, those before an interruption included."""
    return logged_time(part.folder / LOGGED)[1]


def _searched(folder: Path) -> dict[str, Any]:
    info = read_result(folder).info
    return {"operations": info["operations"], "backbone_macs": info["backbone_macs"]}
