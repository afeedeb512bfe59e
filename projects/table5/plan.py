"""The jobs of an ablation: which there are, in which order, and what must have ended before each."""

from __future__ import annotations

import csv
import functools
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config, path_override
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target
from fbnetv5.data.augmentation import crop_side
from fbnetv5.engine.log import PROBABILITIES
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.projects.table5.predict import Prediction, is_predicted, prediction_file, write_prediction
from fbnetv5.projects.table5.sample import Sampled, Window, sample_topologies
from fbnetv5.runs.graph import Known
from fbnetv5.runs.job import Call, Job, Outcomes, Run, finished
from fbnetv5.runs.study import RunEntry, find_config
from fbnetv5.tasks.build import build_tasks

Method = Literal["random", "single-task", "multitask"]
METHODS: tuple[Method, ...] = ("random", "single-task", "multitask")


@dataclass
class Plan:
    """What an ablation in the folder ``root`` consists of. See :meth:`jobs`."""

    config: AblationConfig
    root: Path
    errors: dict[str, str] = field(default_factory=dict)  # by sample, where no topology could be drawn

    @functools.cached_property
    def search(self) -> RunConfig:
        """The multitask search of the first seed."""
        return load_config(find_config(self.config.search), self.search_overrides(self.config.seeds[0], None))

    @functools.cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are compared, each of which needs a training.

        Raises:
            InputError: one has none, or a training is for none of them.
        """
        tasks = tuple(build_tasks(self.search.tasks))
        wrong = sorted(set(tasks) ^ set(self.config.train))
        if wrong:
            raise InputError(f"train has {', '.join(self.config.train)}, the search {', '.join(tasks)}: {wrong[0]}")
        return tasks

    @functools.cached_property
    def window(self) -> Window:
        """The MACs of the backbones that are compared, at the search's input size."""
        family, side = get_family(self.search.model.family), crop_side(self.search.data)
        full = network_cost(family, Topology.full(self.search.model.num_stages), (side, side)).macs
        target = self.config.match * (full if self.config.match <= 1 else 1)
        slack = self.config.tolerance * target
        return Window(family, (side, side), target - slack, target + slack)

    @functools.cached_property
    def head_paths(self) -> dict[str, tuple[int, ...]]:
        """The paths that each task's final head reads."""
        paths = {}
        for task in self.tasks:
            model = load_config(find_config(self.config.train[task]), self._train_overrides(0, task)).model
            head = build_target("model.head", model.head, get_family(model.family).channels, 2)
            paths[task] = tuple(head.paths)
            if model.family != self.search.model.family:
                raise InputError(
                    f"train.{task}: model.family={model.family}, the search's is {self.search.model.family}"
                )
        return paths

    def jobs(self, outcomes: Outcomes) -> Known:
        """Return the jobs that are known when some have ended: trainings once their topologies can be drawn."""
        jobs: list[Job] = []
        to_come: Counter[str] = Counter()
        done = finished(outcomes)
        for seed in self.config.seeds:
            searches = [self.search_job(seed, None), *(self.search_job(seed, task) for task in self.tasks)]
            sampled = {task: self._sampled(seed, task, done) for task in self.tasks}
            trainings = {
                job.name: job
                for method in METHODS
                for task in self.tasks
                for one in self.sample(seed, method, task, done)
                for job in [self.train_job(seed, task, one)]
            }
            jobs += [*searches, *trainings.values()]
            if all(search.name in outcomes for search in searches):
                if searches[0].name in done:
                    jobs += [self.predict_job(seed, task, sampled[task].values()) for task in self.tasks]
                continue
            most = len(METHODS) * self.config.num_topologies
            to_come += Counter({f"train-{task}": most - len(sampled[task]) for task in self.tasks})
            to_come += Counter({"predict": len(self.tasks)})
        return Known(jobs, to_come)

    def search_job(self, seed: int, task: str | None) -> Job:
        """Return the multitask search, or that of one task alone."""
        group = f"search-{'multitask' if task is None else f'single-{task}'}"
        return self._run(f"seed-{seed}/{group}", group, self.config.search, self.search_overrides(seed, task))

    def train_job(self, seed: int, task: str, sampled: Sampled) -> Job:
        """Return the training of a topology, whichever method sampled it."""
        topology = path_override("model.topology", self.topology_file(seed, task, sampled))
        name, group = f"seed-{seed}/train/{task}-{sampled.code}", f"train-{task}"
        return self._run(name, group, self.config.train[task], (*self._train_overrides(seed, task), topology))

    def predict_job(self, seed: int, task: str, sampled: Iterable[Sampled]) -> Job:
        """Return the prediction of all topologies of a task that were sampled."""
        files = {one.code: self.topology_file(seed, task, one) for one in sampled}
        search = self.search_job(seed, None)
        prediction = Prediction(
            config=find_config(self.config.search),
            overrides=self.search_overrides(seed, None),
            search=search.folder,
            task=task,
            topologies=tuple(sorted(files.items())),
            options=self.config.predict,
            result=prediction_file(self.root, f"seed-{seed}/predict-{task}"),
        )
        work = Call(write_prediction, prediction, is_predicted)
        return Job(f"seed-{seed}/predict-{task}", work, self.root, (search.name,), "predict")

    def topology_file(self, seed: int, task: str, sampled: Sampled) -> Path:
        """Return the file of a topology, which is written here if it does not exist."""
        file = self.root / f"seed-{seed}" / "topologies" / f"{task}-{sampled.code}.yaml"
        if not file.exists():
            sampled.topology.save(file, {"task": task, "seed": seed, "backbone_macs": sampled.macs})
        return file

    def sample(self, seed: int, method: Method, task: str, done: Collection[str]) -> list[Sampled]:
        """Return the topologies of a method; none where its search is not ``done``."""
        search = None if method == "random" else self.search_job(seed, task if method == "single-task" else None)
        if search is not None and search.name not in done:
            return []
        name = f"seed-{seed}/{method}-{task}"
        if name not in self._samples:
            num_blocks = self.search.model.num_stages * 4
            p = [0.5] * num_blocks if search is None else read_probabilities(search.folder / PROBABILITIES, task)
            key = (seed, METHODS.index(method), self.tasks.index(task))
            try:
                self._samples[name] = sample_topologies(
                    p, self.head_paths[task], self.window, self.config.num_topologies, *key
                )
            except InputError as error:
                self._samples[name], self.errors[name] = [], str(error)
        return self._samples[name]

    @functools.cached_property
    def _samples(self) -> dict[str, list[Sampled]]:
        return {}

    def search_overrides(self, seed: int, task: str | None) -> tuple[str, ...]:
        """Return the overrides of a search, without its folder."""
        given = [*self.config.search.overrides, *self.config.overrides, f"seed={seed}"]
        if task is None:
            return tuple(given)
        others = [f"tasks.{other}=null" for other in self.tasks if other != task]
        return (*given, *self.config.single_task, *others)

    def _sampled(self, seed: int, task: str, done: Collection[str]) -> dict[str, Sampled]:
        """Return the topologies of a task that can be drawn already, by code; each once, whatever drew it."""
        return {one.code: one for method in METHODS for one in self.sample(seed, method, task, done)}

    def _run(self, name: str, group: str, entry: RunEntry, overrides: tuple[str, ...]) -> Job:
        folder = self.root / name
        own = (path_override("output", folder), "resume=true")
        return Job(name, Run(find_config(entry), (*overrides, *own), run_job), folder, group=group)

    def _train_overrides(self, seed: int, task: str) -> tuple[str, ...]:
        return (*self.config.train[task].overrides, *self.config.overrides, f"seed={seed}")


def read_probabilities(file: Path, task: str) -> list[float]:
    """Return the last recorded probability of every block of a task.

    Raises:
        InputError: there is none.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.reader(lines) if row[1:2] == [task]]
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    if not rows:
        raise InputError(f"{file} has no probabilities of '{task}'")
    return [float(value) for value in rows[-1][2:]]
