"""Heads of final models: features of some paths become losses or predictions, and on a device predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fbnetv5.archs.families import NUM_PATHS
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Features, Size, Target, TargetDict
from fbnetv5.config.targets import find_class, require_members

HEAD_MEMBERS = ("target", "no_weight_decay")  # that its class has


class Head(Protocol):
    """A head: an ``nn.Module`` that is built as ``Head(channels, num_classes, *, options)``.

    ``channels`` are the features', one number a path; ``num_classes`` those of its target. A new head is such a class
    in any module, and ``model.head._target_`` in a config.
    """

    target: Target
    """The entry of the target dict that it learns from; of the class, so that it is known before a head is built."""

    paths: tuple[int, ...]
    """The paths whose features it reads (0..3, strides 4, 8, 16, 32), ascending."""

    def __call__(
        self,
        features: Features,
        image_size: Size,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[Any]:
        """Return the losses, by name (training), or one prediction an image (evaluation).

        Every loss is a mean, so that losses of equal batches may be averaged, and gives every parameter that it
        depends on a gradient, whatever the targets are. Where it is a mean over all processes, the head says so by an
        attribute ``across_ranks``, and a joint model, whose processes may lack labels, sets it to False. A head that
        takes the strides of ``paths`` for granted says so by ``needs_usual_strides``.

        Args:
            features: ``features[path]`` is float32 [n, channels[path], h, w], for all of ``paths``.
            image_size: the images' common (height, width) in pixels, padding included.
            targets: n dicts that hold ``target``, in pixels of the padded images; training needs them.
            true_sizes: (height, width) of the images before they were padded on the right and below.
            output_sizes: (height, width) of the images as stored, in whose pixels predictions are; by default the true
                sizes.
        """

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that weight decay must leave alone, beside biases and normalisation."""


@runtime_checkable
class CountedHead(Protocol):
    """A head that knows its MACs in closed form; those of others are measured."""

    def macs(self, sizes: Sequence[Size]) -> int:
        """Return the MACs an image, for features of ``sizes[path]`` (height, width)."""


@runtime_checkable
class PixelHead(Protocol):
    """A head of segmentation that knows how probable a pixel's class is, so that its model can label images."""

    def classify(
        self,
        features: Features,
        image_size: Size,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the likeliest class of every pixel, uint8 [H, W], and its probability, [H, W], an image."""


@runtime_checkable
class DeployableHead(Protocol):
    """A head that can be exported."""

    def deployed(self, image_size: Size, feature_sizes: Sequence[Size]) -> nn.Module:
        """Return a module ``(features, covered)`` that maps the features of one image to named tensors.

        ``covered`` is the (height, width) that the image covers of the input, float [2]; what is to its right and below
        is padding. It is None for a head of classes whose images are crops, which cover all of it. Operations have
        fixed sizes, and no branch depends on a value. By the kind of the head's target the module returns

        =========  ===========================================================================================
        SCALAR     ``scores`` [K], the probability of each class
        BOXES      ``boxes`` [D, 4] (xyxy pixels of the input), ``box_labels`` int64 [D] and ``scores`` [D], the best
                   first; ``count`` int64 [1], how many of the D places are used
        MASK       ``segmentation`` uint8 [H, W] of the input's size, class ids; ``confidence`` [H, W], how probable
        KEYPOINTS  ``keypoints`` [K, 3]: x, y in pixels of the input, and the score
        =========  ===========================================================================================

        Args:
            image_size: (height, width) of the input in pixels.
            feature_sizes: (height, width) of the features, ``feature_sizes[path]``.
        """


def head_target(entry: Mapping[str, Any], key: str = "model.head") -> Target:
    """Return what the head that an entry, of ``key`` in the config, chooses learns from.

    Raises:
        InputError: its class cannot be found or is no head.
    """
    chosen = find_class(key, entry)
    require_members(key, entry, chosen, HEAD_MEMBERS, "head")
    if not isinstance(chosen.target, Target):
        raise InputError(f"{key}._target_={entry['_target_']} is no head: its 'target' is no Target")
    return chosen.target


def ascending_paths(*paths: int) -> tuple[int, ...]:
    """Return distinct paths in ascending order. Raises InputError if one is none of 0..3."""
    for path in paths:
        if path not in range(NUM_PATHS):
            raise InputError(f"path {path} is out of range; paths are 0 to {NUM_PATHS - 1}")
    return tuple(sorted(set(paths)))
