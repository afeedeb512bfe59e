"""RetinaNet: a pyramid of five levels, and dense predictions on each (1708.02002; FNA++, Sec. 4.2).

All of it is torchvision's. The settings are those of FNA++'s code, which are MMDetection's: levels 6 and 7 come from
the network's last feature, not from the pyramid's; no normalisation in the head; three anchor sizes an octave. What
torchvision has otherwise: the boxes' distance is L1 (there: smooth L1 with beta 0.11), and a loss is the mean of the
images' sums over their numbers of matched anchors (there: the batch's sum over the batch's number). The anchors lie at
the nominal strides, as in MMDetection; torchvision divides the image by the grid, which moves those of levels 6 and 7
where the image is no multiple of 128.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from fbnetv5.archs.families import STRIDES
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.detection_head import DetectionHead
from fbnetv5.heads.fixed_boxes import clipped
from fbnetv5.projects.fna.heads.checks import at_least_float32, check_strides, consecutive_paths
from fbnetv5.projects.fna.heads.detections import first_detections, images_of_sizes

_MAX_CONVS = 4  # what torchvision's head has
_SCALES_PER_OCTAVE = 3


class RetinaNet(DetectionHead):
    """Detection: at every position of every level, for nine anchors, a score for each class and a better box.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of objects, K.
        paths: those that the pyramid starts from; two levels of half the size each are added.
        hidden_channels: width of the pyramid and of the head.
        num_convs: 3x3 convolutions of each of the head's two branches before the last one, 1 to 4.
        anchor_scale: side of a level's smallest square anchor, in strides of the level.
        aspect_ratios: height / width of the anchors.
        score_threshold: detections below it are dropped.
        num_detections: of an image at most.
    """

    first_label = 0

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        paths: tuple[int, ...] = (1, 2, 3),
        hidden_channels: int = 256,
        num_convs: int = 4,
        anchor_scale: float = 4.0,
        aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        score_threshold: float = 0.05,
        num_detections: int = 100,
    ) -> None:
        super().__init__()
        self.paths = consecutive_paths("RetinaNet", channels, paths)
        anchors = LevelAnchors(level_strides(self.paths), anchor_scale, aspect_ratios)
        pyramid = FeaturePyramidNetwork(
            [channels[path] for path in self.paths],
            hidden_channels,
            extra_blocks=LastLevelP6P7(channels[self.paths[-1]], hidden_channels),
        )
        pyramid.out_channels = hidden_channels  # torchvision asks a backbone for it
        head = _head(hidden_channels, anchors.num_anchors_per_location()[0], num_classes, num_convs)
        # torchvision's whole detector, for its losses and its suppression; its resizing of images is not used
        self.detector = detection.RetinaNet(
            pyramid,
            num_classes,
            anchor_generator=anchors,
            head=head,
            score_thresh=score_threshold,
            detections_per_img=num_detections,
        )

    def losses(
        self, features: Features, image_size: Size, sizes: list[Size], truth: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return two losses.

        Raises:
            InputError: the features are not of the paths' nominal strides.
        """
        outputs, levels = self.predict_levels(features, image_size)
        losses = self.detector.compute_loss(truth, outputs, self._anchors(levels, image_size, sizes))
        return {"loss_classifier": losses["classification"], "loss_box_reg": losses["bbox_regression"]}

    def detections(self, features: Features, image_size: Size, sizes: list[Size]) -> list[dict[str, Tensor]]:
        """Return torchvision's detections.

        Raises:
            InputError: the features are not of the paths' nominal strides.
        """
        outputs, levels = self.predict_levels(features, image_size)
        counts = [len(level[0, 0].flatten()) * self.detector.head.classification_head.num_anchors for level in levels]
        by_level = {name: list(values.split(counts, dim=1)) for name, values in outputs.items()}
        anchors = [list(rows.split(counts)) for rows in self._anchors(levels, image_size, sizes)]
        found: list[dict[str, Tensor]] = self.detector.postprocess_detections(by_level, anchors, sizes)
        return found

    def _anchors(self, levels: list[Tensor], image_size: Size, sizes: list[Size]) -> list[Tensor]:
        anchors: list[Tensor] = self.detector.anchor_generator(images_of_sizes(levels[0], image_size, sizes), levels)
        return anchors

    def predict_levels(self, features: Features, image_size: Size) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return ``cls_logits`` [n, A, K] and ``bbox_regression`` [n, A, 4] of all levels' anchors, and the levels.

        The levels are [n, hidden_channels, h, w] each, the finest first; the predictions are at least float32.
        """
        check_strides("RetinaNet", features, self.paths, image_size)
        named = OrderedDict((str(path), features[path]) for path in self.paths)
        levels = list(self.detector.backbone(named).values())
        outputs = self.detector.head(levels)
        dtype = at_least_float32(outputs["cls_logits"].dtype)
        return {name: values.to(dtype) for name, values in outputs.items()}, levels

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what detects in one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`.

        Raises:
            InputError: the features are not of the paths' nominal strides.
        """
        return DeployedRetinaNet(self, image_size, feature_sizes)


class DeployedRetinaNet(nn.Module):
    """RetinaNet's inference for one image, whose detections are those of :class:`RetinaNet` up to rounding.

    Args:
        head: in evaluation mode; its modules are shared.
        image_size: (height, width) in pixels.
        feature_sizes: (height, width) of the features, ``feature_sizes[path]``.

    Raises:
        InputError: the features are not of the paths' nominal strides.
    """

    def __init__(self, head: RetinaNet, image_size: Size, feature_sizes: Sequence[Size]) -> None:
        super().__init__()
        self.paths, detector = head.paths, head.detector
        self.pyramid, self.predictions, self.box_coder = detector.backbone, detector.head, detector.box_coder
        sizes = level_sizes("RetinaNet", self.paths, image_size, feature_sizes, num_added=2)
        levels = [torch.zeros(1, 1, *size) for size in sizes]
        (anchors,) = detector.anchor_generator(images_of_sizes(levels[0], image_size, [image_size]), levels)
        self.register_buffer("anchors", anchors, persistent=False)
        self.anchors: Tensor
        num_anchors = detector.head.classification_head.num_anchors
        self.num_anchors = [height * width * num_anchors for height, width in sizes]  # of each level
        self.num_candidates = detector.topk_candidates  # of each level at most
        self.num_detections = detector.detections_per_img
        self.thresholds = {
            "score": float(detector.score_thresh),
            "overlap_of_detections": float(detector.nms_thresh),
        }

    def forward(self, features: Features, covered: Tensor) -> dict[str, Tensor]:
        """Detect objects.

        Args:
            features: of one image, ``features[path]`` [1, C, h, w] for all paths.
            covered: (height, width) of the input that the image covers, float [2]; boxes are clipped to it.

        Returns:
            ``boxes`` [D, 4] (xyxy pixels of the input), ``box_labels`` int64 [D], ``scores`` [D], the best first, and
            ``count`` int64 [1], how many of them there are.
        """
        levels = list(self.pyramid(OrderedDict((str(path), features[path]) for path in self.paths)).values())
        outputs = self.predictions(levels)
        by_level = (outputs["cls_logits"][0], outputs["bbox_regression"][0], self.anchors)
        found = map(self._candidates, *(values.split(self.num_anchors) for values in by_level))
        boxes, labels, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        return first_detections(
            clipped(boxes, covered.flip(0).repeat(2)),
            labels,
            scores,
            score_threshold=self.thresholds["score"],
            overlap=self.thresholds["overlap_of_detections"],
            count=min(self.num_detections, len(scores)),
        )

    def _candidates(self, logits: Tensor, deltas: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the boxes [n, 4], labels [n] and scores [n] of a level that are worth suppression.

        Args:
            logits: [A, K].
            deltas: [A, 4].
            anchors: [A, 4].
        """
        num_classes = logits.shape[1]
        scores, best = logits.sigmoid().flatten().topk(min(self.num_candidates, logits.numel()))
        places = torch.div(best, num_classes, rounding_mode="floor")
        boxes = self.box_coder.decode_single(deltas.index_select(0, places), anchors.index_select(0, places))
        return boxes, torch.remainder(best, num_classes), scores


class LevelAnchors(AnchorGenerator):
    """Anchors of several levels at their nominal strides, three sizes an octave.

    Args:
        strides: of the levels, in pixels.
        scale: side of a level's smallest square anchor, in strides.
        aspect_ratios: height / width; every size has every ratio.
    """

    def __init__(self, strides: Sequence[int], scale: float, aspect_ratios: Sequence[float]) -> None:
        octave = [2 ** (step / _SCALES_PER_OCTAVE) for step in range(_SCALES_PER_OCTAVE)]
        sizes = tuple(tuple(int(stride * scale * factor) for factor in octave) for stride in strides)
        if min(map(min, sizes)) < 1 or min(aspect_ratios, default=0.0) <= 0:
            raise InputError("model.head: RetinaNet needs anchors of at least one pixel, and aspect ratios above 0")
        super().__init__(sizes, (tuple(aspect_ratios),) * len(sizes))
        self.strides = tuple(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return anchors, at least float32 [A, 4] (xyxy pixels), for each image, level after level."""
        device = feature_maps[0].device
        self.set_cell_anchors(at_least_float32(feature_maps[0].dtype), device)
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors([list(level.shape[-2:]) for level in feature_maps], strides))
        return [anchors] * len(image_list.image_sizes)


def level_strides(paths: Sequence[int], num_added: int = 2) -> list[int]:
    """Return the strides in pixels of ``paths``, and of ``num_added`` further levels of half the size each."""
    strides = [STRIDES[path] for path in paths]
    return strides + [strides[-1] * 2 ** (level + 1) for level in range(num_added)]


def level_sizes(
    framework: str, paths: Sequence[int], image_size: Size, feature_sizes: Sequence[Size], *, num_added: int
) -> list[Size]:
    """Return the (height, width) of the levels that :func:`level_strides` has.

    Raises:
        InputError: the features of the paths are not of their nominal strides.
    """
    check_strides(framework, {path: torch.zeros(1, 1, *feature_sizes[path]) for path in paths}, paths, image_size)
    sizes = [feature_sizes[path] for path in paths]
    for _ in range(num_added):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def _head(channels: int, num_anchors: int, num_classes: int, num_convs: int) -> RetinaNetHead:
    if num_convs not in range(1, _MAX_CONVS + 1):
        raise InputError(f"model.head.num_convs={num_convs}: RetinaNet has 1 to {_MAX_CONVS} of them")
    head = RetinaNetHead(channels, num_anchors, num_classes)
    for branch in (head.classification_head, head.regression_head):
        branch.conv = branch.conv[:num_convs]
    return head
