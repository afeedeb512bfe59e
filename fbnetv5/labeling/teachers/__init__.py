"""The teachers that a config can choose, one file a family: ``{_target_: fbnetv5.labeling.teachers.TorchvisionBoxes}``.

Detectron2's are in ``fbnetv5.d2.teachers``.
"""

from fbnetv5.labeling.teachers.from_torchvision import TorchvisionBoxes, TorchvisionPixels
from fbnetv5.labeling.teachers.from_transformers import TransformersBoxes, TransformersPixels
from fbnetv5.labeling.teachers.trained import TrainedBoxes, TrainedPixels

__all__ = [
    "TorchvisionBoxes",
    "TorchvisionPixels",
    "TrainedBoxes",
    "TrainedPixels",
    "TransformersBoxes",
    "TransformersPixels",
]
