"""Drawings: each block type's follows its graph; pictures are written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.drawing import block_drawing, draw_architecture, main
from fbnetv5.projects.fpnas.macro import MACROS
from fbnetv5.projects.fpnas.space import BLOCK_TYPES, BlockType, block_type, valid_types


def drawn(seed: int = 0) -> Architecture:
    draws, macro = random.Random(seed), MACROS["imagenet"]
    return Architecture(macro, tuple(draws.choice(valid_types(at)) for at in macro.positions))


@pytest.mark.parametrize("chosen", BLOCK_TYPES, ids=lambda chosen: chosen.key)
def test_a_block_is_drawn_as_its_graph(chosen: BlockType):
    drawing = block_drawing(chosen)
    working = [operation for operation in chosen.graph.vertices if operation != "identity"]
    kinds = [node.kind for node in drawing.nodes]
    assert kinds == ["input", *working, "output", *(["conv"] if chosen.has_conv else [])]
    if chosen.has_conv:
        assert drawing.nodes[-1].label == f"MBConv{chosen.expansion}\n{chosen.kernel}x{chosen.kernel}"
    ends = ["identity" not in (chosen.graph.vertices[end],) for end in (0, -1)]  # that have a line to input and output
    if chosen.topology == "identity":
        ends = [True, False]
    assert len(drawing.lines) == len(chosen.graph.edges) + chosen.has_conv + sum(ends)
    places = [(node.x, node.y) for node in drawing.nodes]
    assert len(set(places)) == len(places)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in places)
    assert all(drawing.nodes[line.source].y < drawing.nodes[line.target].y for line in drawing.lines)
    assert {line.source for line in drawing.lines} | {line.target for line in drawing.lines} == set(range(len(kinds)))


def test_drawings_of_different_types_differ():
    assert len({block_drawing(chosen) for chosen in BLOCK_TYPES}) == len(BLOCK_TYPES)


def test_the_halves_are_told_apart():
    """In (r + F(l), l) the right half is added, and the left one goes past the sum."""
    drawing = block_drawing(block_type("split-cross-concat k3e6"))
    kinds = [node.kind for node in drawing.nodes]
    found = {(kinds[line.source], kinds[line.target]): line.half for line in drawing.lines}
    assert found["split", "conv"] == "left"
    assert found["split", "add"] == "right"
    assert found["split", "concat"] == "left"
    assert found["add", "concat"] == "all"


def test_a_picture_names_every_block(tmp_path: Path):
    drawn().save(tmp_path / "a.yaml")
    main([str(tmp_path / "a.yaml"), str(tmp_path / "a.svg"), "--title", "found"])
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert all(f"<!-- block {number} -->" in text for number in range(1, 17))
    assert "<!-- found -->" in text
    first = text
    draw_architecture(drawn(), tmp_path / "a.svg", title="found")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == first


def test_an_unknown_format_and_a_missing_file_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match=r"a\.doc: .*\.svg"):
        draw_architecture(drawn(), tmp_path / "a.doc")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.yaml"), str(tmp_path / "a.svg")])
    assert capsys.readouterr().err.startswith("error: cannot read architecture")
