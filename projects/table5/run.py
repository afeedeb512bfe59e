"""An ablation from its plan to its table."""

from __future__ import annotations

from pathlib import Path

from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.plan import Plan
from fbnetv5.projects.table5.results import Results, gather
from fbnetv5.projects.table5.table import markdown
from fbnetv5.projects.table5.truth import truth_of
from fbnetv5.projects.table5.truth_table import Row
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Outcomes, finished
from fbnetv5.runs.study import Study, run_study

FOUND = "found.csv"  # what each search found, the best first; ``under`` names what has at least its MACs
COLUMNS = ("seed", "method", "task", "under", "place", "topology", "macs")


class Ablation(Study):
    """An ablation in the folder that its config names: a folder for each search, all numbers, a table.

    What is trained stands in the table of truth as well, and is not trained again.

    Args:
        config: of the ablation.
        num_processes: jobs at a time, which the table states.
    """

    results, table = "ablation.json", "ablation.md"

    def __init__(self, config: AblationConfig, num_processes: int) -> None:
        super().__init__(Path(config.output).absolute())
        self.truth = truth_of(config)
        self.plan = Plan(config, self.root, self.truth.plan)
        self._num_processes = num_processes

    def describe(self) -> str:
        """Say how many searches there are, and how many topologies are derived from them."""
        config, num_tasks = self.plan.config, len(self.plan.tasks)
        searches = len(config.seeds) * len(self.plan.searches)
        derived = config.num_topologies + len(self.truth.plan.config.named)
        topologies = searches * derived * num_tasks
        return (
            f"ablation of {', '.join(self.plan.tasks)}: {searches} searches, at most {topologies} topologies of them "
            f"to train, and {len(self.truth.jobs({}).jobs)} trainings that the table of truth lacks"
        )

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the jobs that are known when some have ended."""
        return self.plan.jobs(outcomes, {row.key for row in self.truth.before})

    def gather(self, outcomes: Outcomes) -> Results:
        """Return all numbers that there are when some jobs have ended."""
        return gather(self.plan, outcomes, self._rows(outcomes), self._num_processes)

    def markdown(self, results: Results) -> str:
        """Return the page that the table stands on."""
        return markdown(results)

    def write(self, outcomes: Outcomes) -> None:
        """Write all numbers that there are, the page, what was found, and the table of truth."""
        super().write(outcomes)
        self.truth.keep(self._rows(outcomes))
        lines = [
            (str(one.seed), one.method, one.task, one.under, str(place), network.name, str(network.macs))
            for one in self.plan.found(finished(outcomes))
            for place, network in enumerate(one.networks, start=1)
        ]
        write_text(self.root / FOUND, "".join(csv_lines([COLUMNS, *lines])))

    def _rows(self, outcomes: Outcomes) -> list[Row]:
        derived = [network for found in self.plan.found(finished(outcomes)) for network in found.networks]
        return self.truth.rows(outcomes, derived)


def run_ablation(config: AblationConfig, *, num_processes: int, resume: bool) -> bool:
    """Run what is not finished of an ablation; return whether nothing is missing at its end.

    Args:
        config: of the ablation.
        num_processes: jobs at a time, each in a process of one thread.
        resume: go on with an ablation that the folder holds.

    Raises:
        InputError: the configuration is wrong, or the folder holds an ablation and ``resume`` is not set.
    """
    return run_study(Ablation(config, num_processes), num_processes=num_processes, resume=resume)
