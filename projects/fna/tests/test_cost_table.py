"""The cost table against the paper: parameters to the printed digit, MACs to what the paper counts otherwise."""

from __future__ import annotations

import pytest

from fbnetv5.base.types import Size
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.cost_table import RETINANET, TABLES, count, table_text
from fbnetv5.projects.fna.network import FNANetwork
from tests.on_request import ON_REQUEST

ROWS = {(row.network, row.framework.name): row for table in TABLES for row in table.rows}
BIASES = 0.060  # B additions of RetinaNet at 800 x 1088, which the paper counts


def test_the_printed_figures_are_the_papers():
    assert [table.number for table in TABLES] == [2, 4, 6, 8, 10]
    assert [(row.params, row.macs) for row in ROWS.values()] == [
        (2.57, 24.52),
        (2.47, 24.17),
        (11.49, 133.05),
        (11.73, 133.03),
        (4.3, 0.8),
        (4.6, 0.9),
        (5.23, 6.09),
        (21.41, 160.28),
        (37.97, 202.84),
        (12.65, 134.17),
        (12.07, 133.42),
    ]


def test_additions_of_biases_by_hand():
    """Five levels; the pyramid's two convolutions a level and one for each of the two added; four and one a branch."""
    levels = [(100, 136), (50, 68), (25, 34), (13, 17), (7, 9)]
    positions = [height * width for height, width in levels]
    pyramid = 2 * 256 * sum(positions[:3]) + 256 * sum(positions[3:])
    head = (2 * 4 * 256 + 9 * 80 + 9 * 4) * sum(positions)
    assert (pyramid + head) / 1e9 == pytest.approx(BIASES, abs=0.0005)


def test_what_fna_found_costs_what_is_printed():
    deeplab, ssdlite = count(ROWS["fna_deeplab", "DeepLabv3"]), count(ROWS["fna_ssdlite", "SSDLite"])
    assert round(deeplab.total.params / 1e6, 2) == 2.47
    assert deeplab.total.macs / 1e9 == pytest.approx(24.17, abs=0.006)
    assert round((ssdlite.total.params - 96 * 576) / 1e6, 1) == 4.6
    assert round(ssdlite.total.macs / 1e9, 1) == 0.9


def test_deeplab_ssdlite_and_simple_baseline():
    deeplab, ssdlite, pose = (
        count(ROWS["mobilenetv2_100", name]) for name in ("DeepLabv3", "SSDLite", "SimpleBaseline")
    )
    assert round(deeplab.total.params / 1e6, 2) == 2.57
    assert round(deeplab.total.macs / 1e9, 2) == 24.52
    expansion = 96 * 576
    assert round((ssdlite.total.params - expansion) / 1e6, 1) == 4.3
    assert round((ssdlite.total.macs - expansion * 20**2) / 1e9, 1) == 0.8
    assert round(pose.total.params / 1e6, 2) == 5.23
    transposed = 16 * 256 * (320 * 8**2 + 256 * 16**2 + 256 * 32**2)  # each position of the input puts out 4 x 4
    assert (pose.total.macs + 3 * transposed) / 1e9 == pytest.approx(6.09, abs=0.005)
    text = table_text(TABLES[1], [count(ROWS["mobilenetv2_100", "SSDLite"])])
    assert "4.377" in text
    assert "1.018" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(network, marks=() if network == "fna_retinanet" else ON_REQUEST)
        for network, framework in ROWS
        if framework == RETINANET.name
    ],
)
def test_retinanet(network: str):
    """The printed figures; FNA's FBNet-C lacks the first convolution of blocks of expansion 1."""
    row = ROWS[network, RETINANET.name]
    counted = count(row)
    assert round(counted.total.params / 1e6, 2) == row.params
    macs = counted.total.macs / 1e9 + BIASES
    if row.network == "fbnetc_100":
        macs -= needless_expansions(FNANetwork("fbnetc_100").architecture, RETINANET.size) / 1e9
    assert macs == pytest.approx(row.macs, abs=0.006)


def needless_expansions(architecture: Architecture, size: Size) -> int:
    """MACs of the first convolutions of blocks that have as many inner channels as channels come in."""
    macs = 0
    for block in architecture.blocks():
        if block.spec.kind == "mbconv" and block.spec.expansion == 1:
            stride = block.stride // block.spec.stride
            macs += -(-size[0] // stride) * -(-size[1] // stride) * block.in_channels**2
    return macs
