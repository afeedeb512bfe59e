"""The differentiable search of FNA++ (Sec. 3.2.2): weights alone at first, then weights and architecture in turn."""

from __future__ import annotations

from pathlib import Path

import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import WEIGHTS, save_weights
from fbnetv5.engine.optim import build_optimizer
from fbnetv5.engine.precision import WEIGHT_DTYPES
from fbnetv5.engine.trainer import count_steps, train
from fbnetv5.projects.fna.methods import Found
from fbnetv5.projects.fna.problem import SearchProblem
from fbnetv5.projects.fna.relaxation import ArchitectureParameters
from fbnetv5.projects.fna.search_run import Schedule, SearchRun


class Differentiable:
    """Differentiable search; the defaults are those that FNA++ prints for pose (Sec. 4.3).

    Args:
        cost_weight: lambda of eq. 8, in units of the head's loss. The default is the printed 3e-5 times 652, what our
            loss of heatmaps is to SimpleBaseline's.
        lr, betas, weight_decay: of Adam on the architecture parameters.
        clip_norm: the norm that their gradient is clipped to, if any.
        weights_first: share of the iterations in which the weights learn alone.
        weight_steps: iterations of the weights for each of the architecture.

    Raises:
        InputError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        cost_weight: float = 0.0196,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        weights_first: float = 0.5,
        weight_steps: int = 1,
    ) -> None:
        for name, value in (("cost_weight", cost_weight), ("lr", lr), ("weight_decay", weight_decay)):
            if value < 0:
                raise InputError(f"project.method.{name}={value} is too small: at least 0")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise InputError(f"project.method.betas={list(betas)} should be two numbers from 0 to below 1")
        if clip_norm is not None and clip_norm <= 0:
            raise InputError(f"project.method.clip_norm={clip_norm} should be above 0, or null: gradients as they are")
        if not 0 <= weights_first < 1:
            raise InputError(
                f"project.method.weights_first={weights_first} is a share of the run, from 0 to below 1: after it the "
                "architecture learns"
            )
        if weight_steps < 1:
            raise InputError(f"project.method.weight_steps={weight_steps} is too small: at least 1")
        self.cost_weight = cost_weight
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.weights_first = weights_first
        self.weight_steps = weight_steps

    def find(self, problem: SearchProblem, folder: Path) -> Found:
        """Train the super network and the architecture parameters; the largest of each slot wins.

        Writes the log, checkpoints/ and model.safetensors, the super network with its head.

        Raises:
            InputError: as :func:`fbnetv5.engine.trainer.train`.
        """
        run = self.build(problem)
        train(run, folder)
        if problem.world.is_main:
            origin = problem.seed.first if problem.options.start == "seed" else None
            save_weights(folder / WEIGHTS, run.model.state_dict(), problem.normalisation, origin)
        return Found(run.alpha.most_likely(), {"expected_macs": round(run.alpha.expected_cost())})

    def build(self, problem: SearchProblem) -> SearchRun:
        """Build the super network, the architecture parameters and what moves them; all ranks build the same.

        Raises:
            InputError: space, seed, head and processes do not fit together.
        """
        config, world = problem.config, problem.world
        model = problem.build_model()
        model.to(device=world.device, dtype=WEIGHT_DTYPES[config.runtime.precision])
        model.to(memory_format=torch.channels_last)
        alpha = ArchitectureParameters(
            problem.costs,
            fixed_cost=problem.fixed_cost,
            cost_weight=self.cost_weight,
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )
        undecayed = {f"head.{name}" for name in model.head.no_weight_decay()}
        optimizer = build_optimizer(model, config.optimizer, undecayed)
        num_steps = count_steps(config.train, len(problem.splits.weights))
        schedule = Schedule(num_steps, round(self.weights_first * num_steps), self.weight_steps)
        if schedule.num_due(num_steps) == 0:
            raise InputError(
                f"the architecture never learns in {num_steps} iterations, of which project.method.weights_first="
                f"{self.weights_first} leaves too few; raise train.steps or lower it"
            )
        return SearchRun(problem, schedule, model, optimizer, alpha)
