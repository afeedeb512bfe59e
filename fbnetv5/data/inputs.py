"""How an image becomes the input of a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from fbnetv5.base.errors import InputError
from fbnetv5.base.limits import MAX_SIDE
from fbnetv5.base.normalisation import IMAGENET, Channels, Normalisation
from fbnetv5.base.types import Size, TargetKind
from fbnetv5.data.collate import round_up
from fbnetv5.data.geometry import Resize, normalised


@dataclass(frozen=True)
class InputSpec:
    """Sizes and statistics of a trained model's input; part of its config.json.

    Attributes:
        short_side: images are resized to this short side, in pixels.
        long_side: but not beyond this long side, in pixels.
        crop: side of the central square that is cut out, in pixels; None takes whole images.
        multiple: height and width of a batch are multiples of this many pixels.
        mean, std: what the network's weights want the channels normalised with, RGB in [0, 1].

    Raises:
        InputError: a size is below one pixel or above ``MAX_SIDE``, or a deviation is not positive.
    """

    short_side: int
    long_side: int | None = None
    crop: int | None = None
    multiple: int = 1
    mean: Channels = IMAGENET.mean
    std: Channels = IMAGENET.std

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side", "crop", "multiple"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MAX_SIDE:
                raise InputError(f"input.{name} is {value}; it should be 1 to {MAX_SIDE} pixels")
        if min(self.std) <= 0:
            raise InputError(f"input.std is {list(self.std)}; it should be three numbers above 0")

    @property
    def normalisation(self) -> Normalisation:
        """Mean and deviation."""
        return Normalisation(self.mean, self.std)

    def normalised_with(self, normalisation: Normalisation) -> InputSpec:
        """Return the same input with another mean and deviation."""
        return replace(self, mean=normalisation.mean, std=normalisation.std)

    def prepare(self, image: Tensor) -> Tensor:
        """Resize, crop and normalise an image, uint8 [3, H, W] to float32 [3, h, w].

        What a crop reaches beyond the image, at the right and at the bottom, is the mean colour. Whole images are not
        padded; ``collate`` does that.
        """
        resize = Resize(self.short_side, long_side=self.long_side, nearest_size=self.crop is None)
        resized = resize(tv_tensors.Image(image)).as_subclass(Tensor)
        if self.crop is not None:
            height, width = resized.shape[-2:]
            missing = [0, 0, max(0, self.crop - width), max(0, self.crop - height)]
            if any(missing):
                resized = functional.pad(resized, missing, fill=self.normalisation.colour)
            resized = functional.center_crop(resized, [self.crop, self.crop])
        return normalised(resized, self.normalisation)

    def nominal_size(self) -> Size:
        """Return the (height, width) that costs are stated at, in pixels: of a crop, or of a wide image."""
        sides = (self.crop, self.crop) if self.crop is not None else (self.short_side, self.long_side)
        height, width = (round_up(side or self.short_side, self.multiple) for side in sides)
        return height, width

    def cost_size(self, kind: TargetKind) -> Size:
        """Return the nominal size, but where maps are predicted, by convention, short side x short side."""
        size = self.nominal_size()
        return size if kind is not TargetKind.MASK else (min(size), min(size))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputSpec:
        """Return what ``to_dict`` has written.

        Raises:
            InputError: a key is unknown or missing, or a value is not what it should be.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"input should be an object with the key short_side and others, not {data!r}")
        known = [entry.name for entry in fields(cls)]
        for key in data:
            if key not in known:
                raise InputError(f"input has an unknown key '{key}'; the keys are {', '.join(known)}")
        for key in known:
            if key not in data:
                raise InputError(f"input.{key} is missing")
            _check_value(key, data[key])
        values: dict[str, Any] = {**data, **{key: tuple(map(float, data[key])) for key in _TRIPLES}}
        return cls(**values)


_TRIPLES = ("mean", "std")
_OPTIONAL = ("long_side", "crop")


def _check_value(key: str, value: Any) -> None:
    if key in _TRIPLES:
        if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(map(_is_number, value)):
            raise InputError(f"input.{key} is {value!r}; it should be three numbers")
    elif not (type(value) is int or (value is None and key in _OPTIONAL)):
        optional = " or null" if key in _OPTIONAL else ""
        raise InputError(f"input.{key} is {value!r}; it should be a whole number{optional}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
