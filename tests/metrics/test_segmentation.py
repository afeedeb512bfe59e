"""IoU, by hand and against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import SEGMENTATION
from fbnetv5.metrics.segmentation import SegmentationIoU, confusion_matrix

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def evaluate(pairs: list[tuple[torch.Tensor, torch.Tensor]], classes: tuple[str, ...]) -> dict[str, float]:
    evaluator = SegmentationIoU(SEGMENTATION, classes)
    for prediction, truth in pairs:
        evaluator.update([prediction], [{"segmentation": truth}], ["a"])
    return evaluator.compute(ALONE)


def test_by_hand():
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 255, 255]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 1, 1], [1, 2, 2, 0]], dtype=torch.uint8)
    assert confusion_matrix(prediction, truth, 4).tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0] * 4, [0] * 4]
    assert evaluate([(prediction, truth)], ("sky", "tree", "road", "sea")) == {
        "mIoU": pytest.approx((2 / 3 + 2 / 4 + 0) / 3),  # the sea is nowhere
        "pixel_accuracy": pytest.approx(4 / 6),
        "IoU/sky": pytest.approx(2 / 3),
        "IoU/tree": pytest.approx(2 / 4),
        "IoU/road": 0.0,
        "num_images": 1.0,
    }


@pytest.mark.parametrize("num_classes", [2, 150])
def test_on_random_maps(num_classes):
    generator = torch.Generator().manual_seed(num_classes)
    pairs = []
    for height in (31, 64, 50):
        truth = torch.randint(num_classes, (height, 200), generator=generator, dtype=torch.uint8)
        noise = torch.randint(num_classes, truth.shape, generator=generator, dtype=torch.uint8)
        prediction = torch.where(torch.rand(truth.shape, generator=generator) < 0.6, truth, noise)
        truth[torch.rand(truth.shape, generator=generator) < 0.1] = 255
        pairs.append((prediction, truth))
    every = [torch.cat([pair[i].flatten() for pair in pairs]).long() for i in (0, 1)]
    oracle = multiclass_confusion_matrix(*every, num_classes, ignore_index=255)
    assert sum(confusion_matrix(*pair, num_classes) for pair in pairs).equal(oracle)
    values = evaluate(pairs, tuple(map(str, range(num_classes))))
    expected = multiclass_jaccard_index(*every, num_classes, ignore_index=255, average=None).double()
    assert [values[f"IoU/{k}"] for k in range(num_classes)] == pytest.approx(expected.tolist(), abs=1e-6)
    assert values["mIoU"] == pytest.approx(expected.mean().item(), abs=1e-6)
    assert values["pixel_accuracy"] == pytest.approx((oracle.diagonal().sum() / oracle.sum()).item(), abs=1e-6)


def test_pixels_of_all_images_count_together():
    ones, zeros = torch.ones(1, 1, dtype=torch.uint8), torch.zeros(3, 3, dtype=torch.uint8)
    values = evaluate([(zeros, zeros), (ones * 0, ones)], ("a", "b"))
    assert values["IoU/a"] == 0.9
    assert values["mIoU"] == 0.45


def test_bad_input():
    void = torch.full((2, 2), 255, dtype=torch.uint8)
    with pytest.raises(InputError, match="no pixel of 1 images"):
        evaluate([(void * 0, void)], ("a", "b"))
    with pytest.raises(InputError, match="no pixel of 0 images"):
        evaluate([], ("a", "b"))
    with pytest.raises(ValueError, match=r"image 'a': a mask \[2, 2\], predicted \[2, 3\]"):
        evaluate([(torch.zeros(2, 3), void)], ("a", "b"))
    with pytest.raises(ValueError, match="class id of 7"):
        evaluate([(void * 0 + 7, void * 0)], ("a", "b"))
