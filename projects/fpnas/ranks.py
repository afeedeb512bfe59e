"""Do a search's scores order the types of a block as trainings to the end do?

    python train_net.py --config projects/fpnas/configs/ranks.yaml data.root=FOLDER

A random network below the bound is trained for a while, as a search in its middle has trained the blocks that it does
not optimise. Then all types of one block are scored as a search scores them, on the images that it sees: in stage one,
after ``project.stage_one`` epochs with shared weights, and in stage two, each after ``project.epochs`` more on its own.
The truth is what networks with these types reach when they are trained from scratch on the same images, with several
seeds, each judged on test images of its own: so a seed agrees with another as well as a perfect score of one training
would. ``ranks.csv`` has every score, ``ranks.md`` the rank correlations; ``resume=true`` goes on after the last
finished training.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from scipy.stats import spearmanr

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.config.option import option
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.projects.fpnas.bound import Choices, swap
from fbnetv5.projects.fpnas.images import check_batches, read_images, save_split
from fbnetv5.projects.fpnas.jobs import FOLDER, Independent, Shared, Training, read_result, weights_file
from fbnetv5.projects.fpnas.options import SearchConfig, check_search, check_training
from fbnetv5.projects.fpnas.search import claim_folder, split_images
from fbnetv5.projects.fpnas.work import IMAGES, Work, build_problem, do_training, is_done
from fbnetv5.projects.fpnas.workers import ProgressLine, do_all, find_place, threads_of
from fbnetv5.runs.job import Call, Job, Outcome
from fbnetv5.runs.markdown import NOTHING, markdown_table

SCORED, TRUTH = (
    "scored",
    "truth",
)  # folders of trainings that are judged as in a search, and on test images, a seed each
TABLE, PAGE = "ranks.csv", "ranks.md"
FREE = ("project.stage_one",)  # may change when a study goes on: results say what they are of
RESAMPLES = 1000  # of types, for the standard error of a correlation


@dataclass
class RanksConfig(SearchConfig):
    """The study: the keys of a search, and its own."""

    position: int = option(0, "of the block whose types are ranked, from 0")
    base_epochs: int = option(24, "epochs of the network before stage one")
    stage_one: list[int] = option(lambda: [2, 8, 32], "P: epochs of stage one, each beside the others")
    seeds: list[int] = option(lambda: [0, 1], "of the trainings to the end")
    train_epochs: int = option(15, "passes over the training images, of every training to the end")
    train_final_lr: float = option(1e-4, "the rate falls from optimizer.lr to this along a cosine")


@dataclass(frozen=True)
class Study:
    """What is trained.

    Attributes:
        types: of the block, their numbers and names.
        macs: of the network with each.
        base: the training before stage one.
        stage_one, stage_two: trainings by the epochs of stage one; the latter one a type.
        truth: trainings by seed, one a type.
    """

    types: Mapping[int, str]
    macs: Mapping[int, int]
    base: Independent
    stage_one: Mapping[int, Shared]
    stage_two: Mapping[int, Sequence[Independent]]
    truth: Mapping[int, Sequence[Independent]]


def run(config: RunConfig, folder: Path) -> None:
    """Score all types of a block in both stages, train all to the end, and correlate.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    options = read_project(config.project, RanksConfig)
    _check(config, options)
    train, test, classes = read_images(config.data)
    fitted, seen = split_images(train, config, options)
    order = torch.randperm(len(test), generator=generator(config.seed, Purpose.SPLIT))
    kept = [test.subset(rows) for rows in order.tensor_split(len(options.seeds))]
    for part in kept:
        check_batches(len(part), config.search.batch_size)
    config = replace(config, runtime=replace(config.runtime, threads=threads_of(config.runtime)))
    searching = as_search(config)
    study = plan(searching, options, classes)
    claim_folder(config, folder, FREE)
    judged = {SCORED: seen} | {_truth(seed): part for seed, part in zip(options.seeds, kept, strict=True)}
    for place, images in judged.items():
        save_split(folder / place / IMAGES, fitted, images)
    ending = replace(config, project={**searching.project, "final_lr": options.train_final_lr})
    phases: tuple[tuple[str, RunConfig, Sequence[Training]], ...] = (
        (SCORED, searching, [study.base]),
        (SCORED, searching, [*study.stage_one.values()]),
        (SCORED, searching, [one for ones in study.stage_two.values() for one in ones]),
        *((_truth(seed), ending, ones) for seed, ones in study.truth.items()),
    )
    with (
        ProgressLine(sum(len(trainings) for _, _, trainings in phases), "trainings") as progress,
        find_place(config.runtime, options.jobs) as found,
    ):
        for place, given, trainings in phases:
            works = [Work(training, given, folder / place, classes) for training in trainings]
            jobs = [Job(one.training.name, Call(do_training, one, is_done), folder / place / FOLDER) for one in works]

            def on_end(outcome: Outcome) -> None:
                progress.skip(1) if outcome.status == "skipped" else progress.advance(1)
                progress.say(f"{outcome.job.name}; {progress.done} of {progress.total} trainings{progress.eta()}")

            do_all(jobs, found, on_end)
    for place in judged:
        (folder / place / IMAGES).unlink()
    scores = read_scores(study, folder)
    write_text(folder / TABLE, "".join(csv_lines(table(study, scores))))
    text = markdown(study, scores, options.num_candidates)
    write_text(folder / PAGE, text)
    print(f"{text}\nall scores: {folder / TABLE}")


def as_search(config: RunConfig) -> RunConfig:
    """Return the configuration of the searches that a study is about, without its own keys."""
    keys = {field.name for field in fields(SearchConfig)}
    return replace(config, project={key: value for key, value in config.project.items() if key in keys})


def plan(config: RunConfig, options: RanksConfig, classes: tuple[str, ...]) -> Study:
    """Return the trainings of a study.

    Args:
        config: of the search.
        options: of the study.
        classes: names of the images' classes.

    Raises:
        InputError: there is no such block, or it has fewer than three types below the bound.
    """
    problem = build_problem(config, classes)
    space = problem.space(options.bound)
    if not 0 <= options.position < len(space.num_types):
        raise InputError(f"project.position={options.position} is none of the blocks 0 to {len(space.num_types) - 1}")
    network, position = space.draw(generator(config.seed, Purpose.ARCHITECTURES)), options.position
    types = tuple(space.types_within(network, position))
    if len(types) < 3:
        raise InputError(
            f"project.position={position}: {len(types)} type(s) of this block keep the network below the bound, which "
            "have no order to speak of; choose another block or seed, or raise project.bound"
        )
    networks: dict[int, Choices] = {kind: swap(network, position, kind) for kind in types}
    base = Independent("base", 0, network, options.base_epochs, key=(0,))
    shared = {
        epochs: Shared(f"shared-{epochs}", 0, network, position, types, epochs, (1, epochs), weights_file(base))
        for epochs in options.stage_one
    }
    alone = {
        epochs: [
            Independent(
                f"alone-{epochs}/type-{kind:02d}", 0, networks[kind], options.epochs, (2, epochs, 1 + kind), position,
                weights_file(shared[epochs]),
            )
            for kind in types
        ]
        for epochs in options.stage_one
    }  # fmt: skip
    truth = {
        seed: [
            Independent(f"seed-{seed}/type-{kind:02d}", 0, networks[kind], options.train_epochs, (3, seed, 1 + kind))
            for kind in types
        ]
        for seed in options.seeds
    }
    names = problem.type_names[position]
    macs = {kind: space.macs(networks[kind]) for kind in types}
    return Study({kind: names[kind] for kind in types}, macs, base, shared, alone, truth)


def read_scores(study: Study, folder: Path) -> dict[str, list[float]]:
    """Return the accuracies in [0, 1] by what they are of, one a type: each stage and number of epochs, each seed.

    Raises:
        InputError: a training's result is missing or damaged.
    """
    scores = {}
    for epochs, shared in study.stage_one.items():
        scores[_stage_one(epochs)] = _accuracies(folder / SCORED, [shared])
    for epochs, ones in study.stage_two.items():
        scores[_stage_two(epochs)] = _accuracies(folder / SCORED, ones)
    for seed, ones in study.truth.items():
        scores[f"{TRUTH}, seed {seed}"] = _accuracies(folder / _truth(seed), ones)
    return scores


def table(study: Study, scores: Mapping[str, Sequence[float]]) -> list[tuple[str, ...]]:
    """Return the lines of the csv file: type, MACs and each score."""
    lines = [("type", "macs", *scores)]
    for place, (kind, name) in enumerate(study.types.items()):
        lines.append((name, str(study.macs[kind]), *(f"{own[place]:.5f}" for own in scores.values())))
    return lines


def markdown(study: Study, scores: Mapping[str, Sequence[float]], num_candidates: int) -> str:
    """Return the table: how far types differ by each score, and its rank correlation with the truth and with MACs.

    A seed of the truth is correlated with the mean of the others; a score with the mean of all. Standard errors are
    over types, resampled. Below it stands the truth of the types that a search would keep: the best of stage two among
    the ``num_candidates`` best of stage one.
    """
    truth = {name: own for name, own in scores.items() if name.startswith(TRUTH)}
    macs = [float(study.macs[kind]) for kind in study.types]
    rows = [["Score", "mean, %", "deviation between types", "Spearman with the truth", "with MACs"]]
    for name, own in scores.items():
        others = [values for other, values in truth.items() if other != name]
        mean = _means(others)
        rows.append(
            [
                name,
                f"{100 * statistics.mean(own):.1f}",
                f"{100 * statistics.stdev(own):.2f}",
                _rank(own, mean) if others else NOTHING,
                _rank(own, macs),
            ]
        )
    lines, all_of_them = markdown_table(rows, numeric_from=1), _means(list(truth.values()))
    kept = [_kept(study, scores, epochs, num_candidates) for epochs in study.stage_one]
    chosen = "; ".join(
        f"P = {epochs}: {study.types[kind]}, {100 * all_of_them[list(study.types).index(kind)]:.1f}"
        for epochs, kind in zip(study.stage_one, kept, strict=True)
    )
    spread = f"of all types {100 * statistics.mean(all_of_them):.1f}, {100 * min(all_of_them):.1f} to"
    lines += ["", f"Truth in % {spread} {100 * max(all_of_them):.1f}; of what a search would keep: {chosen}."]
    return "\n".join(lines) + "\n"


def _kept(study: Study, scores: Mapping[str, Sequence[float]], epochs: int, num_candidates: int) -> int:
    """Return the type that an iteration of a search would end with."""
    one, two = scores[_stage_one(epochs)], scores[_stage_two(epochs)]
    candidates = sorted(range(len(one)), key=lambda place: -one[place])[:num_candidates]
    return list(study.types)[max(candidates, key=lambda place: two[place])]


def _means(scores: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean for each type, such that equal sums are equal."""
    return [round(statistics.mean(values), 9) for values in zip(*scores, strict=True)]


def _stage_one(epochs: int) -> str:
    return f"stage one, P = {epochs}"


def _stage_two(epochs: int) -> str:
    return f"stage two after P = {epochs}"


def _truth(seed: int) -> str:
    """Return the folder of a seed's trainings to the end."""
    return f"{TRUTH}-{seed}"


def _accuracies(folder: Path, trainings: Sequence[Training]) -> list[float]:
    accuracies: list[float] = []
    for training in trainings:
        result = read_result(folder, training)
        if result is None:
            raise InputError(
                f"{folder / FOLDER / training.name}.json is missing or damaged; resume=true trains it again"
            )
        accuracies += result.accuracies
    return accuracies


def _rank(own: Sequence[float], other: Sequence[float]) -> str:
    """Return Spearman's correlation of two scores, and its standard error over types."""
    if len({*own}) < 2 or len({*other}) < 2:
        return NOTHING
    draws, places, found = random.Random(0), range(len(own)), []
    for _ in range(RESAMPLES):
        drawn = draws.choices(places, k=len(own))
        first, second = [own[place] for place in drawn], [other[place] for place in drawn]
        if len({*first}) > 1 and len({*second}) > 1:
            found.append(float(spearmanr(first, second).statistic))
    return f"{spearmanr(own, other).statistic:.2f} ± {statistics.stdev(found):.2f}"


def _check(config: RunConfig, options: RanksConfig) -> None:
    check_search(config, options)
    for key in ("base_epochs", "train_epochs"):
        if getattr(options, key) < 1:
            raise InputError(f"project.{key}={getattr(options, key)} is too small: at least 1")
    for key, least in (("stage_one", 1), ("seeds", 0)):
        values = getattr(options, key)
        if not values or min(values) < least or len({*values}) < len(values):
            raise InputError(f"project.{key}={values}: give at least one, each once, none below {least}")
    check_training(config, "train_final_lr", options.train_final_lr)
