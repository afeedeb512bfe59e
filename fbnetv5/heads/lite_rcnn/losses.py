"""torchvision's region proposals and box refinement with Detectron2's losses.

Boxes are learnt with the plain L1 distance (torchvision has smooth L1 with beta 1/9), and the proposals' losses are
sums divided by the number of anchors that are asked for (torchvision: that are sampled). Thresholds, sampling, box
coding and suppression are the same in both libraries, but for torchvision's leaving out boxes below a thousandth
(proposals) and a hundredth (detections) of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

from fbnetv5.heads.batched_rcnn import BatchedProposals, BatchedRoIHeads


class L1RegionProposals(BatchedProposals):
    """torchvision's region proposal network, with Detectron2's losses."""

    beta = 0.0

    def divisor(self, counts: Sequence[int]) -> int:
        """Return the anchors that are asked for, of as many images as there are counts."""
        return int(self.fg_bg_sampler.batch_size_per_image) * len(counts)


class L1RoIHeads(BatchedRoIHeads):
    """torchvision's box head, with Detectron2's losses."""

    beta = 0.0
