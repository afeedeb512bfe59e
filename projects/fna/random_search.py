"""Random search and random sampling at matched cost, to compare the differentiable search with (FNA++, Sec. 5.5)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.base.weights import save_weights
from fbnetv5.config.identity import check_identity, identity
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.loader import build_eval_loader
from fbnetv5.engine.evaluate import evaluate
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.engine.trainer import train
from fbnetv5.jobs.train import Training, build_training
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.methods import Found
from fbnetv5.projects.fna.network import architecture_cost, network_entry
from fbnetv5.projects.fna.problem import SearchProblem
from fbnetv5.projects.fna.relaxation import cost_table
from fbnetv5.projects.fna.seeds import seed_architecture

NUM_DRAWN = 1_000_000  # architectures that are drawn at most, to find those of the cost that is asked for
CHUNK = 10_000
RESULT = "result.json"


class RandomSampling:
    """One architecture, drawn evenly among those whose cost matches another's; nothing is trained.

    Args:
        match: architecture file whose MACs are matched, without the head; null: the seed's own.
        tolerance: by how much of it the MACs may differ.

    Raises:
        InputError: an option is out of its range.
    """

    def __init__(self, *, match: str | None = None, tolerance: float = 0.02) -> None:
        if tolerance < 0:
            raise InputError(f"project.method.tolerance={tolerance} is too small: at least 0")
        self.match = match
        self.tolerance = tolerance

    def find(self, problem: SearchProblem, folder: Path) -> Found:
        """Draw an architecture; the run's seed decides which. Raises InputError where none is found."""
        (choices,) = sample_matched(problem, 1, self.target_macs(problem), self.tolerance)
        open_run_folder(problem.config, folder, problem.world)
        return Found(choices)

    def target_macs(self, problem: SearchProblem) -> int:
        """Return the MACs to match, of a network without its head at the run's size and output stride."""
        architecture = seed_architecture(problem.options.seed) if self.match is None else Architecture.load(self.match)
        return architecture_cost(architecture, problem.size, problem.output_stride).macs


class RandomSearch(RandomSampling):
    """The best of several architectures of matched cost, each trained for a short while.

    Weights learn from the split that is theirs, and the other split judges, as in the differentiable search.

    Args:
        num_architectures: that are drawn.
        epochs: that each is trained for, on the images of its split.
        match, tolerance: as for :class:`RandomSampling`.

    Raises:
        InputError: an option is out of its range.
    """

    def __init__(
        self, *, num_architectures: int = 24, epochs: float = 1.0, match: str | None = None, tolerance: float = 0.02
    ) -> None:
        super().__init__(match=match, tolerance=tolerance)
        if num_architectures < 1 or epochs <= 0:
            raise InputError(
                f"project.method.num_architectures={num_architectures} and epochs={epochs}: at least 1, and above 0"
            )
        self.num_architectures = num_architectures
        self.epochs = epochs

    def find(self, problem: SearchProblem, folder: Path) -> Found:
        """Train and rate the architectures, those that are not rated yet, below ``candidates/``; return the best.

        Raises:
            InputError: there are not enough architectures of the cost, or a training fails.
        """
        drawn = sample_matched(problem, self.num_architectures, self.target_macs(problem), self.tolerance)
        open_run_folder(problem.config, folder, problem.world)
        scores = [
            self.rate(problem, choices, folder / "candidates" / f"{number:02d}") for number, choices in enumerate(drawn)
        ]
        best = max(range(len(scores)), key=lambda number: scores[number])
        return Found(drawn[best], {"score": scores[best], "scores": scores})

    def rate(self, problem: SearchProblem, choices: tuple[int, ...], folder: Path) -> float:
        """Train one architecture from the remapped seed, and return its main metric on the architecture's split.

        Raises:
            InputError: the folder holds the result of another architecture or configuration, or the training fails.
        """
        searched_with = identity(problem.config)
        done = _read_result(folder / RESULT)
        if done is not None:
            check_identity(searched_with, done.get("identity", {}), folder)
            if tuple(done["choices"]) != choices:
                raise InputError(f"{folder} is of another architecture: delete it, or choose another output folder")
            return float(done["score"])
        config = self._training_config(problem, choices, folder)
        training = replace(build_training(config, problem.world), source=problem.splits.weights, val_source=None)
        train(training, folder)
        name, score = rate_model(training, problem)
        if problem.world.is_main:
            record = {"choices": list(choices), "macs": problem.macs(choices), "metric": name, "score": score}
            write_text(folder / RESULT, json.dumps(record | {"identity": searched_with}) + "\n")
            print(f"{folder.name}: {name} {score:.4f} at {problem.macs(choices) / 1e6:,.1f} M MACs", flush=True)
        problem.world.barrier()
        return score

    def _training_config(self, problem: SearchProblem, choices: tuple[int, ...], folder: Path) -> RunConfig:
        """Return the configuration of a candidate's training, whose first weights are written to ``folder``."""
        architecture = problem.space.decode(choices)
        weights = problem.first_weights(architecture)
        file = folder / "start.safetensors"
        if weights is not None and problem.world.is_main:
            named = {f"network.{name}": tensor for name, tensor in weights.items()}
            save_weights(file, named, problem.normalisation)
        problem.world.barrier()
        network = network_entry(architecture, problem.output_stride)
        model = replace(problem.config.model, network=network, weights=str(file) if weights is not None else None)
        return replace(
            problem.config,
            job="train",
            resume=True,
            output=str(folder),
            model=model,
            train=replace(problem.config.train, steps=None, epochs=self.epochs),
        )


def sample_matched(problem: SearchProblem, count: int, macs: float, tolerance: float) -> list[tuple[int, ...]]:
    """Draw different architectures, evenly over choices, whose MACs are ``macs`` but for ``tolerance`` times that.

    Raises:
        InputError: too few are found; the message says which MACs the space has.
    """
    table = cost_table(problem.costs)
    num_options = torch.tensor([len(row) for row in problem.costs])
    rng = generator(problem.config.seed, Purpose.ARCHITECTURES)
    found: dict[Architecture, tuple[int, ...]] = {}  # a layer that is skipped has several places, of one network
    for _ in range(NUM_DRAWN // CHUNK):
        uniform = torch.rand(CHUNK, len(num_options), generator=rng, dtype=torch.float64)
        drawn = (uniform * num_options).long()  # [CHUNK, B]
        costs = table[torch.arange(len(num_options)), drawn].sum(dim=1) + problem.fixed_cost
        fitting = drawn[(costs - macs).abs() <= tolerance * macs]
        for choices in map(tuple, fitting.tolist()):
            found.setdefault(problem.space.decode(choices), choices)
            if len(found) == count:
                return list(found.values())
    least, most = (problem.fixed_cost + sum(pick(row) for row in problem.costs) for pick in (min, max))
    raise InputError(
        f"{len(found)} of {NUM_DRAWN:,} random architectures of {problem.space.name} have {macs / 1e6:,.1f} M MACs, "
        f"and {count} are wanted; the space has {least / 1e6:,.1f} to {most / 1e6:,.1f} M: raise "
        "project.method.tolerance, or match another architecture"
    )


def rate_model(training: Training, problem: SearchProblem) -> tuple[str, float]:
    """Return the main metric, and its value for a trained model on the architecture's split."""
    model, config, world = training.averaged, problem.config, problem.world
    world.average_buffers(model)
    evaluator = build_evaluator(problem.target, problem.classes)
    judged = problem.splits.architecture
    batches = build_eval_loader(
        judged,
        [problem.target],
        model.spec.input,
        world,
        batch_size=config.evaluate.batch_size,
        workers=config.runtime.workers,
        undecodable=config.data.undecodable,
    )
    metrics = evaluate(model, batches, world, num_images=len(judged), evaluator=evaluator)
    return evaluator.main_metric, metrics[evaluator.main_metric]


def _read_result(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is damaged: delete it, and its architecture is rated again") from error
    return result
