"""Make or extend a table of truth: how well networks do when they are trained to the end.

    python -m projects.table5.truth                              hours on two cores; ends early without loss
    python -m projects.table5.truth --add det/0f3a seg/1c07      what these topologies reach, in the same table

For each task, topologies of equal MACs are drawn uniformly, and each is trained with several seeds, as are hand-made
ones at their own MACs. The csv file is rewritten whenever a training has ended, and what stands in it is not trained
again. projects/table5/README.md says how it is made and what it is for.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import add_study_arguments, parser_of
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.score import Scored
from fbnetv5.projects.table5.truth_options import TruthConfig, load_truth
from fbnetv5.projects.table5.truth_plan import Network, TruthPlan
from fbnetv5.projects.table5.truth_table import Row, read_rows, report, write_rows
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Call, Outcomes, errors, finished
from fbnetv5.runs.machine import study_jobs
from fbnetv5.runs.study import Study, find_config, run_study

CONFIG = Path(__file__).parent / "configs" / "truth.yaml"


class Truth(Study):
    """A table of truth: the csv file that its config names, and a folder with the report and what is not kept."""

    results, table = "truth.json", "truth.md"

    def __init__(self, config: TruthConfig) -> None:
        super().__init__(Path(config.output).absolute())
        self.plan = TruthPlan(config, self.root)
        self.file = Path(config.table).absolute()
        self.before = read_rows(self.file, self.plan.settings)
        self._jobs = self.plan.jobs({row.key for row in self.before})

    def describe(self) -> str:
        """Say how many trainings there are, and how many of them are left."""
        config, tasks = self.plan.config, self.plan.tasks
        total = sum(len(self.plan.networks(task)) for task in tasks) * len(config.seeds)
        return f"truth of {', '.join(tasks)}: {total} rows, {len(self._jobs)} trainings to do, into {self.file}"

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the trainings that are not in the table yet."""
        return Known(self._jobs)

    def rows(self, outcomes: Outcomes, others: Sequence[Network] = ()) -> list[Row]:
        """Return the rows of the table when some trainings have ended; those of other topologies stay.

        Args:
            outcomes: of the jobs that have ended.
            others: networks beside those of the table, some of which may have been trained.
        """
        rows = {row.key: row for row in self.before}
        scores = self._scores(outcomes)
        for task in self.plan.tasks:
            for network in (*self.plan.networks(task), *(one for one in others if one.task == task)):
                for seed in self.plan.config.seeds:
                    score = scores.get(self.plan.job_name(network, seed))
                    if score is not None:
                        row = Row(task, network.name, network.macs, seed, score)
                        rows.setdefault(row.key, row)
        return self._sorted(list(rows.values()))

    def gather(self, outcomes: Outcomes) -> dict[str, Any]:
        """Return the rows, and which trainings failed."""
        return {"rows": [vars(row) for row in self.rows(outcomes)], "failed": errors(outcomes)}

    def markdown(self, results: dict[str, Any]) -> str:
        """Return the reliability of the scores, and those of the hand-made topologies."""
        config = self.plan.config
        rows = [Row(**row) for row in results["rows"]]
        failed = [f"- {name}: {error}" for name, error in results["failed"].items()]
        missing = ["", "Failed:", *failed] if failed else []
        drawn = {task: {one.name for one in self.plan.drawn[task]} for task in self.plan.tasks}
        return "\n".join([f"# {config.name}", "", *report(rows, drawn, config.named, config.seeds), *missing]) + "\n"

    def write(self, outcomes: Outcomes) -> None:
        """Write the table, and the report."""
        super().write(outcomes)
        self.keep(self.rows(outcomes))

    def keep(self, rows: list[Row]) -> None:
        """Write the table, if there is anything in it, with what another command has added to it since."""
        known = {row.key for row in rows}
        self.before = read_rows(self.file, self.plan.settings)
        rows = self._sorted([*rows, *(row for row in self.before if row.key not in known)])
        if rows:
            write_rows(self.file, rows, self.plan.settings)

    def _scores(self, outcomes: Outcomes) -> dict[str, float]:
        """Return the scores of the trainings that have finished, by job."""
        scores = {}
        for name in finished(outcomes):
            work, task = outcomes[name].job.work, outcomes[name].job.group
            if isinstance(work, Call) and isinstance(work.data, Scored):
                scores[name] = float(read_json(work.data.result)["metrics"][self.plan.config.train[task].metric])
        return scores

    def _sorted(self, rows: list[Row]) -> list[Row]:
        """Sort rows as the plan has tasks and networks, other topologies last."""
        order = {
            (task, network.name): position
            for task in self.plan.tasks
            for position, network in enumerate(self.plan.networks(task))
        }
        tasks = {task: position for position, task in enumerate(self.plan.tasks)}
        last = len(order)
        return sorted(
            rows,
            key=lambda row: (
                tasks.get(row.task, len(tasks)),
                row.task,
                order.get((row.task, row.topology), last),
                row.topology,
                row.seed,
            ),
        )


def truth_of(ablation: AblationConfig) -> Truth:
    """Return the table of truth of an ablation, in its folder; what changes all of its trainings changes these too."""
    entry, folder = ablation.truth, Path(ablation.output).absolute()
    config = load_truth(find_config(entry), {"output": str(folder / "truth")}, entry.overrides)
    config.overrides += ablation.overrides
    config.seeds = config.seeds[: ablation.repeats]
    return Truth(config)


@one_line_errors("the same command goes on with what is not in the table")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a training failed."""
    options = _parser().parse_intermixed_args(arguments)
    changes = {"output": options.output, "table": options.table, "seeds": options.seeds, "added": options.add}
    study = Truth(load_truth(options.config, changes, options.overrides))
    if not run_study(study, num_processes=study_jobs(options.processes), resume=True):
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.table5.truth")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every training")
    parser.add_argument("--config", type=Path, default=CONFIG, help="config of the table; configs/truth.yaml explains")
    parser.add_argument("--add", nargs="+", metavar="TASK/CODE", help="train these topologies as well")
    add_study_arguments(parser)
    return parser


if __name__ == "__main__":
    main()
