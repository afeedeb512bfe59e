"""Shapes: a procedural data set for all tasks at once, drawn on the fly; the data set that comes with the package.

Each task needs something else, so that searched topologies have a reason to differ:

- ``label``: where the background is light and where dark. Contrast is low, brightness, tint and shading are random and
  every layout covers about half of the image, so that neither the mean colour nor a patch tells: only the whole does.
  In the hard world it is the number of objects.
- ``boxes``: disks, squares and triangles at any angle, from 6 % to 45 % of the side; the colour says nothing.
- ``segmentation``: objects, and wires one to three pixels thin (in an image of 128) that cross the image.
- ``depth``: the larger an object the nearer it is, and the nearer one hides the other; wires hang in front.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, derive_seed
from fbnetv5.base.types import Sample
from fbnetv5.data.shapes_drawing import SCENES, SURFACES, render
from fbnetv5.data.shapes_worlds import WORLDS


class ShapesSource:
    """``num_images`` square images of ``size`` pixels, those from number ``first`` on, of a world in ``WORLDS``.

    Image number i depends on ``(world, size, seed, i)`` alone.

    Raises:
        InputError: there is no image, or it would be too small for its objects.
    """

    def __init__(self, num_images: int, size: int, seed: int, *, first: int = 0, world: str = "plain") -> None:
        if num_images < 1:
            raise InputError(f"the shapes data set needs at least one image, not {num_images}")
        if size < 32:
            raise InputError(f"an image of the shapes data set needs at least 32 pixels, not {size}")
        self.num_images = num_images
        self.size = size
        self.seed = seed
        self.first = first
        self.world = WORLDS[world]

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The class names of each target that has classes."""
        counts = tuple(str(count) for count in range(1, self.world.max_objects + 1))
        labels = SCENES if self.world.label == "scene" else counts
        return {"label": labels, "boxes": self.world.objects, "segmentation": SURFACES}

    def __len__(self) -> int:
        return self.num_images

    def labelled(self, name: str) -> Sequence[int]:
        """The positions of the images that have the target ``name``: all, for every target of this world."""
        return range(self.num_images if name in ("label", "boxes", "segmentation", "depth") else 0)

    def num_labelled(self, name: str) -> int:
        """The number of images that have the target ``name``."""
        return len(self.labelled(name))

    def load(self, index: int, names: Collection[str] | None = None) -> Sample:
        """Render image ``index`` and those of its targets that ``names`` holds (all by default)."""
        number = self.first + index
        picture = render(self.size, derive_seed(self.seed, Purpose.SHAPES, number), self.world)
        target = {
            "label": picture.scene if self.world.label == "scene" else len(picture.boxes) - 1,
            "boxes": torch.from_numpy(picture.boxes),
            "box_labels": torch.from_numpy(picture.kinds),
            "segmentation": torch.from_numpy(picture.surface),
            "depth": torch.from_numpy(picture.depth),
        }
        wanted = {name: value for name, value in target.items() if names is None or name in names}
        return Sample(torch.from_numpy(picture.image.astype(np.uint8)), wanted, f"shapes/{number}")
