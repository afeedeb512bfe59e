"""Runs of every job that take seconds, to be cut short or spread over processes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.projects.fna import spaces
from fbnetv5.projects.fna.tests.search_runs import DIFFERENTIABLE, TINY, search_config
from fbnetv5.projects.fpnas.tests import searches
from tests.jobs.partial import joint_training
from tests.jobs.people import pose_training
from tests.jobs.runs import ROOT, SHORT_TRAINING, arguments
from tests.labeling.photos import label_config, write_photos
from tests.processes import undrawn

SEARCH = (
    "search.steps=8",
    "search.batch_size=8",
    "search.num_samples=4",
    "data.shapes.num_images=32",
    "runtime.log_every=2",
    "runtime.checkpoint_every=3",
)
TRAIN = ("data.shapes.num_images=32", "data.shapes.num_val_images=6", *SHORT_TRAINING)
GUMBEL = "search.algorithm={_target_: fbnetv5.search.differentiable.TaskByTask, relaxation: gumbel_softmax}"
GATED = "search.algorithm={_target_: fbnetv5.search.differentiable.SharedForward}"
PAPER = ("search.group=1", "search.compare=loss", "search.arch_schedule=weights", "search.last_look.candidates=0")
Case = Callable[[Path], list[str]]  # a folder for what the run reads, to the arguments of the command line


def searching(*overrides: str) -> Case:
    """A search or a pretraining on the shapes."""
    return lambda folder: arguments(*SEARCH, *overrides)


def extending(folder: Path) -> list[str]:
    """Depth added to a search of two tasks that has come to its end."""
    base = arguments(*SEARCH, "tasks.det=null", "search.steps=2", f"output={folder / 'base'}")
    take(base)
    return arguments(*SEARCH, f"search.extend={folder / 'base'}", config="configs/search/shapes_add_depth.yaml")


def training(task: str) -> Case:
    """A training on the shapes."""
    own = ("model.head.num_proposals=[30,10]",) if task == "det" else ("data.crop=64",)
    return lambda folder: arguments(*TRAIN, *own, config=f"configs/train/{task}/shapes.yaml", tiny=False)


def training_pose(folder: Path) -> list[str]:
    """A training on people of three dots."""
    given = ("train.steps=8", "train.eval_every=4", "runtime.log_every=2", "runtime.checkpoint_every=3")
    return [*pose_training(folder / "data"), *given]


def training_jointly(folder: Path) -> list[str]:
    """A training of three tasks, whose losses are weighed by uncertainty, on images that are labelled for some."""
    return [*joint_training(folder / "data"), "train.task_weights=uncertainty"]


def labelling(folder: Path) -> list[str]:
    """Fourteen photos in shards of five."""
    return [f"--config={label_config(folder, write_photos(folder / 'photos'))}"]


def fna_search(folder: Path) -> list[str]:
    """FNA++'s search of a tiny space."""
    method = {"_target_": DIFFERENTIABLE, "lr": 0.1, "weights_first": 0.34}
    search_config(folder, "runtime.device=cpu", method=method)
    return [f"--config={folder / 'tiny.yaml'}", "train.steps=8", "runtime.checkpoint_every=3"]


def fna_adaptation(folder: Path) -> list[str]:
    """FNA++'s adaptation of what such a search has found."""
    take([*fna_search(folder), "train.steps=2"])
    keys = yaml.safe_load((folder / "tiny.yaml").read_text())
    keys |= {"job": "fbnetv5.projects.fna.adapt.run", "name": "adapted"}
    keys["project"] = {"search": str(folder / "search"), "calibration_steps": 1}
    (folder / "adapt.yaml").write_text(yaml.safe_dump(keys))
    given = ("train.steps=8", "train.eval_every=4", "evaluate.num_drawn=2", "runtime.checkpoint_every=3")
    return [f"--config={folder / 'adapt.yaml'}", *given]


def fpnas_search(folder: Path) -> list[str]:
    """FPNAS's search of three blocks, two iterations long."""
    return [f"--config={searches.CONFIG}", *searches.tiny_overrides(folder), "project.iterations=2"]


def take(given: Sequence[str]) -> None:
    """Do in this process what the command line does with these arguments, but draw nothing: it is half of the time."""
    spaces.SPACES["tiny"] = TINY
    config = given[0].removeprefix("--config=")
    with undrawn():
        run_job(load_config(ROOT / config, given[1:]))


def take_until(given: Sequence[str], pattern: str, count: int) -> None:
    """Do the same; die at once, as from SIGKILL, when a file of this pattern is opened for the ``count``-th time."""
    opened: list[str] = []

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(values[0], str) and re.search(pattern, values[0]):
            opened.append(values[0])
            if len(opened) == count:
                os._exit(9)

    sys.addaudithook(watch)
    take(given)


# these hold times or the name of the folder, and a process that dies leaves hidden files
UNLIKE = re.compile(r"tensorboard/|(^|/)\.|(report\.html|README\.md|config\.yaml|\.log)$")


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a run leaves, without times: the content of each file by its name."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: _content(path, folder) for name, path in names.items() if not UNLIKE.search(name)}


def _content(path: Path, folder: Path) -> Any:
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line), folder) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()), folder)
    if path.name == "state.pt":
        return _timeless(torch.load(path, weights_only=True), folder)
    return path.read_bytes()


def _timeless(value: Any, folder: Path) -> Any:
    """Return the same without seconds, the name of the folder, and whether it was resumed; small tensors as lists."""
    if isinstance(value, dict):
        return {k: _timeless(one, folder) for k, one in value.items() if "second" not in str(k) and k != "resume"}
    if isinstance(value, list | tuple):
        return [_timeless(one, folder) for one in value]
    if isinstance(value, torch.Tensor):
        return value.tolist() if value.numel() < 1000 else value.numpy().tobytes()
    return value.replace(str(folder), "") if isinstance(value, str) else value
