from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from fbnetv5.archs.topology import ALL_PATHS, Edge, Topology, named_topology
from fbnetv5.base.errors import InputError
from fbnetv5.report.draw import WIDTH, Panel, draw_topologies
from fbnetv5.report.topology_parts import box_states, lines


def random_topology(num_stages: int, seed: int, outputs: tuple[int, ...] = ALL_PATHS) -> Topology:
    generator = random.Random(seed)
    blocks = frozenset(block for block in product(range(1, num_stages + 1), ALL_PATHS) if generator.random() < 0.5)
    return Topology(num_stages, blocks, outputs)


def panels(num: int, num_stages: int, heat: bool = True) -> list[Panel]:
    probabilities = [[0.1 * path + 0.05 * stage for path in ALL_PATHS] for stage in range(num_stages)]
    topologies = (random_topology(num_stages, seed, (1, 3)) for seed in range(num))
    return [Panel(f"task {i}", "3M MACs", each, probabilities if heat else None) for i, each in enumerate(topologies)]


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def collect(figure: Figure, *args: object, **kwargs: object) -> None:
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", collect)
    return figures


@pytest.mark.parametrize("seed", range(10))
def test_layout_has_every_block_and_edge_of_the_topology(seed: int) -> None:
    topology = random_topology(2 + seed % 7, seed, ((0,), (1, 3), ALL_PATHS)[seed % 3])
    states, drawn_lines = box_states(topology), lines(topology)
    kept = topology.prune(topology.outputs)

    assert {block for block, state in states.items() if block[0] > 0 and state in ("used", "unused")} == topology.blocks
    assert {block for block, state in states.items() if block[0] > 0 and state == "used"} == kept.blocks
    assert sum(state == "used" for (stage, _), state in states.items() if stage == 0) == kept.num_partitions
    assert [path for (_, path), state in states.items() if state == "output"] == list(topology.outputs)
    assert len(states) == 4 + 4 * topology.num_stages + len(topology.outputs)
    assert sorted(line.edge for line in drawn_lines if line.kind != "trunk") == sorted(topology.edges())
    assert sorted(line.edge for line in drawn_lines if line.used and line.kind != "trunk") == sorted(kept.edges())


def test_what_no_output_sees_is_unused() -> None:
    topology = Topology(2, frozenset({(1, 3)}), (0,))  # the output sees the trunk's first partition, and nothing else
    states = box_states(topology)
    assert {block for block, state in states.items() if state == "unused"} == {(0, 1), (0, 2), (0, 3), (1, 3)}
    assert [line.edge for line in lines(topology) if line.used] == [Edge((0, 0), (3, 0))]


def test_edges_are_told_apart() -> None:
    kinds = {line.edge: line.kind for line in lines(named_topology("fpn", 4))}
    assert kinds[Edge((0, 2), (0, 3))] == "trunk"
    assert kinds[Edge((0, 3), (1, 3))] == "path"
    assert kinds[Edge((0, 0), (1, 3))] == "down"
    assert kinds[Edge((1, 3), (2, 2))] == "up"


@pytest.mark.parametrize(("num", "num_stages"), [(1, 2), (3, 4), (2, 7)])
def test_every_box_line_and_cell_is_drawn(num: int, num_stages: int, tmp_path: Path, saved: list[Figure]) -> None:
    shown = panels(num, num_stages)
    draw_topologies(tmp_path / "topologies.png", shown)
    for panel, axes in zip(shown, saved[0].axes, strict=False):  # the last axes are the colour bar
        drawn = [type(artist) for artist in axes.get_children() if artist is not axes.patch]
        assert drawn.count(FancyBboxPatch) == 4 + 4 * num_stages + len(panel.topology.outputs)
        assert drawn.count(FancyArrowPatch) == 3 + len(panel.topology.edges())
        assert drawn.count(Rectangle) == 4 * num_stages
        assert {panel.title, "0.00", "0.30"} <= {text.get_text() for text in axes.texts}
    assert len(saved[0].axes) == num + 1


@pytest.mark.parametrize(("num", "num_stages"), [(1, 2), (2, 4), (3, 3), (2, 5), (1, 8)])
def test_boxes_and_cells_are_within_the_figure(num: int, num_stages: int, tmp_path: Path, saved: list[Figure]) -> None:
    draw_topologies(tmp_path / "topologies.svg", panels(num, num_stages))
    for axes in saved[0].axes[:-1]:
        width, height = axes.get_xlim()[1], axes.get_ylim()[0]
        for patch in (a for a in axes.get_children() if isinstance(a, (FancyBboxPatch, Rectangle))):
            assert patch is axes.patch or patch.get_x() + patch.get_width() <= width + 1e-9
            assert patch is axes.patch or patch.get_y() + patch.get_height() <= height + 1e-9


def test_without_probabilities_there_is_no_heat_map(tmp_path: Path, saved: list[Figure]) -> None:
    draw_topologies(tmp_path / "topologies.png", panels(2, 3, heat=False))
    assert len(saved[0].axes) == 2
    assert not any("0." in text.get_text() for axes in saved[0].axes for text in axes.texts)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_same_panels_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        draw_topologies(tmp_path / f"{name}{suffix}", panels(2, 3))
    first, second = (tmp_path / f"{name}{suffix}" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {first.name, second.name}


def test_a_picture_is_not_blank(tmp_path: Path) -> None:
    draw_topologies(tmp_path / "topologies.png", panels(1, 7))
    pixels = np.asarray(imread(tmp_path / "topologies.png"))[..., :3]
    assert pixels.shape[1] == 200 * WIDTH
    assert 0.1 < (pixels.min(axis=-1) < 0.97).mean() < 0.6
    assert (pixels[:, [0, -1]] == 1).all(), "something touches the edge"


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"picture\.jpg: .*\.png"):
        draw_topologies(tmp_path / "picture.jpg", panels(1, 3))
    with pytest.raises(ValueError, match="no panels"):
        draw_topologies(tmp_path / "picture.png", [])
    with pytest.raises(ValueError, match="'a': probabilities must be 2 stages x 4 paths"):
        Panel("a", "", Topology.full(2), [[0.5] * 4])
    assert not list(tmp_path.iterdir())
