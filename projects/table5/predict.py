"""What a searched supernet predicts of topologies: their scores on images that it held out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.types import Source
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_weights
from fbnetv5.config.read import load_config
from fbnetv5.config.write import path_override
from fbnetv5.data.subset import Subset
from fbnetv5.engine.world import world_of
from fbnetv5.jobs.judge import Judge, plain_batches
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.runs.inputs import inputs
from fbnetv5.tasks.multitask import MultitaskNet


@dataclass(frozen=True)
class Prediction:
    """The scores that are asked for: of topologies of one task, by the supernet of one search.

    Attributes:
        config, overrides: of the search, without its folder.
        search: its folder.
        task: whose head gives the score.
        topologies: their files, by name.
        result: the file to write.
    """

    config: Path
    overrides: tuple[str, ...]
    search: Path
    task: str
    topologies: tuple[tuple[str, Path], ...]
    result: Path

    @property
    def inputs(self) -> dict[str, Any]:
        """All that the scores depend on, as plain data."""
        weights = (self.search / WEIGHTS).stat()
        return {
            "topologies": [name for name, _ in self.topologies],
            "search": inputs(load_config(self.config, self.overrides)),
            "weights": [weights.st_size, weights.st_mtime_ns],
        }


def write_prediction(prediction: Prediction) -> None:
    """Predict scores and write them.

    Raises:
        InputError: as :func:`predict`.
    """
    scores = predict(prediction)
    write_text(prediction.result, json.dumps({"inputs": prediction.inputs, "scores": scores}, indent=2) + "\n")


def is_predicted(prediction: Prediction) -> bool:
    """Whether the scores of this very prediction have been written."""
    return (prediction.search / WEIGHTS).exists() and bool(
        read_json(prediction.result).get("inputs") == prediction.inputs
    )


def predict(prediction: Prediction) -> dict[str, float]:
    """Return the score of each topology as a sub-network of the supernet, on the same images; lower is better.

    The images are the training images that the search held out for its last look: trained networks are judged on
    validation images, and a score on the same ones would agree with theirs by what is special about these.

    Raises:
        InputError: the search has no weights, or held out no image that is labelled for the task.
    """
    folder, task = prediction.search, prediction.task
    config = load_config(prediction.config, (*prediction.overrides, path_override("output", folder)))
    with world_of(config.runtime) as world:
        run = build_run(config, world)
        load_by_name(run.model, read_weights(folder / WEIGHTS), optional=None, origin=folder / WEIGHTS)
        net = MultitaskNet(run.model.network, {task: run.model.tasks[task]}, {task: run.model.heads[task]})
        target = run.model.tasks[task].target
        images = _images(run, target.name)
        batches = plain_batches(config, images, [target], world, normalisation=run.model.normalisation)
        judge = Judge(net, batches, config)
        topologies = [Topology.load(file) for _, file in prediction.topologies]
        scores = [float(one) for one in judge.scores(topologies)]
    return {name: score for (name, _), score in zip(prediction.topologies, scores, strict=True)}


def _images(run: SupernetRun, target: str) -> Source:
    """Return the images that the run holds out and that are labelled for a target. Raises InputError without any."""
    source = run.held_out
    if source is None or source.num_labelled(target) == 0:
        raise InputError(f"no held-out image is labelled with '{target}': give search.last_look.candidates")
    return Subset(source, list(source.labelled(target)))
