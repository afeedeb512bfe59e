"""Teachers that cost nothing: their answers are simple functions of the pixels of each image."""

from __future__ import annotations

import os

import torch

from fbnetv5.labeling.teacher import Boxes, Pixels


class MeanBoxes:
    """Two boxes an image: one that is sure, one whose score is the mean brightness; dark images have none.

    The process ends once it has seen as many images as the environment's EXIT_AFTER says.
    """

    classes = ("sure", "bright")

    def __init__(self):
        self.num_left = int(os.environ.get("EXIT_AFTER", "1000000"))

    def to(self, device):
        pass

    def __call__(self, images):
        self.num_left -= len(images)
        if self.num_left < 0:
            os._exit(9)
        return [self.boxes(image) for image in images]

    def boxes(self, image):
        height, width = image.shape[1:]
        mean = float(image.float().mean()) / 255
        boxes = torch.tensor([[0.25, 0.5, width / 2, height / 2], [1.0, 1.0, width + 9.0, height + 9.0]])
        scores = torch.tensor([0.9, mean]) if mean > 0.25 else torch.tensor([0.1, 0.1])
        return Boxes(boxes, torch.tensor([0, 1]), scores)


class Brightness:
    """Pixels are dark or light, and sure to be so where they are far from grey."""

    classes = ("dark", "light")

    def to(self, device):
        pass

    def __call__(self, images):
        levels = [image.float().mean(0) / 255 for image in images]
        return [Pixels((x > 0.5).to(torch.uint8), (x - 0.5).abs() + 0.3) for x in levels]


class ManyClasses(Brightness):
    """More classes than a mask can hold."""

    classes = tuple(map(str, range(256)))
