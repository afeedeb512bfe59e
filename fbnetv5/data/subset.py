"""Some of the images of a source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from fbnetv5.base.types import Sample, Source


class Subset:
    """The images of ``source`` at the positions ``rows``, in that order (a ``Source``)."""

    def __init__(self, source: Source, rows: Sequence[int]) -> None:
        self.source = source
        self.rows = np.asarray(rows, np.int64)  # compact, because each data loader process holds a copy

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The class names of each target that has classes."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self.rows)

    def labelled(self, name: str) -> Sequence[int]:
        """The positions of the images that have the target ``name``, ascending."""
        wanted = np.asarray(self.source.labelled(name), np.int64)
        return np.flatnonzero(np.isin(self.rows, wanted)).tolist()

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""
        return len(self.labelled(name))

    def load(self, index: int, names: Collection[str] | None = None) -> Sample:
        """Read image ``index`` and those of its targets that ``names`` holds (all by default)."""
        return self.source.load(int(self.rows[index]), names)
