"""Metrics of several tasks, taken in one pass over images that are labelled for some of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import NothingToRateError
from fbnetv5.base.types import TargetDict
from fbnetv5.metrics.evaluator import Evaluator


class JointEvaluator:
    """An evaluator a task; each judges the images that are labelled for it.

    Args:
        evaluators: by task.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        self.evaluators = dict(evaluators)

    def update(
        self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[TargetDict], names: Sequence[str]
    ) -> None:
        """Add images, whose predictions are one a task; as :meth:`Evaluator.update`."""
        for task, evaluator in self.evaluators.items():
            evaluator.update([prediction[task] for prediction in predictions], targets, names)

    def compute(self, world: World) -> dict[str, float]:
        """Rate all images of all ranks, as :meth:`Evaluator.compute`; keys are ``<task>/<metric>`` of that.

        A task whose images have nothing that its metric counts is left out, and a line on stderr says so.

        Raises:
            NothingToRateError: that is all of them.
            InputError: as :meth:`Evaluator.compute`.
        """
        found: dict[str, float] = {}
        for task, evaluator in self.evaluators.items():
            try:
                found |= {f"{task}/{name}": value for name, value in evaluator.compute(world).items()}
            except NothingToRateError as error:
                if world.is_main:
                    print(f"{task} is not rated: {error}", file=sys.stderr)
        if not found:
            raise NothingToRateError("nothing to evaluate: no task's images have anything that its metric counts")
        return found
