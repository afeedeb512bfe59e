"""Tasks of a search: a kind of target, and a head that turns features into a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from torch import Tensor, nn

from fbnetv5.base.types import Features, Size, Target, TargetDict


class Task(Protocol):
    """A task. A new one is such a class in a file of its own, and an entry under ``tasks`` in a config."""

    path: int
    """The path whose feature the search head reads (0..3, strides 4, 8, 16, 32)."""

    @property
    def target(self) -> Target:
        """The entry of the target dict that the task learns from, and its kind."""

    def search_head(self, channels: Sequence[int], classes: tuple[str, ...]) -> nn.Module:
        """Build the light head that the supernet is searched with.

        ``head(features, image_size, targets)`` gets ``features[path]`` [n, channels[path], h, w] of n images, their
        common (height, width) in pixels, and n target dicts that all hold the task's target. It returns the loss, a
        scalar: the mean over those images. Architectures are compared by it too, unless the head is a
        :class:`ScoredHead`.
        """


class ScoredHead(Protocol):
    """A search head by whose loss architectures are not compared, but by a score."""

    def score(self, features: Features, image_size: Size, targets: list[TargetDict]) -> Tensor:
        """Return the score of the architecture that gave ``features``, a scalar; lower is better.

        It leaves the statistics of batch normalisation as they are, and can be differentiated by the features: search
        methods with gates do. Its random draws, from torch's global generators, are the same for all architectures that
        see the same images. The arguments are those of the head's call.
        """


def has_score(head: object) -> TypeGuard[ScoredHead]:
    """Whether a head is a :class:`ScoredHead`: its class has the method; a layer of that name is none."""
    return callable(getattr(type(head), "score", None))
