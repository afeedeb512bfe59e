"""Where the first weights of a network came from, and under which licence: it travels with the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from fbnetv5.base.paths import is_uri


@dataclass(frozen=True)
class Origin:
    """The source of first weights.

    Attributes:
        weights: what they are, in words, such as "timm's pretrained efficientnet_lite0".
        license: the licence that their source states, such as apache-2.0; None where it states none.
    """

    weights: str
    license: str | None = None

    @classmethod
    def of_file(cls, place: str) -> Origin:
        """Return the origin of weights that say nothing of it: their URI, or file and folder without what is above."""
        return cls(place if is_uri(place) else "/".join(PurePath(place).parts[-2:]))
