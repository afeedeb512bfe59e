"""The names of metrics: ``metric``, ``metric/class``, and of several tasks ``task/metric`` and ``task/metric/class``.

Which of these a name is, its neighbours tell: every task has a ``num_images``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NUM_IMAGES = "num_images"


class MetricName(NamedTuple):
    """The parts of a name; ``task`` and ``of_class`` are empty where it has none."""

    task: str
    metric: str
    of_class: str

    @property
    def column(self) -> str:
        """The name without that of the class."""
        return f"{self.task}/{self.metric}" if self.task else self.metric


def split_names(names: Iterable[str]) -> dict[str, MetricName]:
    """Return the parts of each name."""
    listed = list(names)
    tasks = {name.removesuffix(f"/{NUM_IMAGES}") for name in listed if name.endswith(f"/{NUM_IMAGES}")}
    found = {}
    for name in listed:
        task, _, rest = name.partition("/")
        task, rest = (task, rest) if task in tasks else ("", name)
        metric, _, of_class = rest.partition("/")
        found[name] = MetricName(task, metric, of_class)
    return found


def overall(names: Iterable[str]) -> list[str]:
    """Return the names of metrics over all classes, in their order, without the number of images."""
    parts = split_names(names)
    return [name for name, part in parts.items() if not part.of_class and part.metric != NUM_IMAGES]
