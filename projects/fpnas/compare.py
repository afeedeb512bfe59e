"""The comparison: what FPNAS finds against random networks of equal MACs, MobileNetV2 and ShuffleNetV2 (Table 1)."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from fbnetv5.base.distributed import start_world
from fbnetv5.base.documents import read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.seeding import Purpose, forked, generator
from fbnetv5.config.option import option
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.model.task_net import TaskNet, build_model
from fbnetv5.projects.fpnas import search
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.compare_table import BEST, FOUND, RANDOM, Measured, markdown
from fbnetv5.projects.fpnas.fit import accuracy, fit
from fbnetv5.projects.fpnas.images import ImageSet, check_batches, load_split, read_images, save_split
from fbnetv5.projects.fpnas.options import SearchConfig, check_search, check_training
from fbnetv5.projects.fpnas.problem import NETWORK, Problem, model_macs, model_spec
from fbnetv5.projects.fpnas.references import MobileNetV2, ShuffleNetV2, width_for
from fbnetv5.projects.fpnas.work import IMAGES, build_problem, move_model
from fbnetv5.projects.fpnas.workers import ProgressLine, do_all, find_place, threads_of
from fbnetv5.runs.job import Call, Job, Outcome
from fbnetv5.runs.statistics import LEVEL, POWER, detectable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]*")  # of a row, which files are called after
DIGEST, BEFOREHAND = "images.sha256", "beforehand.txt"
RESULTS, TABLE, TRAININGS = "compare.json", "compare.md", "trainings"
FIRST_BEST = 1000  # number of the first of them, above those of all others
FREE = tuple(  # keys that may change when a run goes on: results are known by the network and the seed that they are of
    f"project.{key}"
    for key in (
        *("seeds", "others", "num_trainings", "num_random", "num_best"),
        *("tolerance", "mobilenet_strides", "shufflenet_strides"),
    )
)


@dataclass
class CompareConfig(SearchConfig):
    """A comparison: the keys of its searches, and its own."""

    seeds: list[int] = option(lambda: [0, 1, 2], "each searches, draws and trains anew")
    others: dict[str, Any] = option(
        dict, "by row of the table, {_target_: class, its options}: methods that search as long as project.method"
    )
    num_trainings: int = option(1, "trainings of each network that was found, and of each reference")
    num_random: int = option(3, "random networks, a seed, with one training each")
    num_best: int = option(0, "further trainings of the random network that did best: its own were chosen by")
    tolerance: float = option(0.02, "by what share of the found network's MACs those of the others may differ")
    train_epochs: int = option(15, "passes over all training images, of every network that is compared")
    train_final_lr: float = option(1e-4, "the rate falls from optimizer.lr to this along a cosine")
    mobilenet_strides: list[int] = option(lambda: [1, 1, 1, 2, 2], "of its layers that have stride 2 on ImageNet")
    shufflenet_strides: list[int] = option(lambda: [1, 1], "of its first convolution and its pooling")


class Training(NamedTuple):
    """One network to train and to test.

    Attributes:
        method: that it comes from, a row of the table.
        seed: of the comparison.
        number: among those of the same method and seed.
        network: its class and options.
    """

    method: str
    seed: int
    number: int
    network: dict[str, Any]

    @property
    def name(self) -> str:
        """A name for files."""
        return f"seed-{self.seed}/{_plain(self.method)}-{self.number + 1}"


class Work(NamedTuple):
    """What a worker needs for a training; the images lie in ``folder``."""

    training: Training
    config: RunConfig
    folder: Path
    classes: tuple[str, ...]


def run(config: RunConfig, folder: Path) -> None:
    """Search with every seed, then train and test what was found beside other networks of its MACs.

    Writes to ``folder``: a search for each seed, the result of each training, compare.json and compare.md, the table.
    ``resume=true`` goes on after what is finished.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    options = read_project(config.project, CompareConfig)
    check_compare(config, options)
    train, test, classes = read_images(config.data)
    problem = build_problem(search_config(config, folder, 0), classes)
    check_searches(config, options, problem, train)
    search.claim_folder(config, folder, FREE)
    claim_images(folder, train, test)
    said = say_beforehand(options, folder)
    print(said)
    for seed in options.seeds:
        for method in methods(options):
            searched = search_config(config, folder, seed, method)
            if (Path(searched.output) / search.RESULT).exists():
                search.check_claimed(searched, Path(searched.output))
            else:
                search.run(searched, Path(searched.output))
    save_split(folder / IMAGES, train, test)
    trainings = [one for seed in options.seeds for one in plan(config, options, problem, folder, seed)]
    train_all(config, options, trainings, folder, classes)
    best = best_random(options, trainings, folder)
    train_all(config, options, best, folder, classes)
    (folder / IMAGES).unlink()  # before the table, with which the comparison is done
    write_table(options, [*trainings, *best], folder, (len(train), len(test)), said)


def check_compare(config: RunConfig, options: CompareConfig) -> None:
    """Raise InputError for a key of a comparison that is out of range."""
    check_search(config, options)
    if not options.seeds or min(options.seeds) < 0 or len(set(options.seeds)) < len(options.seeds):
        raise InputError(f"project.seeds={options.seeds}: give at least one, each once, none below 0")
    taken = {_plain(name) for name in (FOUND, RANDOM, BEST, MobileNetV2.__name__, ShuffleNetV2.__name__)}
    for name in options.others:
        if _plain(name) in taken or not NAME.fullmatch(name):
            raise InputError(
                f"project.others: '{name}' is no name of another row; letters, digits, blanks and - are, each once"
            )
        taken.add(_plain(name))
    if options.num_best < 0:
        raise InputError(f"project.num_best={options.num_best} is too small: at least 0")
    for key in ("num_trainings", "num_random", "train_epochs"):
        if getattr(options, key) < 1:
            raise InputError(f"project.{key}={getattr(options, key)} is too small: at least 1")
    if not 0 < options.tolerance < 1:
        raise InputError(f"project.tolerance={options.tolerance} is not between 0 and 1")
    for key, count in (("mobilenet_strides", 5), ("shufflenet_strides", 2)):
        strides = getattr(options, key)
        if len(strides) != count or not set(strides) <= {1, 2}:
            raise InputError(f"project.{key}={strides} should be {count} numbers, each 1 or 2")
    check_training(config, "train_final_lr", options.train_final_lr)


def check_searches(config: RunConfig, options: CompareConfig, problem: Problem, train: ImageSet) -> None:
    """Raise InputError for what would else stop a search, or the comparison after all searches."""
    space = problem.space(options.bound)
    for method in methods(options).values():
        search.build_method(config, replace(options, method=method), space)
    search.split_images(train, config, options)
    check_batches(len(train), config.search.batch_size)
    references(options, problem, min(options.bound, space.dearest))


def methods(options: CompareConfig) -> dict[str, dict[str, Any]]:
    """Return what searches, by row of the table."""
    return {FOUND: options.method, **options.others}


def search_config(config: RunConfig, folder: Path, seed: int, method: str = FOUND) -> RunConfig:
    """Return the configuration of one seed's search by a method, which goes on where it was interrupted."""
    keys = {field.name for field in fields(SearchConfig)}
    project = {key: value for key, value in config.project.items() if key in keys}
    if method != FOUND:
        project["method"] = config.project["others"][method]
    output = str(search_folder(folder, seed, method))
    job = f"{search.__name__}.{search.run.__name__}"
    return replace(config, job=job, seed=seed, project=project, output=output, resume=True)


def search_folder(folder: Path, seed: int, method: str) -> Path:
    """Return the folder of one seed's search by a method."""
    return folder / f"seed-{seed}" / ("search" if method == FOUND else f"search-{_plain(method)}")


def plan(config: RunConfig, options: CompareConfig, problem: Problem, folder: Path, seed: int) -> list[Training]:
    """Return the trainings of a seed: what was found, random networks and references of its MACs.

    Raises:
        InputError: there is no network of so many MACs.
    """
    again = range(options.num_trainings)
    trainings = []
    for method in methods(options):
        architecture = Architecture.load(search_folder(folder, seed, method) / search.ARCHITECTURE)
        found = {"_target_": NETWORK, "architecture": architecture.as_dict()}
        trainings += [Training(method, seed, number, found) for number in again]
    target = model_macs(build_model(model_spec(trainings[0].network, problem)), config.data.crop or 0)
    space = problem.space(options.bound)
    for number in range(options.num_random):
        draws = generator(seed, Purpose.ABLATION, number)
        drawn = problem.architecture(space.draw_near(target, options.tolerance, draws)).as_dict()
        trainings.append(Training(RANDOM, seed, number, {"_target_": NETWORK, "architecture": drawn}))
    for name, network in references(options, problem, target).items():
        trainings += [Training(name, seed, number, network) for number in again]
    return trainings


def best_random(options: CompareConfig, trainings: Sequence[Training], folder: Path) -> list[Training]:
    """Return further trainings of the random network that did best, with other draws than the one it was chosen by.

    They are tested on the images that it was chosen by, so a little of its luck may stay.
    """
    drawn = [one for one in trainings if one.method == RANDOM]
    results = [read_result(folder, one) for one in drawn]
    accuracies = [0.0 if result is None else result.accuracy for result in results]
    best = drawn[accuracies.index(max(accuracies))]
    return [Training(BEST, best.seed, FIRST_BEST + number, best.network) for number in range(options.num_best)]


def power_line(options: CompareConfig) -> str:
    """Say before anything is run what the comparison with random networks can see."""
    count = len(options.seeds)
    networks = count * options.num_random
    if count < 2:
        return "one search: its difference to random networks cannot be told from chance"
    alike, half = (detectable(count, networks, ratio) for ratio in (1.0, 0.5))
    return (
        f"{count} searches beside {networks} random networks: Welch's one-sided test at {LEVEL:g} sees a difference of "
        f"{alike:.1f} deviations of random networks with a power of {POWER:g}, of {half:.1f} where what searches find "
        "varies half as much"
    )


def say_beforehand(options: CompareConfig, folder: Path) -> str:
    """Return what was said when the comparison began, and write it down then."""
    file = folder / BEFOREHAND
    if not file.exists():
        write_text(file, power_line(options) + "\n")
    return f"Said beforehand: {read_text(file).strip()}"


def claim_images(folder: Path, train: ImageSet, test: ImageSet) -> None:
    """Write down which images a comparison is of. Raises InputError where it goes on with others."""
    digest = hashlib.sha256()
    for images in (train, test):
        digest.update(images.pixels.numpy().tobytes())
        digest.update(images.labels.numpy().tobytes())
    file = folder / DIGEST
    if file.exists() and read_text(file).strip() != digest.hexdigest():
        raise InputError(f"{folder} is of other images to train on or to test on than these: {file} tells them apart")
    write_text(file, digest.hexdigest() + "\n")


def references(options: CompareConfig, problem: Problem, target: float) -> dict[str, dict[str, Any]]:
    """Return class and options of MobileNetV2 and ShuffleNetV2 at ``target`` MACs, by their names.

    Raises:
        InputError: one of them has no width of so many MACs below the bound.
    """
    networks = {}
    strides = {MobileNetV2: options.mobilenet_strides, ShuffleNetV2: options.shufflenet_strides}
    for reference, given in strides.items():
        entry = {"_target_": f"{reference.__module__}.{reference.__name__}", "strides": list(given)}

        def macs(width: float, entry: dict[str, Any] = entry) -> int:
            return model_macs(build_model(model_spec({**entry, "width": width}, problem)), problem.data.crop or 0)

        width = width_for(target, macs, tolerance=options.tolerance, bound=options.bound)
        networks[reference.__name__] = {**entry, "width": width}
    return networks


def train_all(
    config: RunConfig, options: CompareConfig, trainings: Sequence[Training], folder: Path, classes: tuple[str, ...]
) -> None:
    """Do the trainings that are not done yet."""
    by_name = {one.name: one for one in trainings}
    config = replace(config, runtime=replace(config.runtime, threads=threads_of(config.runtime)))
    works = [Work(one, config, folder, classes) for one in trainings]
    jobs = [Job(work.training.name, Call(do_training, work, is_done), folder / TRAININGS) for work in works]
    with ProgressLine(len(trainings), "trainings") as progress, find_place(config.runtime, options.jobs) as place:

        def on_end(outcome: Outcome) -> None:
            if outcome.status == "skipped":
                progress.skip(1)
                return
            progress.advance(1)
            result = read_result(folder, by_name[outcome.job.name])
            top1 = "" if result is None else f": {100 * result.accuracy:.2f} % top-1"
            progress.say(f"{outcome.job.name}{top1}; {progress.done} of {progress.total} trainings{progress.eta()}")

        do_all(jobs, place, on_end)


def is_done(work: Work) -> bool:
    """Whether the result of a training has been written."""
    return read_result(work.folder, work.training) is not None


def do_training(work: Work) -> None:
    """Train a network on all training images, test it, and write the result."""
    begin = time.perf_counter()
    training, config = work.training, work.config
    options = read_project(config.project, CompareConfig)
    train, test = load_split(work.folder / IMAGES)
    problem = build_problem(search_config(config, work.folder, 0), work.classes)
    key = (training.seed, training.number)  # all methods see the images in the same order
    with start_world(config.runtime.device, config.runtime.threads, config.runtime.tf32) as world:
        with forked(config.seed, Purpose.INITIALISATION, *key):
            model: TaskNet = build_model(model_spec(training.network, problem))
        macs = model_macs(model, config.data.crop or 0)
        move_model(model, config, world.device)
        fit(
            model,
            lambda step: model,
            train,
            config,
            epochs=options.train_epochs,
            final_lr=options.train_final_lr,
            key=key,
            device=world.device,
        )
        top1 = accuracy(model, test, config, world.device)
    num_params = sum(parameter.numel() for parameter in model.parameters())
    result = Measured(training.method, training.seed, macs, num_params, top1, time.perf_counter() - begin)
    record = {"network": training.network, "result": asdict(result)}
    write_text(_file(work.folder, training), json.dumps(record, indent=1) + "\n")


def read_result(folder: Path, training: Training) -> Measured | None:
    """Return what came out of this very training; None if it is not done."""
    try:
        record = json.loads(_file(folder, training).read_text(encoding="utf-8"))
        return Measured(**record["result"]) if record["network"] == training.network else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_table(
    options: CompareConfig, trainings: Sequence[Training], folder: Path, num_images: tuple[int, int], said: str
) -> None:
    """Write all numbers, and the table; print the table."""
    measured = [result for one in trainings if (result := read_result(folder, one)) is not None]
    searches = [
        (method, json.loads((search_folder(folder, seed, method) / search.RESULT).read_text(encoding="utf-8")))
        for method in methods(options)
        for seed in options.seeds
    ]
    text = markdown(measured, searches, options.train_epochs, num_images)
    text += f"{said}. Networks of other methods are below the bound, not of equal MACs.\n"
    record = {
        "options": asdict(options),
        "searches": [one for _, one in searches],
        "trainings": [asdict(one) for one in measured],
    }
    write_text(folder / RESULTS, json.dumps(record, indent=1) + "\n")
    write_text(folder / TABLE, text)
    print(f"{text}\ntable: {folder / TABLE}\nall numbers: {folder / RESULTS}")


def _plain(name: str) -> str:
    return name.lower().replace(" ", "-")


def _file(folder: Path, training: Training) -> Path:
    return folder / TRAININGS / f"{training.name}.json"
