"""What is timed, under a clock of the test's own."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.archs.fusion import to_higher_resolution, to_lower_resolution
from fbnetv5.latency import measure
from fbnetv5.latency.measure import WARM_UP, build_network, measure_latency, network_parts, seconds_in_turn
from tests.latency.tables import CPU, NANO, conditions


class Clock:
    """Stands still but for what calls add."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Ticking(Clock):
    """Advances by a millisecond whenever it is read."""

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def test_calls_are_timed_in_turn_and_warmed_up():
    clock, order = Clock(), []

    def call(name: str, seconds: float):
        def run() -> None:
            order.append(name)
            clock.now += seconds

        return run

    seconds = seconds_in_turn({"a": call("a", 1.0), "b": call("b", 2.0), "c": call("c", 4.0)}, 4, CPU, clock)
    assert seconds == {"a": [1.0] * 4, "b": [2.0] * 4, "c": [4.0] * 4}
    assert len(order) == 3 * (WARM_UP + 4)
    assert order[-6:] == ["c", "b", "a", "a", "b", "c"]


def test_the_median_of_a_part_counts():
    times = [5.0, 1.0, 2.0]
    table = measure.table_of({(0, 0): times, (1, 3): times, (4, 1): times}, conditions())
    assert (table.partition_ms[0], table.block_ms[3], table.fusion_ms[2][1]) == (2000.0, 2000.0, 2000.0)
    assert sum(table.to_list()) == 6000.0


def test_every_part_is_timed_and_nothing_else():
    table = measure_latency(NANO, conditions(), CPU, Ticking())
    assert table.partition_ms == table.block_ms == pytest.approx((1.0,) * 4)
    for source, row in enumerate(table.fusion_ms):
        assert row == pytest.approx([float(source != target) for target in range(4)])
    for stage, own in enumerate((1 + 3 + 1.5, 1 + 1.5 + 1.5, 1 + 1.5 + 3)):
        assert table.block_latencies(3)[4 * stage : 4 * stage + 4] == pytest.approx([own] * 4)


def test_the_parts_are_those_that_a_network_runs():
    network, images = build_network(NANO, 2, conditions(), CPU)
    with torch.inference_mode():
        parts = network_parts(network, images)
        carried = [parts[0, path]() for path in range(4)]
        whole = network(images)
        stage = [network.blocks[f"s1_p{p}"](network.fuse(carried, (1, p), network.topology)) for p in range(4)]
        assert all(torch.equal(parts[1, p](), network.blocks[f"s1_p{p}"](carried[p])) for p in range(4))
        for source, target in ((0, 3), (3, 0), (1, 2)):
            resample = to_lower_resolution if source < target else to_higher_resolution
            size = tuple(carried[target].shape[2:])
            expected = carried[target] + resample(carried[source], NANO.channels[target], size)
            assert torch.equal(parts[2 + source, target](), expected)
        last = [network.blocks[f"s2_p{p}"](network.fuse(stage, (2, p), network.topology)) for p in range(4)]
        assert all(torch.equal(network.fuse(last, (3, p), network.topology), whole[p]) for p in range(4))


def test_measuring_draws_no_random_numbers():
    before = torch.get_rng_state()
    measure_latency(NANO, conditions(), CPU, Ticking())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_cpu_has_its_models_name(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "CPU_INFO", tmp_path / "cpuinfo")
    assert measure.device_name(CPU)
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Abacus 3000\nprocessor\t: 1\nmodel name\t: Other\n"
    )
    assert measure.device_name(CPU) == "Abacus 3000"
