"""Trainings of a search as data: a job names its inputs, a file holds its result, so that none is done twice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fbnetv5.base.files import write_text
from fbnetv5.projects.fpnas.bound import Choices, swap

FOLDER = "jobs"


@dataclass(frozen=True)
class Shared:
    """Stage one of Section 3.2: all types of one block are trained with shared weights.

    Attributes:
        name: of the job, which is that of its files below the run's folder.
        iteration: that it belongs to.
        choices: the network; the type at ``position`` does not matter.
        position: of the block.
        types: that are trained there.
        epochs: P.
        key: what its random numbers depend on, beside the run's seed.
        start: file with the weights of the other blocks; empty: none are trained yet.
    """

    name: str
    iteration: int
    choices: Choices
    position: int
    types: tuple[int, ...]
    epochs: int
    key: tuple[int, ...]
    start: str = ""

    @property
    def networks(self) -> list[Choices]:
        """The networks that are trained."""
        return [swap(self.choices, self.position, kind) for kind in self.types]


@dataclass(frozen=True)
class Independent:
    """Stage two of Section 3.2: one network is trained on its own.

    Attributes:
        name, iteration, key: as of :class:`Shared`.
        choices: the network.
        epochs: Q.
        position: of the block whose types ``start`` holds; None: ``start`` is empty.
        start: weights of a :class:`Shared` training, from which it goes on; empty: from scratch.
    """

    name: str
    iteration: int
    choices: Choices
    epochs: int
    key: tuple[int, ...]
    position: int | None = None
    start: str = ""

    @property
    def networks(self) -> list[Choices]:
        """The network that is trained."""
        return [self.choices]


Job = Shared | Independent


@dataclass(frozen=True)
class Result:
    """The result of a job.

    Attributes:
        accuracies: on the validation images, in [0, 1]; of each of the job's networks.
        losses: mean training loss of each epoch.
        num_images: training images that went through a network forwards and backwards.
        num_val_images: validation images that went through one.
        seconds: from its start to its end.
        weights: file of the trained weights, below the run's folder.
    """

    accuracies: list[float]
    losses: list[float]
    num_images: int
    num_val_images: int
    seconds: float
    weights: str


def weights_file(job: Job) -> str:
    """Return the file of a job's weights, below the run's folder."""
    return f"{FOLDER}/{job.name}.safetensors"


def write_result(folder: Path, job: Job, result: Result) -> None:
    """Write what came out of a job; from then on it is done."""
    record = {"inputs": _inputs(job), "result": asdict(result)}
    write_text(_file(folder, job), json.dumps(record, indent=1) + "\n")


def read_result(folder: Path, job: Job) -> Result | None:
    """Return what came out of this very job; None if it is not done."""
    try:
        record = json.loads(_file(folder, job).read_text(encoding="utf-8"))
        return Result(**record["result"]) if record["inputs"] == _inputs(job) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(folder: Path, job: Job) -> Path:
    return folder / FOLDER / f"{job.name}.json"


def _inputs(job: Job) -> dict[str, object]:
    inputs: dict[str, object] = json.loads(json.dumps(asdict(job)))  # as it is read back: lists for tuples
    return inputs
