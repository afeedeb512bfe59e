"""The trainings of a table of truth: of which networks, in which order, and what all of them share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import NUM_PATHS, get_family
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target
from fbnetv5.config.write import path_override
from fbnetv5.projects.table5.sample import Sampled, Window, named_by_code, sample_topologies
from fbnetv5.projects.table5.score import Scored, has_score, write_score
from fbnetv5.projects.table5.truth_options import TruthConfig
from fbnetv5.runs.inputs import inputs
from fbnetv5.runs.job import Call, Job
from fbnetv5.runs.study import find_config

Key = tuple[str, str, int]  # task, topology, seed


@dataclass(frozen=True)
class Network:
    """A network of the table: its task, the name of its topology, the topology as the head sees it, and its MACs."""

    task: str
    name: str
    topology: Topology
    macs: int

    @property
    def code(self) -> str:
        """The number of its blocks, which is one for all names of a topology."""
        return Sampled(self.topology, self.macs).code


@dataclass
class TruthPlan:
    """What a table consists of, with the folder ``root`` for what is not kept."""

    config: TruthConfig
    root: Path

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the table."""
        return tuple(self.config.train)

    @functools.cached_property
    def trainings(self) -> dict[str, RunConfig]:
        """The training of each task, with any topology and seed."""
        return {
            task: load_config(find_config(entry), (*entry.overrides, *self.config.overrides))
            for task, entry in self.config.train.items()
        }

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """All that the scores of a topology and a seed depend on, as plain data."""
        left_out = (
            "seed",
            "model.topology",
            "model.num_stages",
            "search.",
            "label.",
            "export.",
            "project",
            "job",
            "tasks",
        )
        return {
            task: {
                "metric": self.config.train[task].metric,
                **{key: value for key, value in inputs(training).items() if not key.startswith(left_out)},
            }
            for task, training in self.trainings.items()
        }

    @functools.cached_property
    def drawn(self) -> dict[str, tuple[Network, ...]]:
        """The topologies of equal MACs that are drawn for each task, the first in front."""
        config = self.config
        chosen = {}
        for task in self.tasks:
            p = [0.5] * config.num_stages * NUM_PATHS
            drawn = sample_topologies(p, self.paths(task), self.window(task), config.num_topologies, 0, *task.encode())
            if len(drawn) < config.num_topologies:
                raise InputError(f"{task}: only {len(drawn)} topologies fit; lower num_topologies or raise tolerance")
            chosen[task] = tuple(self._network(task, one.code, one.topology) for one in drawn)
        return chosen

    @functools.cached_property
    def named(self) -> dict[str, tuple[Network, ...]]:
        """The hand-made topologies of each task."""
        stages = self.config.named_stages
        return {
            task: tuple(self._network(task, name, named_topology(name, stages)) for name in self.config.named)
            for task in self.tasks
        }

    @functools.cached_property
    def added(self) -> dict[str, tuple[Network, ...]]:
        """The topologies of each task that were asked for by number."""
        found: dict[str, list[Network]] = {task: [] for task in self.tasks}
        for entry in self.config.added:
            task, _, code = entry.partition("/")
            seen = self._network(task, code, named_by_code(code, self.config.num_stages))
            found[task].append(self.as_named(replace(seen, name=seen.code)))
        return {task: tuple(networks) for task, networks in found.items()}

    def as_named(self, network: Network) -> Network:
        """Return the hand-made network that has the same blocks, which the table holds already; else this one."""
        same = (one for one in self.named[network.task] if one.topology.blocks == network.topology.blocks)
        return next(same, network)

    def networks(self, task: str) -> tuple[Network, ...]:
        """Return all networks of a task, in the order of the table."""
        return (*self.named[task], *self.drawn[task], *self.added[task])

    def window(self, task: str) -> Window:
        """Return the MACs that the drawn backbones of a task have, at the size that it is trained at."""
        training, config = self.trainings[task], self.config
        family, side = get_family(training.model.family), training.data.crop or training.data.short_side
        target = config.match * network_cost(family, Topology.full(config.num_stages), (side, side)).macs
        slack = config.tolerance * target
        return Window(family, (side, side), target - slack, target + slack)

    def paths(self, task: str) -> tuple[int, ...]:
        """Return the paths that a task's final head reads."""
        model = self.trainings[task].model
        return tuple(build_target("model.head", model.head, get_family(model.family).channels, 2).paths)

    def jobs(self, known: Collection[Key]) -> list[Job]:
        """Return the trainings whose scores are not ``known``, in the order in which a part of them says most."""
        jobs: dict[str, Job] = {}
        for network, seed in self._in_order():
            if (network.task, network.name, seed) not in known:
                job = self.job(network, seed)
                jobs.setdefault(job.name, job)
        return list(jobs.values())

    def job_name(self, network: Network, seed: int) -> str:
        """Return the name of the training of a network; two names of one topology share it."""
        return f"{network.task}/{network.code}-{seed}"

    def job(self, network: Network, seed: int) -> Job:
        """Return the training of a network."""
        task, name = network.task, self.job_name(network, seed)
        entry = self.config.train[task]
        own = (f"seed={seed}", path_override("model.topology", self.file(network)))
        overrides, result = (*entry.overrides, *self.config.overrides, *own), self.root / "scores" / f"{name}.json"
        scored = Scored(find_config(entry), overrides, entry.metric, result)
        return Job(name, Call(write_score, scored, has_score), self.root / "logs", group=task)

    def file(self, network: Network) -> Path:
        """Return the file of a topology, which is written here if it does not exist."""
        file = self.root / "topologies" / network.task / f"{network.code}.yaml"
        if not file.exists():
            network.topology.save(file, {"task": network.task, "backbone_macs": network.macs})
        return file

    def _in_order(self) -> Iterator[tuple[Network, int]]:
        """Yield hand-made, added and first drawn ones, seed by seed and task by task in turn, then the others."""
        first = self.config.num_first
        parts: tuple[Mapping[str, tuple[Network, ...]], ...] = (
            {task: (*self.named[task], *self.added[task], *self.drawn[task][:first]) for task in self.tasks},
            {task: self.drawn[task][first:] for task in self.tasks},
        )
        for part, seed in itertools.product(parts, self.config.seeds):
            for networks in itertools.zip_longest(*part.values()):
                yield from ((network, seed) for network in networks if network is not None)

    def _network(self, task: str, name: str, topology: Topology) -> Network:
        seen = topology.prune(self.paths(task))
        window = self.window(task)
        macs = network_cost(window.family, seen, window.size).macs
        return Network(task, name, Topology(seen.num_stages, seen.blocks), macs)
