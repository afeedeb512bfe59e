"""The parts of a network as models of their own."""

from __future__ import annotations

import torch

from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.latency.part_models import part_models, place_of
from fbnetv5.latency.table import NUM_PATHS
from tests.latency.tables import NANO

HEADS = {
    "cls": ({"_target_": "fbnetv5.heads.classifier.Classifier"}, 5),
    "seg": ({"_target_": "fbnetv5.heads.lite_maskformer.LiteMaskFormer"}, 3),
}
SIZE = (64, 96)
PARTS = {part.name: part for part in part_models(NANO, SIZE, HEADS)}


def run(name: str, feature: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        found: dict[str, torch.Tensor] = PARTS[name].build().eval()(feature)
    return found


def test_there_is_every_part_once():
    places = [place_of(name) for name in PARTS if not name.startswith("head_")]
    fusions = [(2 + source, target) for source in range(4) for target in range(4) if source != target]
    assert places == [*((row, path) for row in range(2) for path in range(NUM_PATHS)), *fusions]
    assert [name for name in PARTS if place_of(name) is None] == ["head_cls", "head_seg"]


def test_parts_compute_what_the_network_computes():
    with forked(0, Purpose.INITIALISATION):
        network = MultiPathNet(NANO, Topology.full(1)).eval()
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        trunk = network.partitions(image, NUM_PATHS)
        block = network.blocks["s1_p2"](trunk[2])
    inputs = [image, *trunk]
    for path in range(NUM_PATHS):
        torch.testing.assert_close(run(f"partition_{path}", inputs[path])["feature"], trunk[path])
    torch.testing.assert_close(run("block_2", trunk[2])["feature"], block)


def test_a_fusion_adds_the_resampled_feature_to_a_constant():
    network = MultiPathNet(NANO, Topology.full(1))
    generator = torch.Generator().manual_seed(2)
    for source, target in ((3, 1), (0, 2)):
        part = PARTS[f"fusion_{source}_{target}"]
        one, two = (torch.randn(1, part.channels, *part.size, generator=generator) for _ in range(2))
        found = run(part.name, one)["feature"] - run(part.name, two)["feature"]
        size = (found.shape[2], found.shape[3])
        torch.testing.assert_close(found, network.resample(one - two, source, target, size), atol=1e-5, rtol=1e-4)


def test_all_of_a_head_depends_on_its_input():
    part = PARTS["head_seg"]
    one, two = (torch.full((1, part.channels, *part.size), value) for value in (0.0, 1.0))
    assert run("head_seg", one)["segmentation"].shape == SIZE
    assert not torch.equal(run("head_seg", one)["confidence"], run("head_seg", two)["confidence"])
    assert run("head_cls", torch.zeros(1, PARTS["head_cls"].channels, *PARTS["head_cls"].size))["scores"].shape == (5,)
