"""The benchmark of predicted latencies, on a table of its own."""

from __future__ import annotations

import bench_latency_predictor
import numpy as np
import pytest
from benchmarks.phone_networks import NUM_LAYERS, NUM_OPTIONS, option_costs

RNG = np.random.default_rng(1)


def write_table(folder, choices, ms):
    head = ",".join([*(f"layer_{number}" for number in range(NUM_LAYERS)), "one_ms", "two_ms"])
    rows = [",".join([*map(str, own), f"{one:.3f}", f"{two:.3f}"]) for own, (one, two) in zip(choices, ms, strict=True)]
    (folder / "table.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


def test_costs_of_the_space_in_closed_form():
    costs = option_costs()
    assert costs.shape == (NUM_LAYERS, NUM_OPTIONS, 5)
    assert costs[0, 0].tolist() == [
        (16 * 16 + 9 * 16 + 16 * 16) * 112**2,
        16 * 16 + 9 * 16 + 16 * 16,
        3 * 16 * 112**2,
        3,
        9 * 16 * 112**2,
    ]
    assert costs[0, 8].tolist() == [0] * 5
    assert costs[1, 8].tolist() == [16 * 24 * 56**2, 16 * 24, 24 * 56**2, 1, 0]
    assert costs[21, 3, 1] == 184 * 6 * (184 + 9 + 352)
    assert costs[21, 1, 1] == 184 * 184 / 2 + 9 * 184 + 184 * 352 / 2


def test_one_device_says_nothing_of_others(tmp_path, capsys):
    write_table(tmp_path, RNG.integers(0, NUM_OPTIONS, (20, NUM_LAYERS)), np.ones((20, 2)))
    lines = (tmp_path / "table.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    with pytest.raises(SystemExit):
        bench_latency_predictor.main([f"--data={tmp_path}", "--networks=10"])
    assert "has times of one device" in capsys.readouterr().err


def test_a_device_whose_times_follow_macs_is_predicted_from_few(tmp_path, capsys):
    choices = RNG.integers(0, NUM_OPTIONS, (300, NUM_LAYERS))
    macs = option_costs()[np.arange(NUM_LAYERS), choices, 0].sum(axis=1) / 1e7
    write_table(tmp_path, choices, np.stack([macs + RNG.normal(size=300), 5 + 0.3 * macs], axis=1))
    bench_latency_predictor.main([f"--data={tmp_path}", "--networks=40", "--splits=1", f"--output={tmp_path}/out.csv"])
    assert "| one |" in capsys.readouterr().out
    lines = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    found = {(device, name): float(spearman) for device, _, name, spearman in lines}
    assert found["two", "sizes"] > 0.99
    assert found["one", "devices"] > found["one", "ridge"] + 0.2


@pytest.mark.parametrize("text", ["layer_0,one_ms\n1,2\n", "", "x"])
def test_another_table_is_refused(text, tmp_path, capsys):
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit):
        bench_latency_predictor.main([f"--data={tmp_path}"])
    assert "table.csv" in capsys.readouterr().err
