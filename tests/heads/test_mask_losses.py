"""MaskFormer's matching against enumeration, its losses against closed forms."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torchvision.ops import sigmoid_focal_loss

from fbnetv5.heads.lite_maskformer.losses import (
    MaskLossWeights,
    dice_loss,
    focal_loss,
    mask_losses,
    match,
    pairwise_dice_loss,
    pairwise_focal_loss,
)
from tests.processes import two_ranks

WEIGHTS = MaskLossWeights()


def random_masks(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 40, generator=generator)
    masks = torch.randint(2, (3, 40), generator=generator).float()
    return logits, masks, (torch.rand(40, generator=generator) < 0.7).float()


def test_focal_loss_is_torchvisions_mean_over_the_valid_pixels():
    logits, masks, valid = random_masks()
    expected = sigmoid_focal_loss(logits, masks, alpha=0.25, gamma=2)[:, valid.bool()].mean(dim=1)
    torch.testing.assert_close(focal_loss(logits, masks, valid), expected)


def test_focal_loss_at_a_probability_of_a_quarter():
    logits = torch.full((2, 6), 1 / 3).log()
    loss = focal_loss(logits, torch.tensor([[1.0] * 6, [0.0] * 6]), torch.ones(6))
    inside, outside = 0.25 * (3 / 4) ** 2 * math.log(4), 0.75 * (1 / 4) ** 2 * math.log(4 / 3)
    torch.testing.assert_close(loss, torch.tensor([inside, outside]))


def test_dice_loss_in_closed_form():
    """Half of the pixels in the mask; p = 1/2 everywhere, p = mask, p = 1 - mask."""
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0])
    logits = torch.stack([torch.zeros(4), 200 * mask - 100, 100 - 200 * mask])
    loss = dice_loss(logits, mask.expand(3, 4), torch.ones(4))
    torch.testing.assert_close(loss, torch.tensor([1 - 3 / 5, 0.0, 1 - 1 / 5]))


def test_dice_loss_leaves_out_ignored_pixels():
    logits, masks, valid = random_masks()
    kept = valid.bool()
    expected = dice_loss(logits[:, kept], masks[:, kept], torch.ones(int(valid.sum())))
    torch.testing.assert_close(dice_loss(logits, masks, valid), expected)


@pytest.mark.parametrize(("pairwise", "single"), [(pairwise_focal_loss, focal_loss), (pairwise_dice_loss, dice_loss)])
def test_pairwise_losses_are_the_single_ones_of_every_pair(pairwise, single):
    logits, masks, valid = random_masks()
    table = pairwise(logits, masks[:2], valid)
    assert table.shape == (3, 2)
    for column in range(2):
        torch.testing.assert_close(table[:, column], single(logits, masks[column].expand(3, -1), valid))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("num_queries", "num_classes"), [(5, 3), (3, 3), (2, 4)])
def test_matching_is_the_cheapest_of_all_assignments(seed, num_queries, num_classes):
    generator = torch.Generator().manual_seed(seed)
    class_logits = torch.randn(num_queries, 6, generator=generator)
    mask_logits = torch.randn(num_queries, 4, 5, generator=generator)
    segmentation = torch.randint(num_classes, (4, 5), generator=generator).to(torch.uint8)
    segmentation[0, :2] = 255
    classes = segmentation[segmentation != 255].unique().long()

    def cost(query: int, position: int) -> float:
        mask = (segmentation == classes[position]).flatten()[None].float()
        valid = (segmentation != 255).flatten().float()
        logits = mask_logits[query].flatten()[None]
        mask_cost = 20 * focal_loss(logits, mask, valid) + dice_loss(logits, mask, valid)
        return (mask_cost - class_logits[query].softmax(0)[classes[position]]).item()

    table = [[cost(query, position) for position in range(len(classes))] for query in range(num_queries)]
    if num_queries >= len(classes):
        candidates = [
            [(q, m) for m, q in enumerate(chosen)] for chosen in permutations(range(num_queries), len(classes))
        ]
    else:
        candidates = [list(enumerate(chosen)) for chosen in permutations(range(len(classes)), num_queries)]
    best = min(candidates, key=lambda pairs: sum(table[q][m] for q, m in pairs))
    expected = sorted((query, int(classes[position])) for query, position in best)
    nothing = torch.full_like(segmentation, 255)
    matched = match(
        *(torch.stack([one] * 2) for one in (class_logits, mask_logits)), torch.stack([nothing, segmentation]), WEIGHTS
    )
    assert [sorted(zip(*(array.tolist() for array in pair), strict=True)) for pair in matched] == [[], expected]


def test_losses_of_a_batch_written_out():
    """Masks at the segmentations' size; means over all matched masks, not over the images'."""
    segmentations = torch.tensor([[[0, 0, 1, 1]], [[2, 2, 2, 255]]], dtype=torch.uint8)
    mask_logits = torch.tensor(
        [[[8.0, 8, -8, -8], [-8.0, -8, 7, 6], [0.0, 0, 0, 0]], [[0.0, 0, 0, 0], [9.0, 5, 3, 8], [-9.0, -9, -9, -9]]]
    )[:, :, None]
    class_logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    losses = mask_losses(class_logits, mask_logits, segmentations, WEIGHTS)
    flat = mask_logits[:, :, 0]
    matched = [
        (flat[0, 0], torch.tensor([1.0, 1, 0, 0]), torch.ones(4)),
        (flat[0, 1], torch.tensor([0.0, 0, 1, 1]), torch.ones(4)),
        (flat[1, 1], torch.tensor([1.0, 1, 1, 0]), torch.tensor([1.0, 1, 1, 0])),
    ]
    focal = sum(focal_loss(x[None], y[None], v) for x, y, v in matched) / 3
    dice = sum(dice_loss(x[None], y[None], v) for x, y, v in matched) / 3
    truth = torch.tensor([0, 1, 3, 3, 2, 3])
    log_p = class_logits.flatten(0, 1).log_softmax(1)[torch.arange(6), truth]
    weights = torch.tensor([1, 1, 0.1, 0.1, 1, 0.1])
    torch.testing.assert_close(losses["loss_focal"], 20 * focal[0])
    torch.testing.assert_close(losses["loss_dice"], dice[0])
    torch.testing.assert_close(losses["loss_class"], -(weights * log_p).sum() / weights.sum())


def test_an_image_without_labelled_pixels_adds_nothing():
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(2, 3, 4, generator=generator).requires_grad_()
    mask_logits = torch.randn(2, 3, 2, 2, generator=generator).requires_grad_()
    segmentations = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    nothing = mask_losses(class_logits, mask_logits, segmentations, WEIGHTS)
    assert all(loss == 0 for loss in nothing.values())
    sum(nothing.values()).backward()
    assert class_logits.grad.eq(0).all()
    assert mask_logits.grad.eq(0).all()
    segmentations[0] = 1
    both = mask_losses(class_logits, mask_logits, segmentations, WEIGHTS)
    alone = mask_losses(class_logits[:1], mask_logits[:1], segmentations[:1], WEIGHTS)
    for name, loss in alone.items():
        torch.testing.assert_close(both[name], loss)


def test_mixed_precision_does_not_reach_the_sums():
    generator = torch.Generator().manual_seed(0)
    class_logits, mask_logits = (
        torch.randn(1, 3, 4, generator=generator),
        torch.randn(1, 3, 32, 32, generator=generator),
    )
    segmentations = torch.randint(3, (1, 256, 256), generator=generator).to(torch.uint8)
    plain = mask_losses(class_logits, mask_logits, segmentations, WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = mask_losses(class_logits, mask_logits, segmentations, WEIGHTS)
    for name, loss in plain.items():
        assert torch.equal(mixed[name], loss)


def one_rank(rank: int, folder: str) -> None:
    """Rank 0 has an image of three classes, rank 1 one of one class, both with the same predictions."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    segmentations = torch.tensor([[[[0, 1], [2, 2]]], [[[1, 1], [1, 255]]]], dtype=torch.uint8)
    torch.save(mask_losses(*rank_predictions(), segmentations[rank], WEIGHTS), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def rank_predictions() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 4, 4, generator=generator), torch.randn(1, 4, 2, 2, generator=generator)


def test_masks_of_all_ranks_weigh_the_same(tmp_path: Path):
    """The mean of two ranks' focal and dice losses is that of both images in one process: over four masks."""
    two_ranks(one_rank, str(tmp_path))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    segmentations = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [1, 255]]], dtype=torch.uint8)
    classes, masks = (torch.cat([tensor, tensor]) for tensor in rank_predictions())
    together = mask_losses(classes, masks, segmentations, WEIGHTS)
    for name in ("loss_focal", "loss_dice"):
        torch.testing.assert_close((ranks[0][name] + ranks[1][name]) / 2, together[name])
