"""The parts of an ablation: which runs there are, in which order, and what each needs to have ended before it."""

from __future__ import annotations

import csv
import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config, path_override
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target
from fbnetv5.data.augmentation import crop_side
from fbnetv5.engine.log import PROBABILITIES
from fbnetv5.projects.table5.options import AblationConfig, find_config
from fbnetv5.projects.table5.sample import Sampled, Window, sample_topologies
from fbnetv5.tasks.build import build_tasks

Method = Literal["random", "single-task", "multitask"]
METHODS: tuple[Method, ...] = ("random", "single-task", "multitask")
Kind = Literal["search", "train", "predict"]


@dataclass(frozen=True)
class Part:
    """One job: a search or a training in a run folder, or the supernet's predictions for topologies of one task.

    Attributes:
        kind: what is done.
        group: parts of one group take about equally long.
        name: of its folder, below that of the ablation.
        config: of the run; of a prediction, that of the multitask search.
        overrides: of the run.
        folder: of the run.
        task: of a training or a prediction.
        codes: of the topologies of a prediction.
    """

    kind: Kind
    group: str
    name: str
    config: Path
    overrides: tuple[str, ...]
    folder: Path
    task: str = ""
    codes: tuple[str, ...] = ()

    @property
    def all_overrides(self) -> tuple[str, ...]:
        """The overrides of the run, with its folder."""
        return (*self.overrides, path_override("output", self.folder))


@dataclass
class Plan:
    """What an ablation in the folder ``root`` consists of. See :meth:`parts`."""

    config: AblationConfig
    root: Path
    errors: dict[str, str] = field(default_factory=dict)  # by sample, where no topology could be drawn

    @functools.cached_property
    def search(self) -> RunConfig:
        """The multitask search of the first seed."""
        return load_config(find_config(self.config.search), self._search_overrides(self.config.seeds[0], None))

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

    def parts(self, ended: Collection[str], finished: Collection[str]) -> Iterator[Part]:
        """Yield the parts that can be run or have been, those to start first in front.

        Args:
            ended: names of the parts that have ended, however they did.
            finished: those of them that did not fail.
        """
        for seed in self.config.seeds:
            searches = [self.search_part(seed, None), *(self.search_part(seed, task) for task in self.tasks)]
            yield from searches
            known = {part.name for part in searches if part.name in finished}
            trainings = {
                part.name: part
                for method in METHODS
                for task in self.tasks
                for sampled in self.sample(seed, method, task, known)
                for part in [self.train_part(seed, task, sampled)]
            }
            yield from trainings.values()
            if searches[0].name in known and all(search.name in ended for search in searches):
                yield from (self.predict_part(seed, task, known) for task in self.tasks)

    def search_part(self, seed: int, task: str | None) -> Part:
        """Return the multitask search, or that of one task alone."""
        name = f"seed-{seed}/search-{'multitask' if task is None else f'single-{task}'}"
        overrides = self._search_overrides(seed, task)
        return Part("search", name.split("/")[1], name, find_config(self.config.search), overrides, self.root / name)

    def train_part(self, seed: int, task: str, sampled: Sampled) -> Part:
        """Return the training of a topology, whichever method sampled it."""
        name = f"seed-{seed}/train/{task}-{sampled.code}"
        topology = path_override("model.topology", self.topology_file(seed, task, sampled))
        overrides = (*self._train_overrides(seed, task), topology)
        config = find_config(self.config.train[task])
        return Part("train", f"train-{task}", name, config, overrides, self.root / name, task)

    def predict_part(self, seed: int, task: str, finished: Collection[str]) -> Part:
        """Return the prediction of all topologies of a task that were sampled."""
        search = self.search_part(seed, None)
        sampled = {one.code: one for method in METHODS for one in self.sample(seed, method, task, finished)}
        for one in sampled.values():
            self.topology_file(seed, task, one)
        name = f"seed-{seed}/predict-{task}"
        return Part(
            "predict", "predict", name, search.config, search.overrides, search.folder, task, tuple(sorted(sampled))
        )

    def topology_file(self, seed: int, task: str, sampled: Sampled) -> Path:
        """Return the file of a topology, which is written here if it does not exist."""
        file = self.root / f"seed-{seed}" / "topologies" / f"{task}-{sampled.code}.yaml"
        if not file.exists():
            sampled.topology.save(file, {"task": task, "seed": seed, "backbone_macs": sampled.macs})
        return file

    def sample(self, seed: int, method: Method, task: str, finished: Collection[str]) -> list[Sampled]:
        """Return the topologies of a method; none where its search is not among those that ``finished``."""
        search = None if method == "random" else self.search_part(seed, task if method == "single-task" else None)
        if search is not None and search.name not in finished:
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

    def _search_overrides(self, seed: int, task: str | None) -> tuple[str, ...]:
        given = [*self.config.search.overrides, *self.config.overrides, f"seed={seed}"]
        if task is None:
            return tuple(given)
        others = [f"tasks.{other}=null" for other in self.tasks if other != task]
        return (*given, *self.config.single_task, *others)

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
