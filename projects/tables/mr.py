"""NAS-Bench-MR: 2,507 multi-resolution networks, a sample of their space, as a space of fourteen slots.

A stage has a number of modules, and blocks and channels for each of its branches. The branches of a stage choose alike,
and every slot has a low and a high option, so that all 16,384 architectures can be scored: the best is known for sure,
and the space is one of yes and no, as that of topologies.
"""

from __future__ import annotations

import re

import numpy as np

from fbnetv5.projects.tables.landscape import Landscape, every_choice
from fbnetv5.projects.tables.published import NUM_MR_COLUMNS, Array, read_table
from fbnetv5.projects.tables.surrogate import TASKS, Surrogate, read_scales

OPTIONS = {"in_channels": (16, 64), "modules": (1, 4), "blocks": (1, 4), "channels": (32, 128)}


def mr_landscape() -> Landscape:
    """Build the landscape of three tasks: the surrogate's score, or the table's where it has the network."""
    table = read_table("nas_bench_mr")
    columns = table.columns[:NUM_MR_COLUMNS]
    slots = list(dict.fromkeys(slot_of(column) for column in columns))
    choices = every_choice((2,) * len(slots))
    networks = np.empty((len(choices), NUM_MR_COLUMNS))
    for number, column in enumerate(columns):
        slot = slot_of(column)
        networks[:, number] = np.array(_options(slot))[choices[:, slots.index(slot)]]
    trained = table.values[:, :NUM_MR_COLUMNS]
    values = np.stack([_score(trained, table.of(task)[:, 0], task, networks) for task in TASKS])
    return Landscape((2,) * len(slots), tuple(slots), TASKS, values)


def slot_of(column: str) -> str:
    """Return the slot that decides a column: that of its stage without the branch."""
    return re.sub(r"^(in_channels|s\d_blocks|s\d_channels)_\d$", r"\1", column)


def _options(slot: str) -> tuple[int, int]:
    return next(options for kind, options in OPTIONS.items() if slot.endswith(kind))


def _score(trained: Array, scores: Array, task: str, networks: Array) -> Array:
    predicted = Surrogate(trained, scores, read_scales(task))(networks)
    known = {row.tobytes(): score for row, score in zip(trained, scores, strict=True)}
    return np.array([known.get(row.tobytes(), score) for row, score in zip(networks, predicted, strict=True)])
