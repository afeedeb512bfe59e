"""A family that is exported quickly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fbnetv5.archs.families import FAMILIES
from tests.export.models import HEADS

SHORT = replace(FAMILIES["NANO"], name="SHORT", partitions=tuple(layers[:-1] for layers in FAMILIES["NANO"].partitions))


@pytest.fixture(scope="module")
def short_family() -> Iterator[None]:
    """A family of half of NANO's layers, and three proposals: lowering takes a second a layer or proposal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "SHORT", SHORT)
        patch.setitem(HEADS, "det", HEADS["det"] | {"num_candidates": (60, 20), "num_proposals": (60, 3)})
        yield
