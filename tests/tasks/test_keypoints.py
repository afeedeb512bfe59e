"""Keypoints as a task of the search: a head that learns, beside other tasks, with images that are not labelled."""

from __future__ import annotations

import torch

from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.seeding import forked, generator
from fbnetv5.tasks.build import build_tasks
from fbnetv5.tasks.keypoints import Keypoints
from fbnetv5.tasks.multitask import MultitaskNet

POINTS = torch.tensor([[20.0, 30, 2], [50, 10, 1], [0, 0, 0]])


def test_the_head_learns():
    with forked(0):
        head = Keypoints(sigma=1.0).search_head((4, 6, 8, 10), ("a", "b", "c"))
    feature = {1: torch.randn(2, 6, 8, 8, generator=generator(0))}
    targets = [{"keypoints": POINTS}] * 2
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    losses = []
    for _ in range(80):
        losses.append(head(feature, (64, 64), targets))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_a_search_takes_it_as_one_of_several_tasks():
    tasks = build_tasks(
        {
            "pose": {"_target_": "fbnetv5.tasks.keypoints.Keypoints"},
            "cls": {"_target_": "fbnetv5.tasks.classification.Classification", "hidden_channels": 8},
        }
    )
    with forked(0):
        network = MultiPathNet(get_family("NANO"), Topology.full(1))
        heads = {"pose": tasks["pose"].search_head(network.channels, ("a", "b", "c"))}
        heads["cls"] = tasks["cls"].search_head(network.channels, ("x", "y"))
    model = MultitaskNet(network, tasks, heads)
    images = torch.randn(3, 3, 64, 64, generator=generator(0))
    losses = model(images, [{"keypoints": POINTS}, {"label": 1}, {"label": 0, "keypoints": torch.zeros(3, 3)}])
    assert set(losses) == {"pose", "cls"}
    losses["pose"].backward()
    assert all(parameter.grad is not None for parameter in model.heads["pose"].parameters())
    assert set(model(images, [{"label": 1}] * 3)) == {"cls"}
