from __future__ import annotations

import torch
from torchvision.models.detection.image_list import ImageList

from fbnetv5.heads.anchors import ExactAnchors


def test_anchors_lie_at_the_nominal_stride():
    """Family A makes 13 columns of 224 pixels; 224 // 13 would be 17."""
    anchors = ExactAnchors((32,), (0.5, 1.0, 2.0), stride=16)
    images = ImageList(torch.zeros(1, 3, 224, 224), [(224, 224)])
    (rows,) = anchors(images, [torch.zeros(1, 8, 13, 13, dtype=torch.bfloat16)])
    centres = (rows[:, :2] + rows[:, 2:]) / 2
    assert rows.shape == (13 * 13 * 3, 4)
    assert rows.dtype == torch.float32
    assert centres.unique(dim=0).max() == 12 * 16


def test_anchors_written_out_by_size_then_ratio_and_not_rounded():
    anchors = ExactAnchors((32, 64), (0.5, 1.0, 2.0), stride=8)
    root = 2**0.5
    sides = [(s * w, s * h) for s in (32, 64) for w, h in ((root, 1 / root), (1, 1), (1 / root, root))]
    expected = torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in sides])
    assert anchors.num_anchors == 6
    torch.testing.assert_close(anchors.cell_anchors[0], expected)
