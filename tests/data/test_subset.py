from __future__ import annotations

from fbnetv5.base.types import LABEL
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.subset import Subset


def test_a_subset_holds_the_images_of_its_rows_in_their_order() -> None:
    source = ShapesSource(6, 32, seed=0)
    subset = Subset(source, [4, 1])
    assert len(subset) == 2
    assert [subset.load(index).name for index in range(2)] == ["shapes/4", "shapes/1"]
    assert subset.load(0, ["label"]).target.keys() == {"label"}
    assert subset.classes == source.classes
    assert Subset(subset, [1]).load(0).name == "shapes/1"


def test_labelled_images_are_counted_by_their_positions_in_the_subset(tmp_path) -> None:
    rows = [{"path": str(i), "label": None if i in (0, 3) else 0} for i in range(6)]
    source = IndexSource(Index.from_rows(rows, [LABEL], {"label": ["x"]}, "test"), tmp_path)
    assert source.labelled("label") == [1, 2, 4, 5]
    subset = Subset(source, [5, 3, 0, 1])
    assert subset.labelled("label") == [0, 3]
    assert subset.num_labelled("label") == 2
    assert subset.labelled("boxes") == []
    assert len(Subset(source, [])) == 0
