"""Multi-scale testing (Table 3): the probabilities of a pixel's classes are averaged over several sizes of an image.

    python train_net.py --config projects/fpnas/configs/ade20k_multi_scale.yaml evaluate.model=FOLDER

A job of its own, for any trained model whose head has ``probabilities(features, image_size, true_sizes)``, as PSPNet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import resize

from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import local_path
from fbnetv5.base.types import Features, Size, Source, TargetDict
from fbnetv5.config.option import option
from fbnetv5.config.read import read_project
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.geometry import resized_size
from fbnetv5.data.sources import build_folder_source, build_val_source
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.heads.pixel_classes import likeliest_of_probabilities
from fbnetv5.heads.sizes import stored_sizes, unpadded_sizes
from fbnetv5.jobs.evaluate import evaluate_and_report
from fbnetv5.model.folder import load_task_model
from fbnetv5.model.task_net import TaskNet
from fbnetv5.report.html import try_report


@dataclass
class MultiScaleConfig:
    """The sizes; those of semantic-segmentation-pytorch by default."""

    short_sides: list[int] = option(lambda: [300, 375, 450, 525, 600], "short sides of an image, in pixels")
    long_side: int | None = option(1000, "an image's long side is at most this, in pixels")


@runtime_checkable
class PixelHead(Protocol):
    """A head that knows the probabilities of a pixel's classes."""

    def probabilities(
        self, features: Features, image_size: Size, true_sizes: Sequence[Size] | None = None
    ) -> list[Tensor]:
        """Return float [K, H, W] in the pixels of the unpadded image, an image."""


def run(config: RunConfig, folder: Path) -> None:
    """Evaluate ``evaluate.model`` at several scales, and write what the job ``evaluate`` writes.

    Raises:
        InputError: the configuration, the model, the data or a file is at fault; the message says which.
    """
    options = read_project(config.project, MultiScaleConfig)
    with start_world(config.runtime.device, config.runtime.threads, config.runtime.tf32) as world:
        if config.evaluate.model is None:
            raise InputError("evaluate.model is missing: the folder of a trained model")
        model = load_task_model(config.evaluate.model, trust_code=config.evaluate.trust_code).to(world.device)
        model = MultiScaleNet(model, options.short_sides, options.long_side)
        if config.evaluate.images is not None:
            source: Source = build_folder_source(local_path(config.evaluate.images))
        elif (found := build_val_source(config.data, {model.head.target.name: model.spec.classes})) is not None:
            source = found
        else:
            raise InputError("nothing to evaluate on: give evaluate.images=FOLDER, or the files of data.val")
        open_run_folder(config, folder, world)
        evaluate_and_report(config, model, source, folder, world)
        if world.is_main:
            try_report(folder)


class MultiScaleNet(TaskNet):
    """A trained model that averages its probabilities over several sizes of an image; its costs are those of all.

    Images come at the largest size, and are made smaller from that.

    Args:
        model: with a head that has ``probabilities``; its weights are shared.
        short_sides: of an image, in pixels.
        long_side: an image's long side is at most this, in pixels.

    Raises:
        InputError: the head has no probabilities of pixels, or a side is below one pixel.
    """

    def __init__(self, model: TaskNet, short_sides: Sequence[int], long_side: int | None) -> None:
        if not isinstance(model.head, PixelHead):
            raise InputError(f"the head {type(model.head).__name__} has no probabilities of pixels to average")
        if not short_sides or min(short_sides) < 1:
            raise InputError(f"project.short_sides={list(short_sides)} should be sides in pixels, such as [300, 450]")
        spec = replace(model.spec.input, short_side=max(short_sides), long_side=long_side)
        super().__init__(model.network, model.head, replace(model.spec, input=spec))
        self.short_sides = tuple(sorted(short_sides, reverse=True))
        self.train(model.training)

    def forward(
        self,
        images: Tensor,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> list[Any]:
        """Return a map of class ids, uint8 [H, W], an image; the arguments are those of ``TaskNet``."""
        sizes = unpadded_sizes(true_sizes, (images.shape[-2], images.shape[-1]), len(images))
        wanted = stored_sizes(output_sizes, sizes)
        return [
            likeliest_of_probabilities(self._average(image[:, : size[0], : size[1]], stored), stored)[0]
            for image, size, stored in zip(images, sizes, wanted, strict=True)
        ]

    def _average(self, image: Tensor, stored: Size) -> Tensor:
        """Return the mean probabilities [K, h, w] of an image [3, h, w] that is stored with another size."""
        total = image.new_zeros(())
        for short_side in self.short_sides:
            size = resized_size(*stored, short_side, self.spec.input.long_side)
            probabilities = self._probabilities(resize(image, list(size), antialias=True))
            total = total + F.interpolate(probabilities[None], size=image.shape[-2:], mode="bilinear")[0]
        return total / len(self.short_sides)

    def _probabilities(self, image: Tensor) -> Tensor:
        """Return the probabilities [K, h, w] of an image [3, h, w], padded as the model wants it."""
        height, width = image.shape[-2:]
        multiple = self.spec.input.multiple
        padded = F.pad(image, (0, -width % multiple, 0, -height % multiple))[None]
        features = {path: feature.to(padded.dtype) for path, feature in self.network(padded).items()}
        assert isinstance(self.head, PixelHead)
        with torch.autocast(padded.device.type, enabled=False):
            (probabilities,) = self.head.probabilities(
                features, (padded.shape[-2], padded.shape[-1]), [(height, width)]
            )
        return probabilities
