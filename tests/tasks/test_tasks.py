"""Search heads: losses against closed forms, partial labels, odd inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.heads.anchors import NominalStrideAnchors
from fbnetv5.tasks.build import build_tasks
from fbnetv5.tasks.classification import Classification
from fbnetv5.tasks.detection import Detection, common_proposals
from fbnetv5.tasks.multitask import MultitaskNet
from fbnetv5.tasks.segmentation import Segmentation
from fbnetv5.tasks.task import has_score

CHANNELS = (4, 6, 8, 10)
SMALL = Detection(path=2, anchor_sizes=(12, 24), hidden_channels=16, num_proposals=8, num_sampled=8)


def feature(path: int, count: int = 2, size: int = 4) -> dict[int, torch.Tensor]:
    return {path: torch.randn(count, CHANNELS[path], size, size, generator=torch.Generator().manual_seed(0))}


def boxes(*rows: list[float]) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(rows).reshape(-1, 4), "box_labels": torch.zeros(len(rows), dtype=torch.int64)}


@pytest.mark.parametrize("name", ["pop", "training", "trunk", "shared", "a-b"])
def test_names_that_no_task_can_have_are_refused(name):
    with pytest.raises(InputError, match=rf"tasks\.{name}: a task cannot be called '{name}'"):
        build_tasks({name: {"_target_": "fbnetv5.tasks.classification.Classification"}})


def test_classification_is_cross_entropy():
    head = Classification(hidden_channels=16).search_head(CHANNELS, ("a", "b", "c"))
    features = feature(3)
    torch.manual_seed(0)
    loss = head(features, (128, 128), [{"label": 2}, {"label": 0}])
    logits = head.classifier(features[3])
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([2, 0])))


def test_segmentation_is_the_mean_over_images_of_the_mean_over_pixels():
    head = Segmentation(path=2).search_head(CHANNELS, ("a", "b"))
    masks = torch.randint(2, (2, 64, 64), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    masks[0, :, 8:] = 255  # the first image counts as much as the second, though fewer of its pixels do
    features = feature(2)
    loss = head(features, (64, 64), [{"segmentation": mask} for mask in masks])
    scores = F.interpolate(head.scores(head.norm(features[2])), size=(64, 64), mode="bilinear", align_corners=False)
    log_p = scores.log_softmax(dim=1)
    means = [-log_p[i].gather(0, mask.long().clamp(max=1)[None])[0][mask != 255].mean() for i, mask in enumerate(masks)]
    torch.testing.assert_close(loss, torch.stack(means).mean())


def test_boxes_are_pooled_at_the_nominal_stride():
    """Of 96 pixels family A has 2 columns at stride 32, which torchvision would take for a stride of 64."""
    head = Detection(path=3, anchor_sizes=(32,), hidden_channels=16, roi_size=2).search_head(CHANNELS, ("a",))
    columns = torch.arange(2.0).expand(1, CHANNELS[3], 2, 2)
    pooled = head.roi.box_roi_pool({"0": columns}, [torch.tensor([[0.0, 0.0, 32.0, 64.0]])], [(96, 96)])
    torch.testing.assert_close(pooled[0, 0], torch.tensor([[0.25, 0.75]]).expand(2, 2))


def test_a_mask_that_is_all_ignored_adds_nothing():
    head = Segmentation(path=2).search_head(CHANNELS, ("a", "b"))
    ignored = {"segmentation": torch.full((64, 64), 255, dtype=torch.uint8)}
    loss = head(feature(2), (64, 64), [ignored, ignored])
    assert loss == 0
    loss.backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_anchors_lie_at_the_nominal_stride():
    """Family A makes 13 columns of 224 pixels; 224 // 13 would be 17."""
    anchors = NominalStrideAnchors((32,), (0.5, 1.0, 2.0), stride=16)
    images = ImageList(torch.zeros(1, 3, 224, 224), [(224, 224)])
    (rows,) = anchors(images, [torch.zeros(1, 8, 13, 13)])
    centres = (rows[:, :2] + rows[:, 2:]) / 2
    assert rows.shape == (13 * 13 * 3, 4)
    assert centres.unique(dim=0).max() == 12 * 16
    areas = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
    assert (areas.sqrt() - 32).abs().max() < 1


@pytest.mark.parametrize("empty", ["none", "first", "all"])
def test_detection_trains_with_and_without_boxes(empty):
    head = SMALL.search_head(CHANNELS, ("thing",))
    targets = [boxes([4.0, 4.0, 28.0, 28.0]), boxes([30.0, 30.0, 50.0, 60.0], [1.0, 1.0, 13.0, 13.0])]
    if empty != "none":
        targets[0] = boxes()
    if empty == "all":
        targets[1] = boxes()
    with forked(0):
        loss = head(feature(2), (64, 64), targets)
    assert loss.isfinite()
    loss.backward()
    assert head.rpn.head.cls_logits.weight.grad.abs().sum() > 0


def test_detection_depends_on_its_key_alone():
    head = SMALL.search_head(CHANNELS, ("thing",))
    targets = [boxes([4.0, 4.0, 28.0, 28.0])] * 2
    losses = []
    for key in (1, 2, 1):
        torch.rand(7)
        with forked(0, key):
            losses.append(head(feature(2, size=8), (128, 128), targets).item())
    assert losses[0] == losses[2] != losses[1]


def test_detection_learns_a_box():
    torch.manual_seed(0)
    head = SMALL.search_head(CHANNELS, ("first", "second"))
    target = {"boxes": torch.tensor([[16.0, 16.0, 40.0, 40.0]]), "box_labels": torch.tensor([1])}
    features = feature(2, count=4)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        losses.append(head(features, (64, 64), [target] * 4))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def multitask_net() -> MultitaskNet:
    tasks = {"cls": Classification(hidden_channels=16), "det": SMALL, "seg": Segmentation(path=2)}
    classes = {"cls": ("a", "b"), "det": ("thing",), "seg": ("x", "y")}
    with forked(0):
        network = MultiPathNet(get_family("NANO"), Topology.full(2))
        heads = {name: task.search_head(network.channels, classes[name]) for name, task in tasks.items()}
    return MultitaskNet(network, tasks, heads)


def test_a_loss_counts_only_the_labelled_images():
    model = multitask_net()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    targets = [{"label": 1}, {"label": 0, "segmentation": mask}, {"segmentation": mask}, {}]
    topology = Topology(2, frozenset({(1, 3), (2, 2)}), (2, 3))
    losses = model(images, targets, topology)
    assert set(losses) == {"cls", "seg"}  # no image is labelled for detection
    features = model.network(images, topology)
    first_two = {3: features[3][:2]}
    torch.testing.assert_close(losses["cls"], model.heads["cls"](first_two, (64, 64), targets[:2]))
    assert model.labelled(targets) == {"cls": [0, 1], "det": [], "seg": [1, 2]}


def test_head_paths_are_those_that_tasks_read():
    assert multitask_net().head_paths == (2, 3)


def test_the_score_of_detection_is_on_boxes_that_are_the_same_whatever_the_features():
    """Its proposals, and the anchors that are sampled, depend on truth and key alone; BN keeps its statistics."""
    head = SMALL.search_head(CHANNELS, ("thing",))
    targets = [boxes([4.0, 4.0, 28.0, 28.0]), boxes([30.0, 30.0, 50.0, 60.0], [1.0, 1.0, 13.0, 13.0])]
    before = {name: buffer.clone() for name, buffer in head.named_buffers()}
    seen = []
    head.roi.box_roi_pool.register_forward_pre_hook(lambda _, given: seen.append(torch.cat(given[1])))
    features = [feature(2), {2: 3 * feature(2)[2].flip(-1)}]
    with torch.no_grad():
        scores = []
        for one in [*features, features[0]]:
            with forked(0, 1):
                scores.append(head.score(one, (64, 64), targets))
    assert torch.equal(seen[0], seen[1])
    assert len(seen[0]) == 2 * SMALL.num_sampled
    assert scores[0] == scores[2] != scores[1]
    assert all(torch.equal(buffer, before[name]) for name, buffer in head.named_buffers())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_half_of_the_common_proposals_lie_around_the_truth(count):
    true = torch.tensor([[4.0, 4, 28, 28], [30, 30, 50, 60], [1, 1, 13, 13]])[:count]
    with forked(0, 2):
        found = common_proposals(true, (64, 96), 64)
    assert found.shape == (64, 4)
    assert (found[:, 2:] >= found[:, :2]).all()
    assert found.amax(dim=0).tolist() <= [96, 64, 96, 64]
    assert found.min() >= 0
    if count:
        near = min(32, 4 * count)
        assert (box_iou(found[:near], true).amax(dim=1) > 0.3).float().mean() > 0.8


def test_a_task_whose_head_has_no_score_is_compared_by_its_loss():
    tasks = {"cls": Classification(hidden_channels=16), "det": SMALL}
    heads = {name: task.search_head(CHANNELS, ("a", "b")) for name, task in tasks.items()}
    model = MultitaskNet(MultiPathNet(get_family("NANO"), Topology.full(1)), tasks, heads)
    features = {**feature(2), **feature(3)}
    targets = [{"label": 0, **boxes([4.0, 4.0, 28.0, 28.0])}, {"label": 1}]
    with forked(0, 3):
        losses = model.losses(features, torch.zeros(2, 3, 64, 64), targets)
    with forked(0, 4):
        scores = model.scores(features, torch.zeros(2, 3, 64, 64), targets, losses)
    assert scores["cls"] == losses["cls"]
    assert scores["det"] != losses["det"]


def test_a_layer_called_score_is_no_score():
    head = nn.Module()
    head.score = nn.Linear(2, 2)
    assert not has_score(head)
    assert has_score(SMALL.search_head(CHANNELS, ("a",)))
