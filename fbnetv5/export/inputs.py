"""Images as the input of an exported model, which has one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.data.geometry import normalised, resized_size
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.photos import padded_size

LARGEST = 8192  # pixels on a side


def input_size(model: Any, wanted: list[int] | None, stored: Sequence[Size] = ()) -> Size:
    """Return the (height, width) to export at: what is wanted; or the crop, or the size that most images are padded to.

    Args:
        model: the trained model.
        wanted: height and width, if they are given.
        stored: (height, width) of images that are to be expected; without any it is the model's nominal size.

    Raises:
        InputError: the wanted size is none, or not one that the model sees.
    """
    spec = model.spec.input
    if wanted is None:
        if spec.crop is not None or not stored:
            nominal: Size = spec.nominal_size()
            return nominal
        seen = [resized_size(height, width, spec.short_side, spec.long_side) for height, width in stored]
        return Counter(padded_size(model, size) for size in seen).most_common(1)[0][0]
    if len(wanted) != 2 or not all(32 <= side <= LARGEST for side in wanted):
        raise InputError(f"export.size={wanted} should be [height, width] in pixels, each 32 to {LARGEST}")
    size = (wanted[0], wanted[1])
    if spec.crop is not None and size != (spec.crop, spec.crop):
        raise InputError(f"export.size={wanted}, but the model was trained on crops of {spec.crop} x {spec.crop}")
    if any(side % spec.multiple for side in size):
        raise InputError(f"export.size={wanted}: both sides should be multiples of {spec.multiple}")
    if spec.crop is None and (least := padded_size(model, size)) != size:
        raise InputError(f"export.size={wanted} is too small for this network: {list(least)} or more")
    return size


def fitted(image: Tensor, spec: InputSpec, size: Size) -> tuple[Tensor, Size]:
    """Return an image as the input of an exported model, and the (height, width) of it that the image covers.

    Crops are those of the trained model. Whole images are resized as for the trained model, smaller if they do not fit,
    and padded on the right and below with the mean colour.

    Args:
        image: uint8 [3, H, W].
        spec: of the trained model.
        size: (height, width) of the input.

    Returns:
        float32 [1, 3, height, width], and the size.
    """
    if spec.crop is not None:
        return spec.prepare(image)[None], size
    height, width = image.shape[-2:]
    wanted = resized_size(height, width, spec.short_side, spec.long_side)
    if wanted[0] > size[0] or wanted[1] > size[1]:
        factor = min(size[0] / height, size[1] / width)
        wanted = (min(size[0], max(1, round(height * factor))), min(size[1], max(1, round(width * factor))))
    resized = functional.resize(image, list(wanted), antialias=True)
    prepared = normalised(resized, spec.normalisation)
    return F.pad(prepared, (0, size[1] - wanted[1], 0, size[0] - wanted[0]))[None], wanted
