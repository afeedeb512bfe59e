from __future__ import annotations

import numpy as np
import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.data import shapes_drawing
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.shapes_drawing import PLAIN, SCENES, SURFACES, render

BACKGROUND, OBJECT, WIRE = range(3)
SIZE = 128


def test_an_image_depends_on_seed_and_index_alone() -> None:
    forwards = [ShapesSource(8, 64, seed=2).load(index) for index in range(8)]
    short = ShapesSource(5, 64, seed=2)
    for index in (4, 0, 2):
        sample = short.load(index)
        assert torch.equal(sample.image, forwards[index].image)
        assert all(
            torch.equal(torch.as_tensor(sample.target[key]), torch.as_tensor(forwards[index].target[key]))
            for key in sample.target
        )
    other = ShapesSource(8, 64, seed=3).load(0)
    assert not torch.equal(other.image, forwards[0].image)


def test_every_scene_object_and_surface_occurs_and_counts_are_in_range() -> None:
    pictures = [render(64, seed) for seed in range(100)]
    assert {picture.scene for picture in pictures} == set(range(len(SCENES)))
    assert {kind for picture in pictures for kind in picture.kinds} == set(range(len(PLAIN.objects)))
    assert {len(picture.boxes) for picture in pictures} == {1, 2, 3, 4, 5}
    assert all(len(picture.boxes) == len(picture.kinds) for picture in pictures)
    assert all(set(np.unique(picture.surface)) == set(range(len(SURFACES))) for picture in pictures)


def test_boxes_are_tight_around_their_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_drawing, "_draw_wire", lambda *_, **__: None)
    num_alone = 0
    for seed in range(60):
        picture = render(SIZE, seed)
        objects = picture.surface == OBJECT
        covered = np.zeros((SIZE, SIZE), bool)
        for x1, y1, x2, y2 in picture.boxes.astype(int):
            covered[y1:y2, x1:x2] = True
            others = (picture.boxes[:, :2] < (x2 + 2, y2 + 2)).all(1) & (picture.boxes[:, 2:] > (x1 - 2, y1 - 2)).all(1)
            if others.sum() == 1:  # no other object is near
                num_alone += 1
                top, left = max(0, y1 - 2), max(0, x1 - 2)
                rows, columns = np.nonzero(objects[top : y2 + 2, left : x2 + 2])
                assert (left + columns.min(), top + rows.min()) == (x1, y1)
                assert (left + columns.max() + 1, top + rows.max() + 1) == (x2, y2)
        assert covered[objects].all()
    assert num_alone > 80


def test_objects_have_several_sizes_and_hardly_overlap() -> None:
    sides = []
    for seed in range(100):
        boxes = render(SIZE, seed).boxes
        assert boxes.min() >= 0
        assert boxes.max() <= SIZE
        widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        sides.extend(np.maximum(widths, heights).tolist())
        for i in range(len(boxes)):
            for j in range(i):
                shared = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
                smaller = min(widths[i] * heights[i], widths[j] * heights[j])
                assert np.prod(shared.clip(0)) <= 0.25 * smaller  # 0.15 before boxes are rounded to pixels
    assert min(sides) >= 7
    assert max(sides) <= 0.45 * SIZE + 1
    assert np.mean(np.array(sides) < 16) > 0.2
    assert np.mean(np.array(sides) > 32) > 0.2


def test_a_wire_is_thin_and_crosses_the_image() -> None:
    for seed in range(40):
        wires = render(SIZE, seed).surface == WIRE
        assert wires.any(0).all() or wires.any(1).all()
        assert wires.mean() < 3 * 3 * 2 / SIZE  # three wires, three pixels wide, with room for their slope


def test_depth_tells_wires_objects_and_background_apart() -> None:
    for seed in range(20):
        picture = render(64, seed)
        assert (picture.depth[picture.surface == WIRE] == 0).all()
        assert (picture.depth[picture.surface == BACKGROUND] == 1).all()
        objects = picture.depth[picture.surface == OBJECT]
        assert ((objects > 0) & (objects < 1)).all()


@pytest.mark.parametrize(
    ("scene", "light", "dark"),
    [
        ("sky", (0.1, 0.5), (0.9, 0.5)),
        ("ground", (0.9, 0.5), (0.1, 0.5)),
        ("column", (0.5, 0.5), (0.5, 0.05)),
        ("belt", (0.5, 0.5), (0.05, 0.5)),
        ("spot", (0.5, 0.5), (0.05, 0.05)),
        ("ring", (0.05, 0.05), (0.5, 0.5)),
    ],
)
def test_scenes_are_light_where_their_name_says_and_symmetric(
    scene: str, light: tuple[float, float], dark: tuple[float, float]
) -> None:
    random = np.random.default_rng(0)
    level = np.mean([shapes_drawing.layout(scene, random, 64) > 0 for _ in range(400)], axis=0)
    at = {place: level[int(place[0] * 64), int(place[1] * 64)] for place in (light, dark)}
    assert at[light] > 0.95
    assert at[dark] < 0.05
    assert 0.4 < level.mean() < 0.6  # about half of every scene is light
    assert np.abs(level - level[:, ::-1]).max() < 0.15  # a flip does not change the label


def test_only_named_targets_are_returned_and_all_are_labelled() -> None:
    source = ShapesSource(3, 64, seed=0)
    assert source.load(0, ["label", "boxes", "box_labels"]).target.keys() == {"label", "boxes", "box_labels"}
    assert source.load(2).name == "shapes/2"
    assert [source.num_labelled(name) for name in (*source.classes, "depth", "pose")] == [3, 3, 3, 3, 0]
    assert (list(source.labelled("boxes")), list(source.labelled("pose"))) == ([0, 1, 2], [])


def test_a_later_part_of_the_world_holds_the_same_images() -> None:
    whole, part = ShapesSource(5, 64, seed=2), ShapesSource(2, 64, seed=2, first=3)
    for index in range(2):
        assert part.load(index).name == f"shapes/{3 + index}"
        assert torch.equal(part.load(index).image, whole.load(3 + index).image)


@pytest.mark.parametrize(("num_images", "size"), [(0, 64), (4, 16)])
def test_impossible_worlds_are_refused(num_images: int, size: int) -> None:
    with pytest.raises(InputError, match="at least"):
        ShapesSource(num_images, size, seed=0)
