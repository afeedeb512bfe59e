"""What a last look has seen: scores of architectures on the images of both rounds, for the tasks that want them.

Shapes: T tasks, M architectures, B slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from fbnetv5.search.last_look import Choices

ScoreOf = Callable[[Tensor, int, Tensor], Tensor]
"""Of choices int64 [M, B] on the images of the first (0) or second (1) round: float64 [T, M], lower is better.

What no task wants, as bool [T, M] says, may be anything.
"""


class Seen:
    """Scores by task and architecture, float64 [2] for the two rounds, each asked for once.

    Args:
        score: see :data:`ScoreOf`.
        num_tasks: T.
    """

    def __init__(self, score: ScoreOf, num_tasks: int) -> None:
        self._score = score
        self._known: list[dict[Choices, Tensor]] = [{} for _ in range(num_tasks)]

    def ask(self, wanted: Sequence[Iterable[Choices]]) -> None:
        """Have the architectures that each task wants scored, as far as they are not known."""
        new = [[one for one in own if one not in known] for own, known in zip(wanted, self._known, strict=True)]
        every = list(dict.fromkeys(one for own in new for one in own))
        if not every:
            return
        wants = torch.tensor([[one in own for one in every] for own in map(set, new)])
        choices = torch.tensor(every)
        found = torch.stack([self._score(choices, which, wants) for which in (0, 1)], dim=-1)
        for task, known in enumerate(self._known):
            known |= {one: found[task, place] for place, one in enumerate(every) if wants[task, place]}

    def of(self, task: int) -> dict[Choices, Tensor]:
        """Return the scores that are known for a task."""
        return dict(self._known[task])
