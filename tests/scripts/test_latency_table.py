"""The measurement of latencies from the command line; no time is asserted."""

from __future__ import annotations

import json
import re

import latency_table
import numpy as np
import pytest
from benchmarks.exported_latency import draw_networks, read_rows

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.export.lowered import Lowered
from fbnetv5.latency.bundle import read_bundle
from fbnetv5.latency.correction import part_counts
from fbnetv5.latency.table import LatencyTable
from tests.latency.tables import random_table

PART_MS = [place % 7 + 1.0 for place in range(24)]
NAMES = [*(f"partition_{path}" for path in range(4)), *(f"block_{path}" for path in range(4))]
PLACES = [*NAMES, *(f"fusion_{source}_{target}" for source in range(4) for target in range(4))]
TINY = ("--family=NANO", "--num-stages=2", "--size=64", "--repeats=1", "--topologies=4", "--device=cpu")


def test_the_table_is_measured_verified_and_kept(tmp_path, capsys):
    latency_table.main([*TINY, f"--cache={tmp_path / 'cache'}", f"--json={tmp_path / 'out.json'}"])
    document = json.loads((tmp_path / "out.json").read_text())
    (kept,) = (tmp_path / "cache").glob("NANO_64x64_*.json")
    assert json.loads(kept.read_text()) == document["table"]
    networks = document["networks"]
    assert [each["from_start"] for each in networks] == [True, True, False, False]
    assert networks[2]["num_blocks"] == 0
    assert networks[3]["num_blocks"] == 8
    assert networks[3]["macs"] == network_cost(get_family("NANO"), Topology.full(2), (64, 64)).macs
    assert all(each["network_ms"] > 0 for each in networks)
    printed = capsys.readouterr().out
    assert len(re.findall(r"^trunk \+ sum over blocks +all 4 ", printed, re.MULTILINE)) == 1
    assert "block of stage 2, cost" in printed


def test_nothing_is_kept_without_the_cache(tmp_path, capsys):
    latency_table.main([*TINY, "--no-cache", "--topologies=0", f"--cache={tmp_path / 'cache'}"])
    assert not (tmp_path / "cache").exists()
    assert "whole networks" not in capsys.readouterr().out


def test_agreement_by_hand():
    table = random_table(3)
    topologies = [Topology(2, frozenset()), Topology(2, frozenset({(1, 0)})), Topology.full(2)]
    exact = [table.network_ms(topology) for topology in topologies]
    measured = latency_table.compare(get_family("NANO"), table, topologies, [2 * exact[0], exact[1], exact[2]])
    assert [each.edges_ms for each in measured] == exact
    assert measured[2].sum_ms == pytest.approx(exact[2])
    reversed_text = latency_table.agreement_text(
        latency_table.compare(get_family("NANO"), table, topologies, [4.0, 2.0, 1.0])
    )
    assert reversed_text.count("-1.000") == 6  # both rank correlations of three estimates
    assert "50.0%" in latency_table.agreement_text(measured)  # half of what was measured


@pytest.mark.parametrize(
    ("option", "message", "status"),
    [
        ("--size=8", "--size: 8 is too small: at least 32", 2),
        ("--family=NAN", "unknown family 'NAN'; did you mean 'NANO'", 1),
    ],
)
def test_what_is_wrong_is_one_line(option, message, status, capsys):
    with pytest.raises(SystemExit) as error:
        latency_table.main([*TINY, option])
    assert error.value.code == status
    assert message in capsys.readouterr().err


FILES = ("--family=NANO", "--num-stages=2", "--size", "64", "--runtime=onnx", "--threads=1", "--heads", "cls")


@pytest.fixture
def exported(monkeypatch):
    """Nothing is exported from here on, and files are written all the same."""
    monkeypatch.setattr("fbnetv5.latency.bundle.Converter.convert", lambda *_: Lowered(b"a file"))


def test_a_bundle_is_written_and_its_times_are_read_back(exported, tmp_path, capsys):
    folder, results = tmp_path / "parts", tmp_path / "results.csv"
    networks = ("--topologies=2", "--fit=5", f"--bundle={folder}")
    latency_table.main([*FILES, *networks, "--export"])
    assert "28 files" in capsys.readouterr().out  # 20 parts, a head, and seven networks
    bundle = read_bundle(folder)
    times = tmp_path / "times.csv"
    ms = {name: 1 + len(name) / 100 for name in bundle.files}
    drawn = draw_networks(get_family("NANO"), 2, ["cls"], 5, 2)
    for network in drawn:
        ms[network.name] = 2 + 0.8 * float(part_counts(network.topology) @ np.array(PART_MS))
    for place, value in zip(PLACES, PART_MS, strict=True):
        if place in ms:
            ms[place] = value
    times.write_text("part,ms\n" + "".join(f"{name},{value}\n" for name, value in ms.items()))
    table_file = tmp_path / "phone.json"
    phone = ("--device-name=a phone", "--threads=4")
    read = (f"--times={times}", f"--table={table_file}", f"--output={results}", *phone, "--no-cache")
    latency_table.main([*FILES, *networks, *read])
    table = LatencyTable.load(table_file)
    assert table.corrected_by == 5
    assert (table.conditions.device, table.conditions.threads) == ("a phone", 4)
    printed = capsys.readouterr().out
    assert "| NANO 64x64 | onnx fp32 | cls | 2 |" in printed
    rows = read_rows(results)
    assert [row.which for row in rows].count("test") == 2
    for row in rows:
        assert row.predicted_ms == pytest.approx(row.measured_ms, rel=0.03)
    latency_table.main([*FILES, *networks, *read])
    assert len(read_rows(results)) == len(rows)  # in the place of the former
    with pytest.raises(SystemExit):
        latency_table.main([*FILES, "--topologies=6", "--fit=5", f"--bundle={folder}", *read])
    assert "has another network net_test_cls_" in capsys.readouterr().err


def test_a_table_names_the_device_that_was_asked(exported, tmp_path, capsys):
    files = ("--family=NANO", "--size=64", "--runtime=onnx", "--repeats=1", f"--bundle={tmp_path / 'parts'}")
    latency_table.main([*files, "--export"])
    command = "expr length {file}"  # prints a number
    timed = [*files, "--no-export", f"--command={command}", "--no-cache", f"--table={tmp_path / 't.json'}"]
    latency_table.main(timed)
    assert LatencyTable.load(tmp_path / "t.json").conditions.device == command
    with pytest.raises(SystemExit):
        latency_table.main([*timed, "--threads=77"])
    assert "leave out --threads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision=bfloat16",), "--precision bfloat16: onnx has fp32, int8"),
        (("--no-export", "--bundle=/nowhere"), "cannot read /nowhere/manifest.json"),
        (("--times=t.csv", "--bundle=/nowhere"), "--times are those of another device"),
        (("--size", "64", "64", "64"), "--size=[64, 64, 64] should be"),
        (("--runtime=torch", "--no-export"), "--no-export is for exported files: give --runtime, one of executorch"),
    ],
)
def test_wrong_options_of_files_are_one_line(options, message, capsys):
    with pytest.raises(SystemExit):
        latency_table.main([*FILES, *options])
    assert message in capsys.readouterr().err
