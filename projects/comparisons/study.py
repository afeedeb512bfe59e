"""A comparison from its config to its table: every training with every seed, none of them twice."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.run_files import FINAL_METRICS
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.config.write import path_override
from fbnetv5.projects.comparisons.options import ComparisonConfig
from fbnetv5.projects.comparisons.table import COLUMNS, Row, line, markdown, parse
from fbnetv5.report.run_folder import logged_time
from fbnetv5.runs.graph import Known
from fbnetv5.runs.inputs import inputs
from fbnetv5.runs.job import Job, Outcomes, Run, errors, finished
from fbnetv5.runs.kept_table import read_table, write_table
from fbnetv5.runs.study import Study, find_config

LEFT_OUT = ("seed", "output", "name", "data.root", "label.", "export.", "search.")


class Comparison(Study):
    """A comparison in the folder that its config names, with a folder for each training and seed.

    The rows that its csv file holds are known, and not made again, on no machine.
    """

    results, table = "comparison.json", "comparison.md"

    def __init__(self, config: ComparisonConfig) -> None:
        super().__init__(Path(config.output).absolute())
        self.config = config
        self.file = Path(config.table).absolute()
        self.before = self._read()
        known = {row.key for row in self.before}
        self.unread: dict[str, str] = {}  # trainings whose metrics lack a column, and why
        self._jobs = [
            self.job(name, seed)
            for seed in config.seeds
            for name in config.chosen
            if any((name, seed, column) not in known for column in config.trainings[name].metrics)
        ]

    @functools.cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What the metrics of each training depend on, but for its seed and the place of its data, by name."""
        return {
            name: {
                key: value
                for key, value in inputs(self._config(name)).items()
                if not key.startswith(LEFT_OUT) and (key, value) != ("project", {})  # as of all trainings of the core
            }
            for name in self.config.trainings
        }

    def describe(self) -> str:
        """Say how many trainings there are, and how many of them are left."""
        total = len(self.config.chosen) * len(self.config.seeds)
        return f"{self.config.name}: {total} trainings, {len(self._jobs)} to do, into {self.file}"

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the trainings whose metrics were not all known at the start, seed by seed."""
        return Known(self._jobs)

    def job(self, name: str, seed: int) -> Job:
        """Return the training of a name with a seed."""
        entry, folder = self.config.trainings[name], self.root / name / f"seed-{seed}"
        own = (f"seed={seed}", path_override("output", folder), "resume=true")
        run = Run(find_config(entry), (*self.config.overrides, *entry.overrides, *own), run_job)
        return Job(f"{name}/seed-{seed}", run, folder, group=name)

    def rows(self, outcomes: Outcomes) -> list[Row]:
        """Return all rows that there are when some trainings have ended, as the config has them; others stay."""
        done, rows = finished(outcomes), {row.key: row for row in self.before}
        for seed in self.config.seeds:
            for name, entry in self.config.trainings.items():
                job = self.job(name, seed)
                if job.name in done:
                    metrics = read_json(job.folder / FINAL_METRICS).get("metrics", {})
                    _, seconds = logged_time(job.folder)
                    for column, metric in entry.metrics.items():
                        try:
                            row = Row(name, seed, column, _metric(metrics, metric, job.folder), seconds)
                        except InputError as error:  # a training of its own, which ends no other
                            self.unread[job.name] = str(error)
                        else:
                            rows[row.key] = row
        places = {name: place for place, name in enumerate(self.config.trainings)}
        return sorted(rows.values(), key=lambda row: (places.get(row.training, len(places)), row.training, row.seed))

    def gather(self, outcomes: Outcomes) -> dict[str, Any]:
        """Return the rows, and which trainings failed."""
        rows = [vars(row) for row in self.rows(outcomes)]
        return {"rows": rows, "failed": {**errors(outcomes), **self.unread}}

    def markdown(self, results: dict[str, Any]) -> str:
        """Return the page that the table stands on."""
        against = {name: entry.against for name, entry in self.config.trainings.items()}
        rows = [Row(**row) for row in results["rows"]]
        return markdown(self.config.name, rows, self.config.columns, against, results["failed"])

    def write(self, outcomes: Outcomes) -> None:
        """Write the table, and the page."""
        self.before = self._read()  # another comparison may have added to it
        super().write(outcomes)
        if rows := self.rows(outcomes):
            write_table(self.file, COLUMNS, [line(row) for row in rows], self.settings)

    def _read(self) -> list[Row]:
        return parse(self.file, read_table(self.file, COLUMNS, self.settings))

    def _config(self, name: str) -> Any:
        entry = self.config.trainings[name]
        return load_config(find_config(entry), (*self.config.overrides, *entry.overrides))


def _metric(metrics: Mapping[str, Any], name: str, folder: Path) -> float:
    try:
        return float(metrics[name])
    except (KeyError, TypeError, ValueError) as error:
        there = ", ".join(sorted(key for key, value in metrics.items() if isinstance(value, float)))
        raise InputError(f"{folder / FINAL_METRICS} has no '{name}', but {there or 'nothing'}") from error
