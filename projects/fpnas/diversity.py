"""The block-diversity study of Fig. 3: are networks better whose blocks differ?

    python -m projects.fpnas.diversity --config projects/fpnas/configs/diversity.yaml data.root=/data/cifar10
    python -m projects.fpnas.diversity --config ... data.root=... project.epochs=5 project.repeats=2 project.jobs=1

27 small networks, of equal MACs, are trained several times each. ``diversity.csv`` has a row for each with its test
accuracies; ``diversity.svg`` is the plot. ``resume=true`` goes on after the last finished training.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.cli.launch import main
from fbnetv5.config.option import option
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.inputs import InputSpec
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.model.task_net import ModelSpec, build_model
from fbnetv5.projects.fpnas.fit import accuracy, fit
from fbnetv5.projects.fpnas.images import check_batches, check_data, load_split, read_images, save_split
from fbnetv5.projects.fpnas.options import check_training
from fbnetv5.projects.fpnas.search import claim_folder
from fbnetv5.projects.fpnas.small_network import adapted_width, model_macs, network_entry, network_ids, types_of
from fbnetv5.projects.fpnas.work import IMAGES
from fbnetv5.projects.fpnas.workers import do_all, find_place
from fbnetv5.report.style import save, styled
from fbnetv5.runs.job import Call, Job, Outcome

TABLE, PLOT, JOBS = "diversity.csv", "diversity.svg", "jobs"
ONE_TYPE, SEVERAL = "#c2273d", "#2b66ad"  # red and blue, as in the paper


@dataclass
class DiversityConfig:
    """The study. The paper prints the MACs and the five repeats; the epochs are ours."""

    epochs: int = option(30, "passes over the training images of each training")
    repeats: int = option(5, "trainings of each network, which differ in all that is random")
    macs: float = option(10e6, "MACs of every network with its classifier")
    tolerance: float = option(0.5e6, "by how many they may differ from it")
    hidden_channels: int = option(256, "channels of the last block, a 1x1 convolution")
    final_lr: float = option(0.0, "the rate falls from optimizer.lr to this along a cosine")
    jobs: int | None = option(None, "trainings at a time; null: one a GPU, or one for every core")


class Training(NamedTuple):
    """One training: the number of the network, and which of its repeats it is."""

    network_id: str
    repeat: int

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.network_id}_{self.repeat}"


class Work(NamedTuple):
    """What a worker needs for a training; the images lie in ``folder``."""

    training: Training
    config: RunConfig
    folder: Path
    classes: tuple[str, ...]


class Row(NamedTuple):
    """A line of the table: a network, what it costs, and the test accuracy of each training, in [0, 1]."""

    network_id: str
    width: int
    macs: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return statistics.mean(self.accuracies)

    @property
    def deviation(self) -> float:
        """Standard deviation of the accuracy over the trainings; 0 of a single one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def run(config: RunConfig, folder: Path) -> None:
    """Train the 27 networks, ``project.repeats`` times each, and write table and plot.

    Raises:
        InputError: the configuration, the data or a file is at fault, or a training failed; the message says which.
    """
    options = read_project(config.project, DiversityConfig)
    for key in ("epochs", "repeats", "hidden_channels", "jobs"):
        if (value := getattr(options, key)) is not None and value < 1:
            raise InputError(f"project.{key}={value} is too small: at least 1")
    check_training(config, "final_lr", options.final_lr)
    train, val, classes = read_images(config.data)
    check_batches(len(train), config.search.batch_size)
    widths = adapted_widths(config, len(classes))
    claim_folder(config, folder)
    save_split(folder / IMAGES, train, val)
    trainings = [Training(number, repeat) for repeat in range(options.repeats) for number in network_ids()]
    works = [Work(one, config, folder, classes) for one in trainings]
    print(f"{len(works)} trainings of {options.epochs} epochs, {sum(map(is_done, works))} of them done; see {folder}")
    jobs = [Job(work.training.name, Call(do_training, work, is_done), folder / JOBS) for work in works]
    with find_place(config.runtime, options.jobs) as place:
        do_all(jobs, place, _say)
    side = check_data(config.data)
    rows = []
    for number, width in widths.items():
        macs = model_macs(types_of(number), width, (side, side), len(classes), options.hidden_channels)
        results = [read_result(folder, Training(number, repeat)) for repeat in range(options.repeats)]
        rows.append(Row(number, width, macs, tuple(result for result in results if result is not None)))
    (folder / IMAGES).unlink()
    write_text(folder / TABLE, "".join(csv_lines(table(rows))))
    plot(rows, folder / PLOT)
    print(f"table: {folder / TABLE}\nplot: {folder / PLOT}")


def adapted_widths(config: RunConfig, num_classes: int) -> dict[str, int]:
    """Return the width of every network, by its number.

    Raises:
        InputError: a network does not reach ``project.macs``.
    """
    options, side = read_project(config.project, DiversityConfig), check_data(config.data)

    def width_of(types: Sequence[str]) -> int:
        def macs(width: int) -> int:
            return model_macs(types, width, (side, side), num_classes, options.hidden_channels)

        return adapted_width(macs, options.macs, options.tolerance)

    return {number: width_of(types_of(number)) for number in network_ids()}


def do_training(work: Work) -> None:
    """Train and test one network once, and write its result."""
    training, config, data = work.training, work.config, work.config.data
    options = read_project(config.project, DiversityConfig)
    train, val = load_split(work.folder / IMAGES)
    network_id = training.network_id
    spec = ModelSpec(
        family=None,
        topology=None,
        head={
            "_target_": "fbnetv5.projects.fpnas.heads.classifier.PooledClassifier",
            "hidden_channels": options.hidden_channels,
        },
        classes=work.classes,
        input=InputSpec(short_side=data.short_side, crop=data.crop),
        network=network_entry(
            types_of(training.network_id), adapted_widths(config, len(work.classes))[training.network_id]
        ),
    )
    key = (int(network_id), training.repeat)
    with start_world(config.runtime.device, config.runtime.threads or 1, config.runtime.tf32) as world:
        with forked(config.seed, Purpose.INITIALISATION, *key):
            model = build_model(spec)
        model.to(world.device, WEIGHT_DTYPES[config.runtime.precision])
        fit(
            model,
            lambda step: model,
            train,
            config,
            epochs=options.epochs,
            final_lr=options.final_lr,
            key=key,
            device=world.device,
        )
        result = {"accuracy": accuracy(model, val, config, world.device)}
    write_text(_file(work.folder, training), json.dumps(result) + "\n")


def is_done(work: Work) -> bool:
    """Whether the result of a training has been written."""
    return read_result(work.folder, work.training) is not None


def read_result(folder: Path, training: Training) -> float | None:
    """Return the test accuracy of a finished training; None if it is not finished."""
    try:
        return float(json.loads(_file(folder, training).read_text(encoding="utf-8"))["accuracy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return the lines of the table, the header first."""
    header = ["id", "block 2", "block 3", "block 4", "width", "macs", "mean top1", "deviation", "top1 of each training"]
    lines = [header]
    for row in rows:
        values = " ".join(f"{value:.4f}" for value in row.accuracies)
        costs = [str(row.width), str(row.macs)]
        lines.append(
            [row.network_id, *types_of(row.network_id), *costs, f"{row.mean:.4f}", f"{row.deviation:.4f}", values]
        )
    return lines


@styled
def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw mean and standard deviation of each network, those of one block type in red, as in Fig. 3."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for uniform, colour, label in ((False, SEVERAL, "different blocks"), (True, ONE_TYPE, "one type of block")):
        chosen = [(place, row) for place, row in enumerate(rows) if (len(set(row.network_id)) == 1) == uniform]
        axes.errorbar(
            [place for place, _ in chosen],
            [100 * row.mean for _, row in chosen],
            yerr=[100 * row.deviation for _, row in chosen],
            fmt="o",
            markersize=4,
            color=colour,
            label=label,
        )
    axes.set_xticks(range(len(rows)), [row.network_id for row in rows], rotation=90, fontsize=7)
    axes.set(xlabel="network: blocks 2 to 4; 0 shortcut, 1 split, 2 both", ylabel="test accuracy, %")
    axes.legend()
    save(figure, path)


def _say(outcome: Outcome) -> None:
    if outcome.status == "finished":
        print(f"network {outcome.job.name} is done", flush=True)


def _file(folder: Path, training: Training) -> Path:
    return folder / JOBS / f"{training.name}.json"


if __name__ == "__main__":
    main()
