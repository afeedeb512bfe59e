"""The two splits of the training images that a search alternates between (FNA++, Sec. 3.2.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, generator
from fbnetv5.base.types import Source
from fbnetv5.data.subset import Subset


class Splits(NamedTuple):
    """Disjoint images: those that the weights learn from, and those that the architecture does."""

    weights: Subset
    architecture: Subset


def split_source(source: Source, target_name: str, share: float, seed: int) -> Splits:
    """Split the images that are labelled for a target at random; the same seed gives the same splits.

    Args:
        source: the training images.
        target_name: of the target, such as ``segmentation``.
        share: of the images, above 0 and below 1, that the architecture learns from.
        seed: of the run.

    Raises:
        InputError: the share leaves one of the splits without an image.
    """
    labelled = torch.as_tensor(list(source.labelled(target_name)), dtype=torch.int64)
    count = round(share * len(labelled))
    if not 0 < count < len(labelled):
        raise InputError(
            f"project.architecture_share={share} of {len(labelled)} images labelled with '{target_name}' leaves one of "
            "the two splits empty: choose a share between 0 and 1, or give more images"
        )
    order = labelled[torch.randperm(len(labelled), generator=generator(seed, Purpose.SPLIT))]
    rows = (order[count:].sort().values.tolist(), order[:count].sort().values.tolist())
    return Splits(Subset(source, rows[0]), Subset(source, rows[1]))
