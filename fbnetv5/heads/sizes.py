"""The sizes of images: padded to a common one, as the network saw them, and as they are stored."""

from __future__ import annotations

from collections.abc import Sequence

from fbnetv5.base.types import Size


def unpadded_sizes(true_sizes: Sequence[Size] | None, image_size: Size, count: int) -> list[Size]:
    """Return the (height, width) that each of ``count`` images had before it was padded to ``image_size``.

    Without ``true_sizes``, no image was padded. The padding is on the right and below.

    Raises:
        ValueError: there is not one size an image, or one is larger than the padded image.
    """
    if true_sizes is None:
        return [image_size] * count
    sizes = _one_an_image(true_sizes, count, "true")
    for size in sizes:
        if size[0] > image_size[0] or size[1] > image_size[1]:
            raise ValueError(f"a true size of {size} does not fit the padded image's {tuple(image_size)}")
    return sizes


def stored_sizes(output_sizes: Sequence[Size] | None, true_sizes: list[Size]) -> list[Size]:
    """Return the (height, width) in whose pixels predictions are wanted: by default, the true sizes.

    Raises:
        ValueError: there is not one size an image.
    """
    return true_sizes if output_sizes is None else _one_an_image(output_sizes, len(true_sizes), "output")


def _one_an_image(sizes: Sequence[Size], count: int, kind: str) -> list[Size]:
    if len(sizes) != count:
        raise ValueError(f"{len(sizes)} {kind} sizes for {count} images")
    return [(int(height), int(width)) for height, width in sizes]
