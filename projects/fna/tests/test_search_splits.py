"""The two splits of a search."""

from __future__ import annotations

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.projects.fna.splits import split_source

SOURCE = ShapesSource(40, 32, 0)


def test_splits_share_the_labelled_images():
    splits = split_source(SOURCE, "segmentation", 0.2, seed=1)
    weights, architecture = splits.weights.rows.tolist(), splits.architecture.rows.tolist()
    assert len(architecture) == 8
    assert sorted(weights + architecture) == list(SOURCE.labelled("segmentation"))
    assert weights == sorted(weights), "in the order of the source"


def test_the_seed_decides_alone():
    one, again, other = (split_source(SOURCE, "segmentation", 0.5, seed=seed) for seed in (1, 1, 2))
    assert one.weights.rows.tolist() == again.weights.rows.tolist() != other.weights.rows.tolist()


@pytest.mark.parametrize("share", [0.0, 1.0, 0.001])
def test_an_empty_split_is_refused(share):
    with pytest.raises(InputError, match=r"project.architecture_share"):
        split_source(SOURCE, "segmentation", share, seed=0)
