"""The best topologies that a finished search knows, at given MACs: by the regression of its last look.

Topologies are compared as the final head sees them, like those of the table of truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.projects.table5.sample import Sampled, Window, sampled_of, topologies_in
from fbnetv5.report.task_look import LAST_LOOK
from fbnetv5.search.last_look import clip_worst
from fbnetv5.search.regression import Worth, fit_worth


def worth_of(search: Path, task: str) -> Worth:
    """Return what the last look of a search says of a task's blocks.

    Raises:
        InputError: the search took none, or its file is damaged.
    """
    document = read_json(search / LAST_LOOK)
    try:
        candidates = torch.tensor([[int(bit) for bit in one] for one in document["candidates"]])
        scores = torch.tensor(document["tasks"][task]["scores"], dtype=torch.float64)
        return fit_worth(candidates, clip_worst(scores), (2,) * candidates.shape[1])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{search / LAST_LOOK} has no scores of '{task}': set search.last_look.candidates") from error


def best_in(worth: Worth, paths: Sequence[int], window: Window, count: int, *key: int) -> list[Sampled]:
    """Return the topologies in a window of MACs that are best by prediction, the best first.

    Args:
        worth: of the blocks.
        paths: that the head of the final network reads.
        window: of the MACs.
        count: how many.
        key: of the draws in a space that is too large to be enumerated.

    Raises:
        InputError: no topology lies in the window.
    """
    seen = topologies_in([0.5] * len(worth.options), paths, window, *key)
    predicted = worth.predict(torch.from_numpy(seen.astype(np.int64)))
    best = seen[predicted.argsort(stable=True)[:count].numpy()]
    return sampled_of(best, paths, window)
