"""The measurement of latencies from the command line; no time is asserted."""

from __future__ import annotations

import json
import re

import latency_table
import pytest

from fbnetv5.archs.cost import network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from tests.latency.tables import random_table

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
