"""A source that keeps its images in memory: for many short trainings of small images, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fbnetv5.base.types import Sample, Source


class KeptSource:
    """The images of ``source``, each loaded once with all its targets (a ``Source``)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._samples: dict[int, Sample] = {}

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The class names of each target that has classes."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def load(self, index: int, names: Collection[str] | None = None) -> Sample:
        """Return image ``index`` and those of its targets that ``names`` holds (all by default); all share its tensors.

        Raises:
            InputError: as the source.
        """
        if index not in self._samples:
            self._samples[index] = self.source.load(index)
        kept = self._samples[index]
        wanted = {name: value for name, value in kept.target.items() if names is None or name in names}
        return Sample(kept.image, wanted, kept.name)

    def labelled(self, name: str) -> Sequence[int]:
        """The positions of the images that have the target ``name``, ascending."""
        return self.source.labelled(name)

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""
        return self.source.num_labelled(name)
