"""Search: FPNAS finds a block of its own for every position of a network, below a hard bound on MACs (Section 3.2).

What the paper leaves open is read like this:

- T = 16 iterations of P + Q E epochs make the 704 epochs of Section 3.3, so an iteration optimises one of the N = 16
  blocks.
- The first network is drawn uniformly below the bound, by rejection; where 1,000 draws find none there, the last one is
  made cheaper, one random block after the other.
- Stage one trains one type a step, in rounds that have each type once, in random order. The types of the block start
  anew, so that none is ahead; the other blocks have the weights of the network that the last iteration ended with. A
  type is judged with BN's statistics of each validation batch, as the running ones are a mix over all types.
- Stage two goes on from the weights of stage one, each network on its own. "One run" of the cosine is Q epochs long: a
  period of T0 = 10 would not reach 1e-5 within Q = 4. It starts at the rate of stage one.
- The weights of the network that is chosen are those that the next iteration starts from.
- Images are normalised by ImageNet's mean and deviation, and judged on the central crop. Weight decay spares biases and
  BN's weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fbnetv5.base.distributed import World
from fbnetv5.base.files import write_text
from fbnetv5.base.weights import WEIGHTS, read_weights, save_weights
from fbnetv5.config.identity import check_identity, identity
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.data.sources import build_source
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.projects.fpnas.bound import BoundedSpace
from fbnetv5.projects.fpnas.crew import Crew
from fbnetv5.projects.fpnas.drawing import draw_architecture
from fbnetv5.projects.fpnas.history import HISTORY, History
from fbnetv5.projects.fpnas.images import ImageSet, check_batches, class_names, decode, save_split, split
from fbnetv5.projects.fpnas.methods import Found, Method
from fbnetv5.projects.fpnas.options import SearchConfig, check_search
from fbnetv5.projects.fpnas.problem import Problem
from fbnetv5.projects.fpnas.work import IMAGES, build_problem
from fbnetv5.report.html import try_report

ARCHITECTURE = "architecture.yaml"
RESULT = "search.json"
IDENTITY = "identity.json"


def run(config: RunConfig, folder: Path) -> None:
    """Search the blocks of a network that has fewer MACs than ``project.bound``; see ``SearchConfig`` for the keys.

    Writes to ``folder``: config.yaml, history.csv (every network that was trained), metrics.jsonl, jobs/ (the result of
    every training), and at the end architecture.yaml and .svg, model.safetensors (its weights), search.json (what it
    took: the seconds of all trainings summed, and those from start to end of the last run) and report.html.
    ``resume=true`` goes on after the last finished training.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    begin = time.perf_counter()
    search = prepare(config)
    claim_folder(config, folder)
    save_split(folder / IMAGES, search.train, search.val)
    history = History(folder, search.space, search.problem.type_names, search.project.budget.total_epochs)
    with Crew(config, folder, search.space, history, search.problem.classes, search.project.jobs) as crew:
        crew.progress.say(f"{describe(search)}; {crew.place.count} training(s) at a time; writing to {folder}")
        found = search.method.search(crew)
    check_passes(search, history)
    write_found(search, folder, found)
    (folder / IMAGES).unlink()  # before the result, with which the search is done
    record = {**summary(search, history, found), "last_run_seconds": round(time.perf_counter() - begin, 1)}
    write_text(folder / RESULT, json.dumps(record, indent=2) + "\n")
    print(f"found: {folder / ARCHITECTURE}\nall networks: {folder / HISTORY}\nwhat it took: {folder / RESULT}")
    try_report(folder)


@dataclass(frozen=True)
class Search:
    """A search that has not begun.

    Attributes:
        config, project: of the run.
        problem: what is searched.
        space: its networks, their MACs and the bound.
        method: how it is searched.
        train, val: the images to train on and to judge on.
    """

    config: RunConfig
    project: SearchConfig
    problem: Problem
    space: BoundedSpace
    method: Method
    train: ImageSet
    val: ImageSet


def prepare(config: RunConfig) -> Search:
    """Check the configuration and read the images.

    Raises:
        InputError: as :func:`run`; nothing is written before all of it is right.
    """
    project = read_project(config.project, SearchConfig)
    check_search(config, project)
    source = build_source(config.data)
    problem = build_problem(config, class_names(source))
    space = problem.space(project.bound)
    method = build_method(config, project, space)
    train, val = split_images(decode(source, config.data.short_side), config, project)
    return Search(config, project, problem, space, method, train, val)


def build_method(config: RunConfig, project: SearchConfig, space: BoundedSpace) -> Method:
    """Return how ``space`` is searched. Raises InputError if ``project.method`` or the budget is wrong."""
    method: Method = build_target("project.method", project.method, space, project.budget, seed=config.seed)
    require_members("project.method", project.method, method, ("search",), "search method")
    return method


def split_images(images: ImageSet, config: RunConfig, project: SearchConfig) -> tuple[ImageSet, ImageSet]:
    """Return the images to train on and to judge on. Raises InputError if either are too few for BN."""
    parts = split(images, project.validation_share, config.seed)
    for part in parts:
        check_batches(len(part), config.search.batch_size)
    return parts


def claim_folder(config: RunConfig, folder: Path, free: Collection[str] = ()) -> None:
    """Claim the folder of a run, which a resumed run finds as it left it, but for project.jobs and keys in ``free``.

    Raises:
        InputError: it holds a run and ``resume`` was not asked for, or a run of another configuration.
    """
    own = _without(json.loads(json.dumps(identity(config))), {"project.jobs", *free})
    if config.resume and (folder / IDENTITY).exists():
        then = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
        check_identity(own, _without(then, free), folder)
    open_run_folder(config, folder, World(rank=0, size=1, device=torch.device("cpu")))
    write_text(folder / IDENTITY, json.dumps(own, indent=1) + "\n")


def check_claimed(config: RunConfig, folder: Path) -> None:
    """Raise InputError where the search in a folder was that of another configuration."""
    own = _without(json.loads(json.dumps(identity(config))), {"project.jobs"})
    if (folder / IDENTITY).exists():
        check_identity(own, json.loads((folder / IDENTITY).read_text(encoding="utf-8")), folder)


def describe(search: Search) -> str:
    """Return what is about to be searched, in one line."""
    space, budget = search.space, search.project.budget
    return (
        f"{type(search.method).__name__} over {len(space.type_macs)} blocks, networks of {space.cheapest / 1e6:.2f} to "
        f"{space.dearest / 1e6:.2f} M MACs, bound {space.bound / 1e6:.2f} M; {len(search.train):,} images to train on, "
        f"{len(search.val):,} to judge on, {len(search.problem.classes)} classes; {budget.total_epochs} epochs"
    )


def check_passes(search: Search, history: History) -> None:
    """Raise RuntimeError unless exactly T (P + Q E) passes over the training images were made (Section 3.3)."""
    expected = search.project.budget.total_epochs * len(search.train)
    if history.num_images != expected:
        raise RuntimeError(f"the search took {history.num_images:,} images instead of {expected:,}")


def write_found(search: Search, folder: Path, found: Found) -> None:
    """Write the network that was found: the architecture, its drawing and its weights."""
    architecture = search.problem.architecture(found.choices)
    macs = search.space.macs(found.choices)
    info = {
        "run": search.config.name,
        "seed": search.config.seed,
        "input": search.config.data.crop,
        "macs": macs,
        "bound": search.space.bound,
        "validation_top1": round(100 * found.accuracy, 2),
    }
    architecture.save(folder / ARCHITECTURE, info)
    draw_architecture(architecture, (folder / ARCHITECTURE).with_suffix(".svg"), title=f"{macs / 1e6:.2f} M MACs")
    save_weights(folder / WEIGHTS, read_weights(folder / found.weights))


def summary(search: Search, history: History, found: Found) -> dict[str, Any]:
    """Return what search.json holds: what was found, and what it took."""
    return {
        "method": type(search.method).__name__,
        "macs": search.space.macs(found.choices),
        "bound": search.space.bound,
        "validation_accuracy": found.accuracy,
        "types": [kind.name for kind in search.problem.architecture(found.choices).types],
        "epochs": history.epochs,
        "training_images": len(search.train),
        "image_passes": history.num_images,
        "validation_passes": history.num_val_images,
        "training_seconds": round(history.seconds, 1),
    }


def _without(keys: dict[str, Any], free: Collection[str]) -> dict[str, Any]:
    """Return the keys that are neither in ``free`` nor below one that is."""
    return {key: value for key, value in keys.items() if not any(f"{key}.".startswith(f"{one}.") for one in free)}
