from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from fbnetv5.data import shapes_drawing
from fbnetv5.data.kept import KeptSource
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.shapes_drawing import SCENES, SURFACES, Shape, render
from fbnetv5.data.shapes_worlds import HOLLOW, SOLID, WORLDS

HARD = WORLDS["hard"]
BACKGROUND, OBJECT, WIRE = range(len(SURFACES))


def test_the_plain_world_stays_what_it_is() -> None:
    """Levels and labels are whole numbers; their digest is that of the data set's first version."""
    found = hashlib.sha256()
    for seed in range(20):
        picture = render(64, seed)
        for array in (picture.boxes.astype(np.int64), picture.kinds, picture.surface):
            found.update(np.ascontiguousarray(array).tobytes())
        found.update(bytes([picture.scene]))
        means = picture.image.mean((1, 2))
        found.update(means.round().astype(np.uint8).tobytes())
    assert found.hexdigest()[:16] == "6e1727230bfd34e7"


def test_the_hard_world_depends_on_seed_and_index_alone() -> None:
    forwards = [ShapesSource(6, 64, seed=2, world="hard").load(index) for index in range(6)]
    short = ShapesSource(2, 64, seed=2, first=3, world="hard")
    for index in (1, 0):
        sample, same = short.load(index), forwards[3 + index]
        assert torch.equal(sample.image, same.image)
        assert all(torch.equal(torch.as_tensor(sample.target[k]), torch.as_tensor(v)) for k, v in same.target.items())
    assert all(sample.target["label"] == len(sample.target["boxes"]) - 1 for sample in forwards)
    for other in (ShapesSource(6, 64, seed=3, world="hard"), ShapesSource(6, 64, seed=2)):
        assert not torch.equal(other.load(0).image, forwards[0].image)


def test_the_hard_world_has_all_its_classes_sizes_and_surfaces() -> None:
    pictures = [render(64, seed, HARD) for seed in range(200)]
    assert {picture.scene for picture in pictures} == set(range(len(SCENES)))
    assert {kind for picture in pictures for kind in picture.kinds} == set(range(len(HARD.objects)))
    assert {len(picture.boxes) for picture in pictures} == set(range(1, HARD.max_objects + 1))
    sides = [(box[2:] - box[:2]).max() / 64 for picture in pictures for box in picture.boxes]
    assert HARD.sizes[0] - 1 / 64 < min(sides) < HARD.sizes[0] + 0.05
    assert HARD.sizes[1] - 0.05 < max(sides) < HARD.sizes[1] + 1 / 32
    assert all(OBJECT in picture.surface and WIRE in picture.surface for picture in pictures)


def test_boxes_kinds_and_surfaces_of_the_hard_world_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_drawing, "_draw_wire", lambda *_, **__: None)
    for seed in range(60):
        picture = render(128, seed, HARD)
        covered = np.zeros((128, 128), bool)
        for x1, y1, x2, y2 in picture.boxes.astype(int):
            covered[y1:y2, x1:x2] = True
        assert covered[picture.surface == OBJECT].all()
        if len(picture.boxes) == 1:
            rows, columns = np.nonzero(picture.surface == OBJECT)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == tuple(picture.boxes[0])


@pytest.mark.parametrize(("hollow", "solid"), zip(HOLLOW, SOLID, strict=True))
def test_a_hollow_object_is_the_solid_one_around_a_hole(hollow: str, solid: str) -> None:
    axis = np.arange(128, dtype=np.float32) + 0.5
    holed, whole = (Shape(name, 64, 64, 0.3, 50).distance(axis, axis) <= 0 for name in (hollow, solid))
    assert not holed[64, 64]
    assert (whole | ~holed).all()
    assert (whole.any(0) == holed.any(0)).all()
    assert (whole.any(1) == holed.any(1)).all()
    assert 0.15 < 1 - holed.sum() / whole.sum() < 0.35  # half the distance to the border in both directions


def test_clutter_changes_the_background_alone() -> None:
    size = 64
    image = np.zeros((3, size, size), np.float32)
    shapes_drawing._draw_clutter(np.random.default_rng(0), HARD, image)
    assert np.abs(image).max() > 10
    calm = dataclasses.replace(HARD, max_blots=0, max_dashes=0)
    pictures = [render(size, seed, calm) for seed in range(20)]
    assert all(set(np.unique(picture.surface)) == {BACKGROUND, OBJECT, WIRE} for picture in pictures)


def test_a_kept_source_gives_what_its_source_gives_and_loads_it_once() -> None:
    source = ShapesSource(3, 64, seed=0)
    kept = KeptSource(source)
    assert (len(kept), kept.classes, kept.num_labelled("boxes")) == (3, source.classes, 3)
    first, again = kept.load(1, ["label"]), kept.load(1)
    assert first.target == {"label": source.load(1).target["label"]}
    assert again.image is first.image
    assert torch.equal(again.image, source.load(1).image)
    assert again.target.keys() == source.load(1).target.keys()
