from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.seeding import forked
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.data.geometry import PadTo, Resize
from fbnetv5.data.transforms import JointTransform, OnImage, eval_transform, kept_boxes, train_transform

LABEL = Target("label", TargetKind.SCALAR)
BOXES = Target("boxes", TargetKind.BOXES)
MASK = Target("segmentation", TargetKind.MASK)
DEPTH = Target("depth", TargetKind.DENSE)


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[Tensor, dict[str, Any]]:
    """A white rectangle on black, with the box and the mask that belong to it."""
    left, top, right, bottom = box
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[top:bottom, left:right] = 1
    target = {"boxes": torch.tensor([box], dtype=torch.float32), "box_labels": torch.tensor([4]), "segmentation": mask}
    return (mask * 255).expand(3, -1, -1).contiguous(), target


def tight_box(mask: Tensor) -> Tensor:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return torch.tensor([columns[0, 0], rows[0, 0], columns[-1, 0] + 1, rows[-1, 0] + 1], dtype=torch.float32)


def seeded(transform: JointTransform, seed: int, image: Tensor, target: dict[str, Any], *targets: Target) -> Any:
    with forked(seed):
        return transform(image, target, targets)


@pytest.mark.parametrize(("short_side", "tolerance"), [(48, 0.0), (40, 1.0), (90, 1.0)])
def test_image_mask_and_box_move_together(short_side: int, tolerance: float) -> None:
    image, target = rectangle(48, 64, (20, 14, 47, 33))
    transform = train_transform(short_side, 32)
    for seed in range(40):
        moved, result = seeded(transform, seed, image, target, BOXES, MASK)
        assert moved.shape == (3, 32, 32)
        assert result["segmentation"].shape == (32, 32)
        white = moved[0] > 0
        differing = (white != (result["segmentation"] == 1)).sum()
        assert differing <= tolerance * 2 * (32 + 32)  # at most a line of pixels along the border
        for box in result["boxes"]:
            assert (tight_box(result["segmentation"] == 1) - box).abs().max() <= tolerance
            assert result["box_labels"].tolist() == [4]


def test_a_flip_mirrors_everything_and_happens_to_half_of_the_images() -> None:
    image, target = rectangle(48, 48, (5, 6, 20, 30))
    flips = 0
    for seed in range(60):
        plain, expected = seeded(train_transform(48, 48, flip=False), seed, image, target, BOXES, MASK)
        moved, result = seeded(train_transform(48, 48), seed, image, target, BOXES, MASK)
        if torch.equal(moved, plain):
            assert torch.equal(result["boxes"], expected["boxes"])
            continue
        flips += 1
        assert torch.equal(moved, plain.flip(-1))
        assert torch.equal(result["segmentation"], expected["segmentation"].flip(-1))
        assert result["boxes"].tolist() == [[48 - 20, 6, 48 - 5, 30]]
    assert 20 <= flips <= 40


def test_boxes_are_clipped_to_the_crop_and_dropped_with_their_labels_when_too_little_is_left() -> None:
    boxes = [[0, 10, 8, 20], [0, 10, 9.5, 20], [0, 10, 10.5, 20], [30, 0, 48, 12], [20, 20, 24, 28]]
    target = {"boxes": torch.tensor(boxes), "box_labels": torch.arange(5)}
    _, result = eval_transform(48, 32)(torch.zeros(3, 48, 48, dtype=torch.uint8), target, [BOXES])  # crop of 8..40
    assert result["boxes"].tolist() == [[0, 2, 2.5, 12], [22, 0, 32, 4], [12, 12, 16, 20]]
    assert result["box_labels"].tolist() == [2, 3, 4]


def test_an_image_whose_boxes_are_cut_away_stays_labelled_and_a_missing_key_stays_missing() -> None:
    image, target = rectangle(48, 48, (0, 0, 4, 4))
    _, result = eval_transform(48, 32)(image, target, [BOXES])
    assert result["boxes"].shape == (0, 4)
    assert result["box_labels"].shape == (0,)
    _, result = eval_transform(48, 32)(image, {"label": 3}, [LABEL, BOXES, MASK])
    assert result == {"label": 3}


def test_the_given_target_is_left_alone() -> None:
    image, target = rectangle(48, 64, (20, 14, 47, 33))
    before = {name: value.clone() for name, value in target.items()}
    eval_transform(30, 24)(image, target, [BOXES, MASK])
    assert all(torch.equal(target[name], before[name]) for name in before)


def test_masks_take_existing_values_only() -> None:
    mask = torch.tensor([0, 7, 255], dtype=torch.uint8)[torch.randint(0, 3, (50, 70), generator=torch.manual_seed(0))]
    _, result = eval_transform(33, 32)(torch.zeros(3, 50, 70, dtype=torch.uint8), {"segmentation": mask}, [MASK])
    assert result["segmentation"].dtype == torch.uint8
    assert result["segmentation"].unique().tolist() == [0, 7, 255]


def test_resizing_masks_has_no_side() -> None:
    mask = torch.randint(0, 5, (30, 48), dtype=torch.uint8, generator=torch.manual_seed(0))
    image = torch.zeros(3, 30, 48, dtype=torch.uint8)
    transform = JointTransform([Resize(10)])
    straight = transform(image, {"segmentation": mask}, [MASK])[1]["segmentation"]
    mirrored = transform(image, {"segmentation": mask.flip(-1)}, [MASK])[1]["segmentation"]
    assert torch.equal(straight, mirrored.flip(-1))


@pytest.mark.parametrize("make", [train_transform, eval_transform])
def test_what_lies_outside_of_a_small_image_is_unknown(make: Any) -> None:
    target = {"segmentation": torch.ones(20, 24, dtype=torch.uint8), "depth": torch.ones(20, 24)}
    image = torch.full((3, 20, 24), 255, dtype=torch.uint8)
    moved, result = seeded(make(20, 32), 0, image, target, MASK, DEPTH)
    inside = moved[0] > 1
    assert moved.shape == (3, 32, 32)
    assert inside.sum() == 20 * 24
    assert moved[:, ~inside].abs().max() < 0.01  # the mean colour
    assert torch.equal(result["segmentation"] == 255, ~inside)
    assert torch.equal(result["depth"].isnan(), ~inside)


def test_pixels_are_normalised_with_imagenets_statistics() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    moved, _ = eval_transform(8, 8)(image, {}, [])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    torch.testing.assert_close(moved, (image / 255 - mean) / std)


@pytest.mark.parametrize(("short_side", "crop"), [(0, 8), (8, 0)])
def test_impossible_sizes_are_refused(short_side: int, crop: int) -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        train_transform(short_side, crop)


def test_maps_without_a_known_pixel_are_unlabelled():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    unknown = {"segmentation": torch.full((32, 32), 255, dtype=torch.uint8), "depth": torch.full((32, 32), torch.nan)}
    _, target = seeded(train_transform(32, 32), 0, image, unknown, MASK, DEPTH)
    assert target == {}
    unknown["segmentation"][0, 0] = 1
    _, target = seeded(train_transform(32, 32), 0, image, unknown, MASK, DEPTH)
    assert set(target) == {"segmentation"}


def test_a_crop_by_area_moves_boxes_with_the_image():
    image, target = rectangle(60, 90, (20, 10, 50, 40))
    for seed in range(20):
        _, moved = seeded(train_transform(1, 64, area=(0.5, 1.0)), seed, image, target, BOXES, MASK)
        if len(moved["boxes"]):
            assert (tight_box(moved["segmentation"] == 1) - moved["boxes"][0]).abs().max() <= 2


@pytest.mark.parametrize(("short_side", "crop"), [(48, 32), (32, 32), (20, 32)])
def test_a_random_crop_draws_and_gives_what_torchvisions_does(short_side: int, crop: int) -> None:
    image, target = rectangle(48, 64, (20, 14, 47, 33))
    steps = [Resize(short_side), PadTo(crop), v2.RandomCrop(crop), v2.RandomHorizontalFlip()]
    for seed in range(10):
        expected, wanted = seeded(JointTransform(steps), seed, image, target, BOXES, MASK)
        moved, result = seeded(train_transform(short_side, crop), seed, image, target, BOXES, MASK)
        assert torch.equal(moved, expected)
        assert all(torch.equal(result[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (40, 150), (1, 1), (30, 700)])
def test_whole_images_keep_every_box_and_their_shape(height: int, width: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, width, height], [0.0, 0.0, width / 2, height / 2]])
    target = {"boxes": boxes, "box_labels": torch.arange(2), "segmentation": torch.ones(height, width).byte()}
    transform = train_transform(77, None, long_side=111, flip=False)
    moved, result = transform(torch.zeros(3, height, width, dtype=torch.uint8), target, [BOXES, MASK])
    h, w = moved.shape[-2:]
    assert max(h, w) <= 111
    assert min(h, w) == 77 or max(h, w) == 111
    assert result["segmentation"].shape == (h, w)
    torch.testing.assert_close(result["boxes"][0], torch.tensor([0.0, 0.0, w, h]))
    torch.testing.assert_close(result["boxes"][1], torch.tensor([0, 0, w / 2, h / 2]))


def test_no_box_at_the_border_of_a_whole_image_is_lost_to_rounding() -> None:
    transform = train_transform(77, None, flip=False)
    for side in range(20, 200):
        target = {"boxes": torch.tensor([[0.0, 0.0, side, side]]), "box_labels": torch.zeros(1).long()}
        _, result = transform(torch.zeros(3, side, side, dtype=torch.uint8), target, [BOXES])
        assert len(result["boxes"]) == 1
        assert result["boxes"].max() <= 77


@pytest.mark.parametrize("options", [{"short_side": 224}, {"short_side": 1, "area": (1.0, 1.0)}])
def test_no_box_at_the_border_of_a_crop_is_lost_to_rounding(options: dict[str, Any]) -> None:
    """Of 416 pixels torchvision makes 224.00002."""
    transform = train_transform(crop=224, flip=False, **options)
    target = {"boxes": torch.tensor([[0.0, 0.0, 416.0, 416.0]]), "box_labels": torch.zeros(1).long()}
    _, result = seeded(transform, 0, torch.zeros(3, 416, 416, dtype=torch.uint8), target, BOXES)
    assert result["boxes"].tolist() == [[0.0, 0.0, 224.0, 224.0]]


def test_a_crop_by_area_moves_maps_with_the_image() -> None:
    rows, columns = torch.meshgrid(torch.arange(180.0), torch.arange(240.0), indexing="ij")
    transform = train_transform(1, 100, area=(0.3, 1.0), flip=False)
    image = torch.stack([columns, rows, rows]).to(torch.uint8)
    errors = []
    for seed in range(20):
        moved, result = seeded(transform, seed, image, {"depth": columns.clone()}, DEPTH)
        red = (moved[0] * IMAGENET.std[0] + IMAGENET.mean[0]) * 255
        errors.append((result["depth"] - red)[20:-20, 20:-20].mean())
    assert abs(torch.stack(errors).mean()) < 0.1, "pixels of the image; half a pixel of the crop is 0.5 to 1.2"


def test_the_random_scale_is_uniform_and_moves_boxes_with_the_image() -> None:
    image, target = rectangle(50, 100, (20, 14, 47, 33))
    factors = []
    for seed in range(200):
        moved, result = seeded(train_transform(50, None, scale=(0.5, 2.0), flip=False), seed, image, target, BOXES)
        factors.append(moved.shape[1] / 50)
        assert moved.shape[2] == pytest.approx(2 * moved.shape[1], abs=1)
        scale = torch.tensor([moved.shape[2] / 100, moved.shape[1] / 50]).repeat(2)
        torch.testing.assert_close(result["boxes"][0], target["boxes"][0] * scale)
    assert min(factors) < 0.55
    assert max(factors) > 1.95
    assert sum(factors) / 200 == pytest.approx(1.25, abs=0.1)


def test_the_random_scale_acts_on_both_limits() -> None:
    image = torch.zeros(3, 10, 100, dtype=torch.uint8)
    for seed in range(20):
        moved, _ = seeded(train_transform(64, None, long_side=80, scale=(0.5, 2.0)), seed, image, {})
        assert 40 <= moved.shape[2] <= 160  # the long side decides
        assert moved.shape[1] == pytest.approx(moved.shape[2] / 10, abs=1)


@pytest.mark.parametrize("color", ["photometric", "randaugment"])
def test_colours_change_in_the_image_alone_and_not_outside_of_it(color: Any) -> None:
    _, target = rectangle(20, 24, (4, 4, 20, 16))
    image = torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8, generator=torch.manual_seed(0))
    plain, expected = train_transform(20, 32, flip=False)(image, target, [BOXES, MASK])
    outside = expected["segmentation"] == 255
    num_changed = 0
    for seed in range(10):
        moved, result = seeded(train_transform(20, 32, flip=False, color=color), seed, image, target, BOXES, MASK)
        num_changed += not torch.equal(moved, plain)
        assert torch.equal(moved[:, outside], plain[:, outside])
        assert all(torch.equal(result[key], expected[key]) for key in expected)
    assert num_changed >= 5


def test_colours_change_before_pixels_are_normalised() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    moved, _ = JointTransform([OnImage(v2.RandomInvert(p=1.0))])(image, {}, [])
    assert torch.equal(moved, eval_transform(8, 8)(255 - image, {}, [])[0])


def test_maps_without_a_known_pixel_stay_when_told_so() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    unknown = {"segmentation": torch.full((32, 32), 255, dtype=torch.uint8), "depth": torch.full((32, 32), torch.nan)}
    _, target = seeded(train_transform(32, 24, keep_unknown=True), 0, image, unknown, MASK, DEPTH)
    assert (target["segmentation"] == 255).all()
    assert target["depth"].isnan().all()


def test_crops_of_random_area_need_a_size() -> None:
    with pytest.raises(InputError, match="need the side"):
        train_transform(32, None, area=(0.5, 1.0))


@pytest.mark.parametrize("min_side", [1.0, 2.0])
def test_boxes_are_kept_as_torchvision_keeps_them(min_side: float) -> None:
    corners = torch.randint(-1, 12, (4000, 4), generator=torch.Generator().manual_seed(0)).float()
    boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(8, 10))
    kept, rows = kept_boxes(boxes, min_side)
    clamped = functional.clamp_bounding_boxes(boxes)
    expected, mask = functional.sanitize_bounding_boxes(clamped, min_size=min_side, min_area=0.0)
    assert torch.equal(rows, mask)
    assert 0 < len(kept) < 4000
    assert torch.equal(kept, expected.as_subclass(Tensor))
