"""What makes a supernet rank topologies as their trainings do? Searches that differ in one thing, and their taus.

    python -m projects.table5.ranks                            hours on two cores; ends early without loss
    python -m projects.table5.ranks --variants base uniform --seeds 0 1 2

Every supernet says of every topology of the table of truth how good it is. That stands in a csv file, and a supernet
that stands there is not trained again; the taus are worked out anew from it and the table of truth.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import add_study_arguments, parser_of
from fbnetv5.config.option import option
from fbnetv5.config.read import load_config
from fbnetv5.projects.table5.agreement import PREDICTORS, Guess, guesses, rank_row, taus_between
from fbnetv5.projects.table5.options import load_ablation
from fbnetv5.projects.table5.plan import Plan
from fbnetv5.projects.table5.ranks_table import Said, markdown, read_said, write_said
from fbnetv5.projects.table5.truth import truth_of
from fbnetv5.projects.table5.truth_table import judged
from fbnetv5.runs.graph import Known
from fbnetv5.runs.inputs import inputs
from fbnetv5.runs.job import Job, Outcomes, errors, finished
from fbnetv5.runs.machine import study_jobs
from fbnetv5.runs.study import (
    RunEntry,
    Study,
    check_seeds,
    chosen,
    find_config,
    load_study,
    run_study,
)

CONFIG = Path(__file__).parent / "configs" / "ranks.yaml"


@dataclass
class RanksConfig:
    """Searches whose supernets are compared."""

    name: str = option(MISSING, "name of the study")
    output: str = option("runs/${name}", "its folder, from the working directory")
    ablation: str = option(MISSING, "config of the ablation whose search and table of truth are taken")
    table: str = option(MISSING, "the csv file of what the supernets say, from the working directory")
    seeds: list[int] = option(lambda: [0], "seeds of the searches")
    variants: dict[str, list[str]] = option(dict, "by name: key=value that a variant changes in the search")


class Ranks(Study):
    """Variants of a search, each with some seeds, and what their supernets say of the table's topologies."""

    results, table = "ranks.json", "ranks.md"

    def __init__(self, config: RanksConfig) -> None:
        super().__init__(Path(config.output).absolute())
        self.config = config
        self.file = Path(config.table).absolute()
        ablation = load_ablation(find_config(RunEntry(config.ablation)), {"seeds": list(config.seeds)})
        self.truth = truth_of(ablation)
        self.plans = {
            name: Plan(replace(ablation, overrides=[*ablation.overrides, *changes]), self.root / name, self.truth.plan)
            for name, changes in config.variants.items()
        }
        self.before = read_said(self.file, self.settings)
        self._known = {one.supernet for one in self.before}

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The config of each variant's search, without its seed."""
        return {
            name: {key: value for key, value in inputs(self._search(plan)).items() if key != "seed"}
            for name, plan in self.plans.items()
        }

    def describe(self) -> str:
        """Say how many searches there are, and how many are left."""
        left = sum(job.group.startswith("search") for job in self.jobs({}).jobs)
        return (
            f"{len(self.plans)} variants with {len(self.config.seeds)} seeds, {left} searches to do, into {self.file}"
        )

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the searches and predictions that are not in the table yet."""
        jobs: list[Job] = []
        for seed in self.config.seeds:
            for name, plan in self.plans.items():
                if (name, seed) not in self._known:
                    own = [plan.search_job(seed, None), *(plan.predict_job(seed, task) for task in plan.tasks)]
                    jobs += [_named(job, name) for job in own]
        return Known(jobs)

    def rows(self, outcomes: Outcomes) -> list[Said]:
        """Return the rows of the table when some jobs have ended, supernets that are not whole left out."""
        done, rows = finished(outcomes), {one.key: one for one in self.before}
        for name, plan in self.plans.items():
            for seed in self.config.seeds:
                if not {f"{name}/{plan.predict_job(seed, task).name}" for task in plan.tasks} <= done:
                    continue
                for task in plan.tasks:
                    for topology, guess in guesses(plan, seed, task).items():
                        said = Said(name, seed, task, topology, *guess)
                        rows.setdefault(said.key, said)
        return list(rows.values())

    def gather(self, outcomes: Outcomes) -> dict[str, Any]:
        """Return the taus of all supernets, and what failed."""
        rows = self.rows(outcomes)
        taus = []
        for name, seed in dict.fromkeys(one.supernet for one in rows):
            plan = next(iter(self.plans.values()))  # all share the table of truth
            for task in plan.tasks:
                own = [one for one in rows if one.supernet == (name, seed) and one.task == task]
                said = {one.topology: Guess(one.score, one.regression) for one in own}
                scores = {topology: [one.score] for topology, one in judged(self.truth.before, task).items()}
                taus.append({"variant": name, "seed": seed, "task": task, **rank_row(plan, task, said, scores)})
        between = self._between(rows)
        return {"taus": taus, "predictors": list(PREDICTORS), "between": between, "failed": errors(outcomes)}

    def markdown(self, results: dict[str, Any]) -> str:
        """Return the page that the taus stand on."""
        return markdown(self.config.name, results)

    def write(self, outcomes: Outcomes) -> None:
        """Write the table, and the taus."""
        self.before = read_said(self.file, self.settings)  # another comparison may have added to it
        super().write(outcomes)
        if rows := self.rows(outcomes):
            write_said(self.file, rows, self.settings)

    def _between(self, rows: Sequence[Said]) -> dict[str, dict[str, list[float]]]:
        """Return the taus of two trainings, and of two supernets of each variant, by task."""
        plan = self.truth.plan
        judges: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
        for task in plan.tasks:
            drawn = {one.name for one in plan.drawn[task]}
            for row in self.truth.before:
                if row.task == task and row.topology in drawn:
                    own = judges.setdefault("trainings", {}).setdefault(task, {})
                    own.setdefault(row.seed, {})[row.topology] = row.score
        for one in rows:
            own = judges.setdefault(f"supernets ({one.variant})", {}).setdefault(one.task, {})
            own.setdefault(one.seed, {})[one.topology] = one.score
        return {
            kind: {task: taus_between(by_task.get(task, {}).values()) for task in plan.tasks}
            for kind, by_task in judges.items()
        }

    def _search(self, plan: Plan) -> Any:
        seed = self.config.seeds[0]
        return load_config(find_config(plan.config.search), plan.search_overrides(seed, None))


def load_ranks(file: Path, changes: dict[str, Any], variants: Sequence[str] | None = None) -> RanksConfig:
    """Read the config file of a comparison of supernets.

    Args:
        file: YAML.
        changes: what to set in it, by key; None changes nothing.
        variants: names of those to keep; all if None.

    Raises:
        InputError: the file cannot be read, or a key or a value is wrong.
    """
    config = load_study(file, RanksConfig, changes)
    check_seeds(config.seeds)
    config.variants = chosen(config.variants, variants, "variants")
    return config


def _named(job: Job, variant: str) -> Job:
    """Return the job under a name that has its variant in it."""
    return replace(job, name=f"{variant}/{job.name}", after=tuple(f"{variant}/{name}" for name in job.after))


@one_line_errors("the same command goes on with what is not in the table")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a job failed."""
    options = _parser().parse_intermixed_args(arguments)
    changes = {"output": options.output, "table": options.table, "seeds": options.seeds}
    study = Ranks(load_ranks(options.config, changes, options.variants))
    if not run_study(study, num_processes=study_jobs(options.processes), resume=True):
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.table5.ranks")
    parser.add_argument("--config", type=Path, default=CONFIG, help="config of the comparison; configs/ranks.yaml")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="those alone")
    add_study_arguments(parser)
    return parser


if __name__ == "__main__":
    main()
