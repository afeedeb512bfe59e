"""Networks and heads on a GPU that is not there: every tensor that meets another lies where that one does."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.heads.classifier import Classifier
from fbnetv5.heads.linear_classifier import LinearClassifier
from fbnetv5.heads.lite_maskformer import LiteMaskFormer
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.heads.simple_baseline import SimpleBaseline
from fbnetv5.tasks.classification import Classification
from fbnetv5.tasks.depth import Depth
from fbnetv5.tasks.detection import Detection
from fbnetv5.tasks.keypoints import Keypoints
from fbnetv5.tasks.multitask import MultitaskNet
from fbnetv5.tasks.segmentation import Segmentation

SIZE = (64, 64)
TASKS = {"cls": Classification(), "det": Detection(), "seg": Segmentation(), "pose": Keypoints(), "depth": Depth()}
HEADS = [Classifier, LinearClassifier, LiteRCNN, LiteMaskFormer, SimpleBaseline]


@pytest.fixture
def cuda(monkeypatch):
    """A context in which tensors have sizes and devices but no numbers, and those that the host asks for are 1."""

    def ones(tensor: Tensor) -> np.ndarray:
        assert tensor.device.type == "cuda"
        return np.ones(tuple(tensor.shape), dtype=np.float32 if tensor.is_floating_point() else np.int64)

    for module in ("box_matching", "suppression", "lite_maskformer.losses"):
        monkeypatch.setattr(f"fbnetv5.heads.{module}.to_host", ones)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def targets(count: int) -> list[dict[str, Any]]:
    """Of every kind; the last image is labelled for nothing."""
    with torch.device("cuda"):
        return [
            {
                "label": 1,
                "boxes": torch.rand(row + 1, 4),
                "box_labels": torch.zeros(row + 1, dtype=torch.int64),
                "segmentation": torch.zeros(SIZE, dtype=torch.uint8),
                "keypoints": torch.rand(2, 3),
                "depth": torch.rand(SIZE),
            }
            for row in range(count)
        ]


def on_cuda(tensors: Any) -> bool:
    return all(tensor.device.type == "cuda" for tensor in tensors)


def test_the_supernet_with_all_heads(cuda, monkeypatch):
    monkeypatch.setattr("fbnetv5.archs.network.draw_base", lambda: 0)  # seeds have numbers
    monkeypatch.setattr("fbnetv5.archs.network.named", lambda *_: contextlib.nullcontext())
    with torch.device("cuda"):
        network = MultiPathNet(get_family("NANO"), Topology.full(2))
        heads = {name: task.search_head(network.channels, ("a", "b")) for name, task in TASKS.items()}
        images = torch.rand(3, 3, *SIZE)
    model = MultitaskNet(network, TASKS, heads)
    losses = model(images, [*targets(2), {}])
    scores = model.scores(network(images), images, [*targets(2), {}], losses)
    assert losses.keys() == scores.keys() == TASKS.keys()
    assert on_cuda([*losses.values(), *scores.values()])  # going back wants a driver


@pytest.mark.parametrize("head", HEADS)
def test_a_final_head_learns_and_is_deployed(cuda, head):
    channels, sides = (4, 6, 8, 10), (16, 8, 4, 2)
    with torch.device("cuda"):
        model: nn.Module = head(channels, 2)
        features = {path: torch.rand(2, channels[path], sides[path], sides[path]) for path in range(4)}
    losses = model(features, SIZE, targets(2))
    assert on_cuda(losses.values())
    if hasattr(model, "deployed"):
        with torch.device("cuda"):
            deployed = model.eval().deployed(SIZE, [(side, side) for side in sides])
            found = deployed({path: one[:1] for path, one in features.items()}, torch.tensor([64.0, 60.0]))
        assert on_cuda(found.values())
