"""Search methods behind one protocol; FBNetV5's algorithm 4, and sampling without learning.

An iteration asks the method three things, in this order: which architectures to run (:meth:`draw`), how much each
task's loss counts on each of them (:meth:`loss_weights`), and to learn from the losses that came out (:meth:`update`).
All processes ask the same questions with the same gathered tensors and get the same bits. Algorithms 1 to 3, which
learn from derivatives as well, are in ``differentiable.py``.

Shapes: T tasks, N architectures of an iteration, B slots, O options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.search.distribution import ArchitectureDistribution
from fbnetv5.search.estimators import LossHistory, importance_weights, reinforce_gradient, weighted_mean
from fbnetv5.search.groups import disarm_gradient, draw_pairs, log_pair_probability, mean_of_others, pair_weights
from fbnetv5.search.space import CostTerm, SearchSpace


@dataclass(frozen=True)
class Draw:
    """The architectures of an iteration. How they are given decides how many passes a sample takes (Table 1).

    Attributes:
        choices: int64, [N, B] where the tasks share an architecture, and its forward pass; [T, N, B] where each task
            has its own.
        gates: float64 [T, N, B, O], how much of each option counts for a task, in the place of ``choices``: a leaf
            that takes a gradient. Each task then has a backward pass of its own, and its losses that are given to
            :meth:`SearchAlgorithm.update` carry their gradient with respect to them. None for methods that need the
            losses' values only, and one backward pass.
    """

    choices: Tensor
    gates: Tensor | None = None

    @property
    def shared(self) -> bool:
        """Whether all tasks run the same architectures."""
        return self.choices.ndim == 2


class SearchAlgorithm(Protocol):
    """A search method, built as ``Method(space, num_tasks=T, num_samples=N, seed=seed, **options)``.

    A method that takes ``group`` is given how many neighbours among the N see the same images as well.

    Draws are keyed by (seed, step, sample), see ``fbnetv5.base.seeding``, so that all processes and resumed runs agree.
    """

    distribution: ArchitectureDistribution
    """The tasks' probabilities: recorded, compared between processes, and what the topologies are derived from."""

    cost_term: CostTerm
    """What cost adds to a score; ``CostTerm()`` where it adds nothing."""

    def draw(self, step: int) -> Draw:
        """Return the N architectures to run at this step, or N for each task."""

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return w [T, N]: the loss to minimise is sum_t sum_i w_ti l_t(a_i). Needs the label counts [T, N] only."""

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Learn from the losses [T, N] of a draw, ignored where nothing is labelled; lr 0 only observes."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""


class MultitaskReinforce:
    """FBNetV5's algorithm 4: importance sampling from a shared proxy, REINFORCE for every task's distribution.

    ``draws`` and ``baseline`` say how the N architectures of an iteration are drawn and what a score is compared with.
    By default they and ``deviation`` are what is best of what ``group`` allows:

    ===========  ========  ==============================================================================
    draws        baseline
    ===========  ========  ==============================================================================
    independent  weighted  the importance-weighted mean of the iteration; needs N >= 2
    independent  others    the unweighted mean of the others of its group (leave-one-out); needs groups
    independent  history   the paper's mean over the last ``window`` iterations
    pairs        any       its antithetic partner (DisARM), whose choices mirror its own; needs groups
    ===========  ========  ==============================================================================

    Args:
        space: what is searched.
        num_tasks: T.
        num_samples: N, architectures an iteration over all processes.
        group: neighbours among them that see the same images.
        seed: of the draws, which are keyed by (seed, step, sample or pair).
        draws: ``independent``, ``pairs``, or ``auto``: pairs where groups are even and slots have two options.
        baseline: ``weighted``, ``others``, ``history``, or ``auto``: others where there are groups, else weighted.
        deviation: what a score's deviation is that it is divided by: ``all`` scores of the last ``window`` iterations,
            as in the paper, that ``within`` groups, of the architectures alone, or ``auto``: within where there are.
        cost_weight: lambda, the weight of the cost term beside the normalised score.
        cost_target: share of the dearest architecture's cost up to which cost is free.
        window: iterations over which a task's score is normalised.

    Raises:
        InputError: an option is none that there is, or needs groups or samples that there are not.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        num_tasks: int,
        num_samples: int,
        seed: int,
        group: int = 1,
        draws: Literal["auto", "independent", "pairs"] = "auto",
        baseline: Literal["auto", "weighted", "others", "history"] = "auto",
        deviation: Literal["auto", "all", "within"] = "auto",
        cost_weight: float = 1.0,
        cost_target: float = 0.5,
        window: int = 200,
    ) -> None:
        chosen_draws, chosen_baseline = _settled(space, group, draws, baseline)
        chosen_deviation = deviation if deviation != "auto" else "within" if group > 1 else "all"
        _check_comparison(space, num_samples, group, chosen_draws, chosen_baseline, chosen_deviation)
        check_options(cost_weight, window)
        self.space = space
        self.num_samples = num_samples
        self.group = group
        self.seed = seed
        self.draws = chosen_draws
        self.baseline = chosen_baseline
        self.deviation = chosen_deviation
        self.cost_term = CostTerm(cost_weight, cost_target)
        self.distribution = ArchitectureDistribution(num_tasks, space.num_options)
        self.history = LossHistory(num_tasks, window)

    def draw(self, step: int) -> Draw:
        """Draw N architectures from q; a draw depends on (seed, step, sample or pair) and the logits alone."""
        if self.draws == "pairs":
            return Draw(draw_pairs(self.distribution, self.num_samples // 2, self.seed, step))
        return Draw(draw_proxy(self.distribution, self.num_samples, self.seed, step))

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return the self-normalised importance weights, [T, N]."""
        return importance_weights(self.distribution.log_ratio(draw.choices), num_labelled)

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Step the logits down the gradient of the normalised score plus the cost term."""
        costs = self.cost_term.of(self.space, draw.choices)  # [N]
        self.history.add(losses, num_labelled > 0, costs)
        if lr == 0:
            return
        scale = self.history.scale(self.group if self.deviation == "within" else None)[:, None]
        probabilities = self.distribution.probabilities()
        if self.draws == "pairs":
            weights = pair_weights(log_pair_probability(probabilities, draw.choices), num_labelled[:, 0::2])
            scores = losses.masked_fill(num_labelled == 0, 0.0) * scale + costs
            gradient = disarm_gradient(weights, scores, draw.choices, probabilities)
        else:
            weights = self.loss_weights(draw, num_labelled)
            costs = costs.expand_as(losses)
            advantages = (losses - self._baseline(weights, losses, self.history.mean)) * scale
            advantages += costs - self._baseline(weights, costs, self.history.mean_cost)
            gradient = reinforce_gradient(weights, advantages, draw.choices, probabilities)
        enough = self.history.num_samples() >= 2  # [T]
        self.distribution.descend(gradient * enough[:, None, None], lr)

    def _baseline(self, weights: Tensor, values: Tensor, mean: Callable[[], Tensor]) -> Tensor:
        """Return what values [T, N] are compared with; ``mean`` is that of the last iterations, [T] or one for all."""
        if self.baseline == "weighted":
            return weighted_mean(weights, values)[:, None]
        if self.baseline == "others":
            return mean_of_others(values, self.group)
        return mean().expand(len(values))[:, None]

    def state_dict(self) -> dict[str, Any]:
        """Return the logits and the history of scores."""
        return {"logits": self.distribution.logits, "history": self.history.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state; see :meth:`state_dict`."""
        self.distribution.logits = state["logits"]
        self.history.load_state_dict(state["history"])


def _settled(space: SearchSpace, group: int, draws: str, baseline: str) -> tuple[str, str]:
    """Return draws and baseline, ``auto`` replaced."""
    if draws == "auto":
        draws = "pairs" if group % 2 == 0 and set(space.num_options) == {2} else "independent"
    if baseline == "auto":
        baseline = "others" if group > 1 else "weighted"
    return draws, baseline


def _check_comparison(
    space: SearchSpace, num_samples: int, group: int, draws: str, baseline: str, deviation: str
) -> None:
    """Raise InputError for an option that is none, or that needs what there is not."""
    for name, value, choices in (
        ("draws", draws, ("independent", "pairs")),
        ("baseline", baseline, ("weighted", "others", "history")),
        ("deviation", deviation, ("all", "within")),
    ):
        if value not in choices:
            raise InputError(f"search.algorithm.{name}={value} is none of {', '.join(choices)}")
    if draws == "independent" and baseline == "weighted" and num_samples < 2:
        raise InputError(
            "baseline=weighted compares the samples of an iteration and needs at least 2, got 1; "
            "raise search.num_samples or set search.algorithm.baseline=history"
        )
    if draws == "pairs" and group % 2:
        raise InputError(f"search.algorithm.draws=pairs compares two on the same images: search.group={group} is odd")
    if draws == "pairs" and set(space.num_options) != {2}:
        raise InputError("search.algorithm.draws=pairs is for spaces of two options a slot; set draws=independent")
    if group < 2 and draws == "independent" and baseline == "others":
        raise InputError("search.algorithm.baseline=others compares architectures of a group: raise search.group")
    if group < 2 and deviation == "within":
        raise InputError("search.algorithm.deviation=within is that within groups: raise search.group")


class RandomSampling:
    """Architectures drawn with all options equally likely, for ever: pretraining, and the random-search baseline."""

    def __init__(self, space: SearchSpace, *, num_tasks: int, num_samples: int, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.cost_term = CostTerm()
        self.distribution = ArchitectureDistribution(num_tasks, space.num_options)

    def draw(self, step: int) -> Draw:
        """Draw N architectures uniformly."""
        rngs = [generator(self.seed, Purpose.ARCHITECTURES, step, sample) for sample in range(self.num_samples)]
        return Draw(self.distribution.sample_tasks([0] * self.num_samples, rngs))

    def loss_weights(self, draw: Draw, num_labelled: Tensor) -> Tensor:
        """Return the share of a task's labelled images that each sample holds, [T, N]."""
        return importance_weights(self.distribution.log_ratio(draw.choices), num_labelled)

    def update(self, draw: Draw, losses: Tensor, num_labelled: Tensor, lr: float) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing."""


def draw_proxy(distribution: ArchitectureDistribution, num_samples: int, seed: int, step: int) -> Tensor:
    """Draw architectures from q, int64 [N, B], keyed by (seed, step, sample)."""
    rngs = [generator(seed, Purpose.ARCHITECTURES, step, sample) for sample in range(num_samples)]
    return distribution.sample_proxies(rngs)


def check_options(cost_weight: float, window: int) -> None:
    """Raise InputError for a negative weight of the cost term, or an empty window."""
    if cost_weight < 0 or window < 1:
        raise InputError(f"search.algorithm: cost_weight={cost_weight} or window={window} is too small")
