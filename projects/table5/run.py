"""An ablation from its plan to its table."""

from __future__ import annotations

from pathlib import Path

from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.plan import METHODS, Plan
from fbnetv5.projects.table5.results import Results, gather
from fbnetv5.projects.table5.table import markdown
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Outcomes
from fbnetv5.runs.study import Study, run_study


class Ablation(Study):
    """An ablation in the folder that its config names: a folder for each search and training, all numbers, a table.

    Args:
        config: of the ablation.
        num_processes: jobs at a time, which the table states.
    """

    results, table = "ablation.json", "ablation.md"

    def __init__(self, config: AblationConfig, num_processes: int) -> None:
        super().__init__(Path(config.output).absolute())
        self.plan = Plan(config, self.root)
        self._num_processes = num_processes

    def describe(self) -> str:
        """Say how many searches there are, and how many trainings if no topology is sampled twice."""
        config, window, num_tasks = self.plan.config, self.plan.window, len(self.plan.tasks)
        seeds = len(config.seeds)
        return (
            f"ablation of {', '.join(self.plan.tasks)}: {seeds * (1 + num_tasks)} searches and at most "
            f"{seeds * len(METHODS) * num_tasks * config.num_topologies} trainings of "
            f"{window.least / 1e6:.2f} to {window.most / 1e6:.2f} M MACs"
        )

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the jobs that are known when some have ended."""
        return self.plan.jobs(outcomes)

    def gather(self, outcomes: Outcomes) -> Results:
        """Return all numbers that there are when some jobs have ended."""
        return gather(self.plan, outcomes, self._num_processes)

    def markdown(self, results: Results) -> str:
        """Return the page that the table stands on."""
        return markdown(results)


def run_ablation(config: AblationConfig, *, num_processes: int, resume: bool) -> bool:
    """Run what is not finished of an ablation; return whether nothing is missing at its end.

    Args:
        config: of the ablation.
        num_processes: jobs at a time, each in a process of one thread.
        resume: go on with an ablation that the folder holds.

    Raises:
        InputError: the configuration is wrong, or the folder holds an ablation and ``resume`` is not set.
    """
    study = Ablation(config, num_processes)
    return run_study(study, num_processes=num_processes, resume=resume) and not study.plan.errors
