"""The jobs of an ablation: which there are, in which order, and what must have ended before each."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import path_override
from fbnetv5.projects.table5.found import best_in, worth_of
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.predict import Prediction, is_predicted, write_prediction
from fbnetv5.projects.table5.sample import Sampled
from fbnetv5.projects.table5.truth_plan import Key, Network, TruthPlan
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Call, Job, Outcomes, Run, finished
from fbnetv5.runs.study import find_config
from fbnetv5.search.regression import Worth
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


def in_turn(found: Sequence[Found]) -> list[Network]:
    """Return the networks that searches found: at equal MACs first, the best of each before any second best."""
    networks = []
    for equal in (True, False):
        own = [one.networks for one in found if (one.under == EQUAL) == equal]
        networks += [one for place in itertools.zip_longest(*own) for one in place if one is not None]
    return networks


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

        What was found is trained before what the table of truth lacks beside it: at equal MACs first, the best of each
        search before any second best.

        Args:
            outcomes: of the jobs that have ended.
            known: what stands in the table already.
        """
        searches = [self.search_job(seed, of) for seed in self.config.seeds for of in self.searches]
        done, to_come = finished(outcomes), Counter[str]()
        predictions = [self.predict_job(seed, task) for seed in self.config.seeds for task in self.tasks]
        ready = [job for job in predictions if set(job.after) <= done]
        shortlists = [self.shortlist_job(*which) for which in self.derivations if self._can_shortlist(*which, done)]
        to_come["predict"] = len(predictions) - len(ready)
        to_come["shortlist"] = len(self.derivations) - len(shortlists) - len(self.errors)
        found = in_turn(self.found(done))
        trainings: dict[str, Job] = {}
        for seed in self.truth.config.seeds:
            for network in found:
                if (network.task, network.name, seed) not in known:
                    job = self.truth.job(network, seed)
                    trainings.setdefault(job.name, job)
        trainings |= {job.name: job for job in self.truth.jobs(known) if job.name not in trainings}
        started = [replace(job, after=self._starts) for job in trainings.values()]
        return Known([*searches, *ready, *shortlists, *started], to_come)

    @functools.cached_property
    def _starts(self) -> tuple[str, ...]:
        """The searches whose supernets trainings start from, which must have finished before any."""
        weights = [Path(one.model.weights).absolute() for one in self.truth.trainings.values() if one.model.weights]
        searches = [self.search_job(seed, of) for seed in self.config.seeds for of in self.searches]
        return tuple(one.name for one in searches if any(file.is_relative_to(one.folder) for file in weights))

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
            result=self.prediction_file(seed, task),
        )
        work = Call(write_prediction, prediction, is_predicted)
        return Job(f"seed-{seed}/predict-{task}", work, self.root, (search.name,), "predict")

    def prediction_file(self, seed: int, task: str) -> Path:
        """Return where the predicted scores of a task's topologies stand."""
        return self.root / f"seed-{seed}" / f"predict-{task}.json"

    @property
    def derivations(self) -> list[tuple[int, str | None, str]]:
        """Seed, search and task of all that is derived."""
        return [
            (seed, of, task)
            for seed in self.config.seeds
            for of in self.searches
            for task in ((of,) if of is not None else self.tasks)
        ]

    def shortlist_job(self, seed: int, of: str | None, task: str) -> Job:
        """Return the scoring, by a search's supernet on images that it held out, of the best by its regression."""
        search = self.search_job(seed, of)
        networks = {one.name: one for networks in self._shortlist(seed, of, task).values() for one in networks}
        prediction = Prediction(
            config=find_config(self.config.search),
            overrides=self.search_overrides(seed, of),
            search=search.folder,
            task=task,
            topologies=tuple((name, self.truth.file(one)) for name, one in networks.items()),
            result=self._shortlist_file(seed, of, task),
        )
        work = Call(write_prediction, prediction, is_predicted)
        return Job(f"{search.name}/shortlist-{task}", work, self.root, (search.name,), "shortlist")

    def found(self, done: Collection[str]) -> list[Found]:
        """Return what the searches whose shortlists are ``done`` have found."""
        return [
            found
            for seed, of, task in self.derivations
            if f"{self.search_job(seed, of).name}/shortlist-{task}" in done
            for found in self._derived(seed, of, task)
        ]

    def _derived(self, seed: int, of: str | None, task: str) -> list[Found]:
        """Return what one search found for one task: of its shortlists, those that its supernet scores best."""
        scores = read_json(self._shortlist_file(seed, of, task)).get("scores", {})
        method = "multitask" if of is None else "single-task"
        found = []
        for under, networks in self._shortlist(seed, of, task).items():
            best = sorted((one for one in networks if one.name in scores), key=lambda one: float(scores[one.name]))
            count = self.config.num_topologies if under == EQUAL else 1
            networks = tuple(self.truth.as_named(one) for one in best[:count])
            found.append(Found(seed, method, task, under, networks))
        return found

    def _can_shortlist(self, seed: int, of: str | None, task: str, done: Collection[str]) -> bool:
        return self.search_job(seed, of).name in done and bool(self._shortlist(seed, of, task))

    def _shortlist(self, seed: int, of: str | None, task: str) -> Mapping[str, tuple[Network, ...]]:
        """Return the best by regression of a finished search, by what they are under; none, and an entry in ``errors``,
        where there is no regression."""
        job = self.search_job(seed, of)
        name = f"{job.name}: {task}"
        if name not in self._known:
            try:
                self._known[name] = self._best(worth_of(job.folder, task), seed, of, task)
            except InputError as error:
                self._known[name], self.errors[name] = {}, str(error)
        return self._known[name]

    def _best(self, worth: Worth, seed: int, of: str | None, task: str) -> dict[str, tuple[Network, ...]]:
        paths, window, count = self.truth.paths(task), self.truth.window(task), self.config.num_shortlisted
        best = {EQUAL: best_in(worth, paths, window, max(count, self.config.num_topologies), seed)}
        for named in self.truth.named[task] if of is None else ():
            below = replace(window, least=0, most=named.macs)
            best[named.name] = best_in(worth, paths, below, max(1, count // 3), seed)
        return {under: self._networks(task, sampled) for under, sampled in best.items()}

    def _shortlist_file(self, seed: int, of: str | None, task: str) -> Path:
        return (
            self.search_job(seed, of).folder.parent / f"shortlist-{'multitask' if of is None else 'single'}-{task}.json"
        )

    def _networks(self, task: str, sampled: Sequence[Sampled]) -> tuple[Network, ...]:
        return tuple(Network(task, one.code, one.topology, one.macs) for one in sampled)

    @functools.cached_property
    def _known(self) -> dict[str, Mapping[str, tuple[Network, ...]]]:
        return {}

    def search_overrides(self, seed: int, task: str | None) -> tuple[str, ...]:
        """Return the overrides of a search, without its folder."""
        given = [*self.config.search.overrides, *self.config.overrides, f"seed={seed}"]
        if task is None:
            return tuple(given)
        others = [f"tasks.{other}=null" for other in self.tasks if other != task]
        return (*given, *self.config.single_task, *others)
