"""What images are normalised with before a network sees them. It belongs to the network's weights."""

from __future__ import annotations

from dataclasses import dataclass

from fbnetv5.base.errors import InputError

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of the channels of images, RGB in [0, 1]; by default ImageNet's.

    Raises:
        InputError: a deviation is not positive.
    """

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise InputError(f"images cannot be normalised with the deviations {list(self.std)}: they are above 0")

    @property
    def colour(self) -> list[int]:
        """The mean colour, 0 to 255, which becomes about 0."""
        return [round(255 * mean) for mean in self.mean]


IMAGENET = Normalisation()
