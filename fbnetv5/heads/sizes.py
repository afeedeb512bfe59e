"""The sizes of images that were padded to a common one."""

from __future__ import annotations

from collections.abc import Sequence

Size = tuple[int, int]


def unpadded_sizes(true_sizes: Sequence[Size] | None, image_size: Size, count: int) -> list[Size]:
    """Return the (height, width) that each of ``count`` images had before it was padded to ``image_size``.

    Without ``true_sizes``, no image was padded. The padding is on the right and below.

    Raises:
        ValueError: there is not one size an image, or one is larger than the padded image.
    """
    if true_sizes is None:
        return [image_size] * count
    if len(true_sizes) != count:
        raise ValueError(f"{len(true_sizes)} true sizes for {count} images")
    for size in true_sizes:
        if size[0] > image_size[0] or size[1] > image_size[1]:
            raise ValueError(f"a true size of {tuple(size)} does not fit the padded image's {tuple(image_size)}")
    return [(height, width) for height, width in true_sizes]
