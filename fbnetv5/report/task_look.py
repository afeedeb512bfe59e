"""What the last look of a search says of a task's blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LAST_LOOK = "last_look.json"
NUM_ERRORS = 2.0  # a block whose worth is farther from zero is decided
AGREED = 0.5  # correlation of what was predicted with other images from which on they agree
SETTLED = 0.2  # share of the gain that may be left where a search is settled


@dataclass(frozen=True)
class TaskLook:
    """The worth of a task's blocks, in deviations of the score over all architectures; see ``jobs/last_look.py``.

    Attributes:
        worth: what selecting each block gains beside skipping it, cost included, stage by stage.
        errors: standard errors of it.
        gain: of the derived topology over the mean one.
        shortfall: what other choices would gain, by the errors.
        agreement: correlation of predicted scores with those on other images.
        left_out_r2: share of the variance of scores that is predicted of architectures left out.
        num_candidates: architectures that were scored.
    """

    worth: tuple[float, ...]
    errors: tuple[float, ...]
    gain: float
    shortfall: float
    agreement: float
    left_out_r2: float
    num_candidates: int

    @property
    def decided(self) -> list[bool]:
        """Whether each block's worth can be told from zero; a block of which it cannot is free, not open."""
        return [abs(worth) > NUM_ERRORS * error for worth, error in zip(self.worth, self.errors, strict=True)]

    @property
    def num_decided(self) -> int:
        """Blocks that are better selected, or better skipped."""
        return sum(self.decided)

    @property
    def num_free(self) -> int:
        """Blocks that make no difference that could be seen."""
        return len(self.worth) - self.num_decided

    @property
    def verdict(self) -> str:
        """One word: settled if other images agree and by the errors other choices gain little more, else open."""
        return "settled" if self.agreement >= AGREED and self.shortfall <= SETTLED * self.gain else "open"


def read_looks(document: Mapping[str, Any]) -> dict[str, TaskLook]:
    """Return the looks that last_look.json holds, by task; what is damaged is left out."""
    tasks, found = document.get("tasks"), {}
    for task, entry in tasks.items() if isinstance(tasks, Mapping) else ():
        try:
            numbers = [float(entry[key]) for key in ("gain", "shortfall", "agreement", "left_out_r2")]
            worth, errors = (tuple(map(float, entry[key])) for key in ("worth", "error"))
            count = len(entry["scores"])
        except (KeyError, TypeError, ValueError):
            continue
        if len(worth) == len(errors) and all(map(math.isfinite, (*numbers, *worth, *errors))):
            gain, shortfall, agreement, left_out_r2 = numbers
            found[str(task)] = TaskLook(worth, errors, gain, shortfall, agreement, left_out_r2, count)
    return found
