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
    def of(cls, source: str, license: str | None = None) -> Origin:
        """Return the origin that a source has: words, a URI, or a path, of which file and folder stay, not the rest."""
        return cls(source if is_uri(source) else "/".join(PurePath(source).parts[-2:]), license)
