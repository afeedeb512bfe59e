"""The jobs of an ablation: which there are, in which order, and what must have ended before each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config, path_override
from fbnetv5.config.schema import RunConfig
from fbnetv5.projects.table5.found import best_in, worth_of
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.predict import Prediction, is_predicted, write_prediction
from fbnetv5.projects.table5.sample import Sampled
from fbnetv5.projects.table5.truth_plan import Key, Network, TruthPlan
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Call, Job, Outcomes, Run, finished
from fbnetv5.runs.study import find_config
from fbnetv5.tasks.build import build_tasks

EQUAL = ""  # in the place of a hand-made topology's name: the MACs that all drawn topologies have


@dataclass(frozen=True)
class Found:
    """What a search found for a task: under the MACs of a hand-made topology, or at the equal ones (``EQUAL``)."""

    seed: int
    method: str
    task: str
    under: str
    networks: tuple[Network, ...]


@dataclass
class Plan:
    """What an ablation in the folder ``root`` consists of. See :meth:`jobs`.

    ``truth`` is the table of truth, whose trainings judge.
    """

    config: AblationConfig
    root: Path
    truth: TruthPlan
    errors: dict[str, str] = field(default_factory=dict)  # by search and task, where nothing could be derived

    @functools.cached_property
    def search(self) -> RunConfig:
        """The multitask search of the first seed."""
        return load_config(find_config(self.config.search), self.search_overrides(self.config.seeds[0], None))

    @functools.cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are compared.

        Raises:
            InputError: search and table differ in their tasks, family or number of stages.
        """
        tasks = tuple(build_tasks(self.search.tasks))
        if set(tasks) != set(self.truth.tasks):
            raise InputError(f"the table has {', '.join(self.truth.tasks)}, the search {', '.join(tasks)}")
        families = {training.model.family for training in self.truth.trainings.values()}
        if families != {self.search.model.family} or self.truth.config.num_stages != self.search.model.num_stages:
            raise InputError("the table and the search differ in model.family or num_stages")
        return tasks

    def jobs(self, outcomes: Outcomes, known: Collection[Key]) -> Known:
        """Return the jobs that are known when some have ended: trainings once their topologies can be derived.

        What was found is trained before what the table of truth lacks beside it.

        Args:
            outcomes: of the jobs that have ended.
            known: what stands in the table already.
        """
        searches = [self.search_job(seed, of) for seed in self.config.seeds for of in self.searches]
        done, to_come = finished(outcomes), Counter[str]()
        predictions = [self.predict_job(seed, task) for seed in self.config.seeds for task in self.tasks]
        ready = [job for job in predictions if set(job.after) <= done]
        to_come["predict"] = len(predictions) - len(ready)
        found = [network for found in self.found(done) for network in found.networks]
        trainings: dict[str, Job] = {}
        for seed in self.truth.config.seeds:
            for network in found:
                if (network.task, network.name, seed) not in known:
                    job = self.truth.job(network, seed)
                    trainings.setdefault(job.name, job)
        missing = [job for job in self.truth.jobs(known) if job.name not in trainings]
        return Known([*searches, *ready, *trainings.values(), *missing], to_come)

    @property
    def searches(self) -> list[str | None]:
        """The searches of a seed, each by its only task; None is the multitask one."""
        single = self.tasks if "single-task" in self.config.methods else ()
        return [None, *single]

    def search_job(self, seed: int, task: str | None) -> Job:
        """Return the multitask search, or that of one task alone."""
        group = f"search-{'multitask' if task is None else f'single-{task}'}"
        folder = self.root / f"seed-{seed}" / group
        own = (path_override("output", folder), "resume=true")
        overrides = (*self.search_overrides(seed, task), *own)
        return Job(
            f"seed-{seed}/{group}", Run(find_config(self.config.search), overrides, run_job), folder, group=group
        )

    def predict_job(self, seed: int, task: str) -> Job:
        """Return the prediction of the topologies that the table draws for a task, by the multitask supernet."""
        search = self.search_job(seed, None)
        networks = self.truth.drawn[task]
        prediction = Prediction(
            config=find_config(self.config.search),
            overrides=self.search_overrides(seed, None),
            search=search.folder,
            task=task,
            topologies=tuple((one.name, self.truth.file(one)) for one in networks),
            num_images=self.config.num_images,
            result=self.prediction_file(seed, task),
        )
        work = Call(write_prediction, prediction, is_predicted)
        return Job(f"seed-{seed}/predict-{task}", work, self.root, (search.name,), "predict")

    def prediction_file(self, seed: int, task: str) -> Path:
        """Return where the predicted scores of a task's topologies stand."""
        return self.root / f"seed-{seed}" / f"predict-{task}.json"

    def found(self, done: Collection[str]) -> list[Found]:
        """Return what the searches that are ``done`` have found."""
        return [
            found
            for seed in self.config.seeds
            for of in self.searches
            if self.search_job(seed, of).name in done
            for task in ((of,) if of is not None else self.tasks)
            for found in self._derived(seed, of, task)
        ]

    def _derived(self, seed: int, of: str | None, task: str) -> list[Found]:
        """Return what one search found for one task; nothing, and an entry in ``errors``, where that fails."""
        job = self.search_job(seed, of)
        name = f"{job.name}: {task}"
        if name not in self._known:
            method = "multitask" if of is None else "single-task"
            try:
                self._known[name] = self._derive(seed, method, task, job.folder)
            except InputError as error:
                self._known[name], self.errors[name] = [], str(error)
        return self._known[name]

    def _derive(self, seed: int, method: str, task: str, folder: Path) -> list[Found]:
        worth, paths, window = worth_of(folder, task), self.truth.paths(task), self.truth.window(task)
        best = best_in(worth, paths, window, self.config.num_topologies, seed)
        found = [Found(seed, method, task, EQUAL, self._networks(task, best))]
        if method == "multitask":
            for named in self.truth.named[task]:
                below = replace(window, least=0, most=named.macs)
                found.append(
                    Found(seed, method, task, named.name, self._networks(task, best_in(worth, paths, below, 1, seed)))
                )
        return found

    def _networks(self, task: str, sampled: Sequence[Sampled]) -> tuple[Network, ...]:
        return tuple(Network(task, one.code, one.topology, one.macs) for one in sampled)

    @functools.cached_property
    def _known(self) -> dict[str, list[Found]]:
        return {}

    def search_overrides(self, seed: int, task: str | None) -> tuple[str, ...]:
        """Return the overrides of a search, without its folder."""
        given = [*self.config.search.overrides, *self.config.overrides, f"seed={seed}"]
        if task is None:
            return tuple(given)
        others = [f"tasks.{other}=null" for other in self.tasks if other != task]
        return (*given, *self.config.single_task, *others)
