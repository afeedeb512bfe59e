from __future__ import annotations

import math
from pathlib import Path

import pytest

from fbnetv5.archs.topology import Topology
from fbnetv5.report.history import History
from fbnetv5.report.run_folder import read_run
from fbnetv5.report.topology_parts import box_states, described, lines
from fbnetv5.report.topology_svg import fingerprint_svg, history_svg, topology_svg
from tests.report.runs import probabilities, write_search
from tests.report.test_draw import random_topology


def history(*rows: tuple[float, ...]) -> History:
    return History("det", len(rows[0]) // 4, tuple((10 * step, row) for step, row in enumerate(rows, start=1)))


def test_entropy_is_that_of_a_coin():
    seen = history((0.5,) * 4, (0.25, 0.75, 0.0, 1.0)).entropies
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert [step for step, _ in seen] == [10, 20]
    assert [value for _, value in seen] == pytest.approx([1, quarter / 2])


def test_blocks_are_counted():
    seen = history((0.05, 0.1, 0.2, 0.34, 0.36, 0.5, 0.64, 0.95))
    assert (seen.num_decided, seen.num_open, seen.num_turned) == (3, 3, 0)
    assert seen.most_likely() == Topology(2, frozenset({(2, 2), (2, 3)}))


def test_only_late_turns_count():
    up, down = (0.9,) * 4, (0.1,) * 4
    assert history(down, up, up, up).num_turned == 0
    assert history(up, up, down, up).num_turned == 4


def test_a_search_is_settled_once_nothing_moves():
    up, half = (0.95,) * 20, (0.5,) * 20
    assert history(half, half).verdict == "moving"
    assert history(half, up, up, up, up).verdict == "settled"
    assert history(half, up, up, (0.4, *up[1:]), up).verdict == "settling"
    assert history(half, up, up, (0.4,) * 5 + up[5:], up).verdict == "moving"


def test_probabilities_are_read_as_they_were_written(tmp_path: Path):
    write_search(tmp_path, num_records=3)
    read = read_run(tmp_path).histories
    assert list(read) == ["cls", "det", "seg"]
    assert read["det"].num_stages == 4
    assert [step for step, _ in read["det"].records] == [5, 10, 15]
    assert read["det"].last == pytest.approx(probabilities(1, 16, 1), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_drawing_has_every_box_and_line(seed: int):
    topology = random_topology(2 + seed, seed, (1, 3))
    svg, states, edges = str(topology_svg("det", topology)), list(box_states(topology).values()), lines(topology)
    assert svg.count("fill:var(--ghost") == states.count("skipped")
    assert svg.count("stroke:var(--unseen") == states.count("unused")
    assert svg.count("fill:none;stroke:var(--down") == sum(line.used and line.kind == "down" for line in edges)
    assert svg.count("stroke:var(--up") == sum(line.used and line.kind == "up" for line in edges)
    assert str(fingerprint_svg(topology)).count("<path") == 4 * topology.num_stages


def test_a_drawing_is_told_in_words():
    told = described("det", Topology(3, frozenset({(1, 0), (3, 0), (2, 3)})))
    assert (
        told == "Blocks selected for det. stride 4: stages 1, 3; stride 8: none; stride 16: none; stride 32: stages 2."
    )


def test_every_block_has_its_line_and_its_number():
    values = tuple(0.01 + 0.06 * slot for slot in range(16))
    for seen in (history((0.5,) * 16, values), history(values)):
        svg = str(history_svg(seen))
        assert svg.count("fill:none;stroke:var(--select") == sum(value > 0.5 for value in values)
        assert svg.count("fill:none;stroke:var(--skip") == sum(value < 0.5 for value in values)
        assert all(f">{value:.2f}</text>" in svg for value in values)
