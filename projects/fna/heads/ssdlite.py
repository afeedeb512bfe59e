"""SSDLite: single-shot detection with separable convolutions (1801.04381, Sec. 6.2; FNA++, Sec. 4.2).

Everything is laid out as in FNA++'s code for 320 x 320 pixels, on torchvision's parts: two features of the network, of
strides 16 and 32, four extra levels, and default boxes of 0.2 to 0.95 of the image. The differences:

- FNA++ predicts from the inside of the first block of stride 32, after its expansion (of 96 channels to 576). Here the
  head has an expansion of its own, of what the network returns on path 2: the same shapes, 22 M more MACs.
- FNA++ has the 1x1 convolution to 1280 channels, from which stride 32 is predicted, in the network, so that the seed's
  weights are adapted. Here both of these convolutions belong to the head and start afresh.
- FNA++ has BN behind the predictions; here, as in torchvision, they have a bias.
- Default boxes are in pixels of the ``size`` that the head is for, also where an image is larger or of another shape,
  so that what is learnt on square crops holds on whole images. On square images of that size they are torchvision's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import ssd
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation, box_iou

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features, Size
from fbnetv5.heads.detection_head import DetectionHead
from fbnetv5.heads.fixed_boxes import clipped
from fbnetv5.projects.fna.heads.checks import at_least_float32, check_batch, check_strides, consecutive_paths
from fbnetv5.projects.fna.heads.detections import first_detections, images_of_sizes
from fbnetv5.projects.fna.heads.retinanet import level_sizes, level_strides

_norm = partial(nn.BatchNorm2d, eps=1e-3)
_INITIAL_STD = 0.03


class SSDLite(DetectionHead):
    """Detection: at every position of six levels, for four or six default boxes, a class and a better box.

    Args:
        channels: of the features, one number a path.
        num_classes: classes of objects, K.
        paths: those predicted on; the extra levels follow the last.
        size: side in pixels of the square images that the default boxes are for.
        expansion: of the channels of the paths before the last, by a 1x1 convolution.
        last_channels: what a 1x1 convolution makes of the last path.
        extra_channels: of the extra levels, each of half the size of the one before.
        aspect_ratios: of the default boxes, a list a level; each also stands for its inverse, and 1 is always there.
        scales: side of the first and the last level's default boxes, as a share of ``size``.
        score_threshold: detections below it are dropped.
        num_detections: of an image at most.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        paths: tuple[int, ...] = (2, 3),
        size: int = 320,
        expansion: int = 6,
        last_channels: int = 1280,
        extra_channels: tuple[int, ...] = (512, 256, 256, 128),
        aspect_ratios: tuple[Sequence[float], ...] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        scales: tuple[float, float] = (0.2, 0.95),
        score_threshold: float = 0.02,
        num_detections: int = 200,
    ) -> None:
        super().__init__()
        self.paths = consecutive_paths("SSDLite", channels, paths)
        self.size = size
        strides = level_strides(self.paths, len(extra_channels))
        _check_boxes(size, strides, aspect_ratios, scales)
        widths = [*(channels[path] * expansion for path in self.paths[:-1]), last_channels]
        self.expand = nn.ModuleList(
            _conv(channels[path], width, 1) for path, width in zip(self.paths, widths, strict=True)
        )
        inputs = (last_channels, *extra_channels[:-1])
        self.extra = nn.ModuleList(extra_level(*pair) for pair in zip(inputs, extra_channels, strict=True))
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.normal_(conv.weight, std=_INITIAL_STD)
        default_boxes = DefaultBoxGenerator(
            [list(ratios) for ratios in aspect_ratios],
            *scales,
            steps=[size / math.ceil(size / stride) for stride in strides],  # the distance of the boxes' centres
        )
        head = SSDLiteHead([*widths, *extra_channels], default_boxes.num_anchors_per_location(), num_classes + 1, _norm)
        # torchvision's whole detector, for its losses and its suppression; its resizing of images is not used
        self.detector = ssd.SSD(
            nn.Identity(),
            default_boxes,
            (size, size),
            num_classes + 1,
            head=head,
            score_thresh=score_threshold,
            nms_thresh=0.6,
            detections_per_img=num_detections,
        )

    def losses(
        self, features: Features, image_size: Size, sizes: list[Size], truth: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return two losses.

        Three of the hardest background boxes are learnt for each that an object matches, an image; one without objects
        therefore adds nothing to the losses.

        Raises:
            InputError: the features are not of the paths' nominal strides, or there is one image alone.
        """
        outputs, boxes = self._predict(features, image_size, sizes)
        matches = [self._match(target["boxes"], rows) for target, rows in zip(truth, boxes, strict=True)]
        losses = self.detector.compute_loss(truth, outputs, boxes, matches)
        return {"loss_classifier": losses["classification"], "loss_box_reg": losses["bbox_regression"]}

    def detections(self, features: Features, image_size: Size, sizes: list[Size]) -> list[dict[str, Tensor]]:
        """Return torchvision's detections.

        Raises:
            InputError: the features are not of the paths' nominal strides.
        """
        outputs, boxes = self._predict(features, image_size, sizes)
        found: list[dict[str, Tensor]] = self.detector.postprocess_detections(outputs, boxes, sizes)
        return found

    def _predict(
        self, features: Features, image_size: Size, sizes: list[Size]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return what :meth:`predict_levels` does, and the default boxes [A, 4] of each image."""
        check_strides("SSDLite", features, self.paths, image_size)
        outputs, levels = self.predict_levels(features)
        # Told of square images of the nominal size, the generator leaves its boxes in those pixels.
        nominal = images_of_sizes(outputs["cls_logits"], (self.size, self.size), sizes)
        anything = outputs["cls_logits"].new_zeros(())  # of the levels only the sizes are read
        return outputs, self.detector.anchor_generator(nominal, [anything.expand(level) for level in levels])

    def predict_levels(self, features: Features) -> tuple[dict[str, Tensor], list[torch.Size]]:
        """Return ``cls_logits`` [n, A, K + 1] and ``bbox_regression`` [n, A, 4] of all default boxes; levels' shapes.

        The background is class 0, as in torchvision; the predictions are at least float32.
        """
        levels = [layer(features[path]) for layer, path in zip(self.expand, self.paths, strict=True)]
        for layer in self.extra:
            if max(levels[-1].shape[-2:]) <= 2:  # what follows has one position
                check_batch("SSDLite", layer, len(levels[-1]))
            levels.append(layer(levels[-1]))
        outputs = self.detector.head(levels)
        dtype = at_least_float32(outputs["cls_logits"].dtype)
        return {name: values.to(dtype) for name, values in outputs.items()}, [level.shape for level in levels]

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return what detects in one image on a device; see :class:`fbnetv5.heads.head.DeployableHead`.

        Raises:
            InputError: the features are not of the paths' nominal strides.
        """
        return DeployedSSDLite(self, image_size, feature_sizes)

    def _match(self, boxes: Tensor, default_boxes: Tensor) -> Tensor:
        """Return for each of A default boxes the position of its object in ``boxes`` [m, 4], or -1: int64 [A]."""
        if len(boxes) == 0:
            return torch.full((len(default_boxes),), -1, device=boxes.device)
        matches: Tensor = self.detector.proposal_matcher(box_iou(boxes, default_boxes.to(boxes.dtype)))
        return matches


class DeployedSSDLite(nn.Module):
    """SSDLite's inference for one image, whose detections are those of :class:`SSDLite` up to rounding.

    Args:
        head: in evaluation mode; its modules are shared.
        image_size: (height, width) in pixels.
        feature_sizes: (height, width) of the features, ``feature_sizes[path]``.

    Raises:
        InputError: the features are not of the paths' nominal strides.
    """

    def __init__(self, head: SSDLite, image_size: Size, feature_sizes: Sequence[Size]) -> None:
        super().__init__()
        self.paths, detector = head.paths, head.detector
        self.expand, self.extra, self.predictions = head.expand, head.extra, detector.head
        self.box_coder = detector.box_coder
        sizes = level_sizes("SSDLite", self.paths, image_size, feature_sizes, num_added=len(head.extra))
        levels = [torch.zeros(1, 1, *size) for size in sizes]
        nominal = images_of_sizes(levels[0], (head.size, head.size), [image_size])
        (default_boxes,) = detector.anchor_generator(nominal, levels)
        self.register_buffer("default_boxes", default_boxes, persistent=False)
        self.default_boxes: Tensor
        self.num_candidates = min(detector.topk_candidates, len(default_boxes))  # of each class
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
        levels = [layer(features[path]) for layer, path in zip(self.expand, self.paths, strict=True)]
        for layer in self.extra:
            levels.append(layer(levels[-1]))
        outputs = self.predictions(levels)
        scores = outputs["cls_logits"][0].softmax(dim=1)[:, 1:].T  # [K, A], without the background
        scores, best = scores.topk(self.num_candidates, dim=1)
        classes = torch.arange(len(scores), device=scores.device)[:, None].expand(-1, self.num_candidates)
        boxes = self.box_coder.decode_single(outputs["bbox_regression"][0], self.default_boxes)
        return first_detections(
            clipped(boxes, covered.flip(0).repeat(2)).index_select(0, best.flatten()),
            classes.flatten(),
            scores.flatten(),
            score_threshold=self.thresholds["score"],
            overlap=self.thresholds["overlap_of_detections"],
            count=min(self.num_detections, scores.numel()),
        )


def extra_level(in_channels: int, out_channels: int) -> nn.Sequential:
    """A level of half the size: 1x1 to half of its channels, 3x3 depthwise with stride 2, 1x1 to its channels."""
    half = out_channels // 2
    return nn.Sequential(
        _conv(in_channels, half, 1), _conv(half, half, 3, stride=2, groups=half), _conv(half, out_channels, 1)
    )


def _conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer: nn.Sequential = Conv2dNormActivation(
        in_channels, out_channels, kernel, stride, groups=groups, norm_layer=_norm, activation_layer=nn.ReLU6
    )
    return layer


def _check_boxes(
    size: int, strides: Sequence[int], aspect_ratios: Sequence[Sequence[float]], scales: Sequence[float]
) -> None:
    if size < strides[0]:
        raise InputError(f"model.head.size={size}: SSDLite needs at least {strides[0]} pixels")
    if len(aspect_ratios) != len(strides):
        raise InputError(
            f"model.head.aspect_ratios has {len(aspect_ratios)} lists for SSDLite's {len(strides)} levels (paths and "
            "extra_channels); give one a level"
        )
    if len(scales) != 2 or not 0 < scales[0] < scales[1] <= 1:
        raise InputError(f"model.head.scales={list(scales)}: SSDLite needs two ascending numbers, above 0 and up to 1")
