"""What the models of one task and of several have in common: photos become predictions, in pixels of the photos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.cost import least_side
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.types import Size
from fbnetv5.data.collate import round_up
from fbnetv5.data.images import orientation_of, read_stored, to_rgb
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.orientation import STORED, turn_pixels

ImageLike = str | Path | Image.Image | Tensor
Frame = Literal["upright", "stored"]
Found = TypeVar("Found")


class HasInput(Protocol):
    """What rebuilds a model, of which photos need the input alone."""

    @property
    def input(self) -> InputSpec:
        """How images become the network's input."""


class PhotoModel(nn.Module, ABC, Generic[Found]):
    """A final model; ``Found`` is what it predicts for a photo.

    Attributes:
        spec: everything that rebuilds it, but for its weights.
        origin: where the first weights come from; None where they are random.
        folder: that the model was read from; None where it was not.
    """

    spec: HasInput

    def __init__(self) -> None:
        super().__init__()
        self.origin: Origin | None = None
        self.folder: Path | None = None

    @abstractmethod
    def typed(self, tensors: Any) -> Found:
        """Return the predictions of one image, of types that fit the tasks, from tensors."""

    @abstractmethod
    def in_stored_frame(self, tensors: Any, size: tuple[int, int], orientation: int) -> Any:
        """Return predictions of one upright image of (width, height) pixels in those of the image as it is stored."""

    @overload
    def predict(self, image: ImageLike, *, frame: Frame = "upright") -> Found: ...

    @overload
    def predict(self, image: list[Any] | tuple[Any, ...], *, frame: Frame = "upright") -> list[Found]: ...

    def predict(
        self, image: ImageLike | list[Any] | tuple[Any, ...], *, frame: Frame = "upright"
    ) -> Found | list[Found]:
        """Return the prediction for an image, or a list of them for several, of a type that fits the task.

        A model of several tasks returns one a task, by name.

        Args:
            image: a file, a PIL image, or RGB as uint8 [3, H, W]; or a list or tuple of such, of any sizes.
            frame: as for :meth:`predict_tensors`.

        Raises:
            InputError, ValueError: as :meth:`predict_tensors`.
        """
        if isinstance(image, (list, tuple)):
            return [self.predict(one, frame=frame) for one in image]
        return self.typed(self.predict_tensors(image, frame=frame))

    @torch.no_grad()
    def predict_tensors(self, image: ImageLike, *, frame: Frame = "upright") -> Any:
        """Return what heads predict for one image, in its own pixels; the model's mode is restored.

        Args:
            image: a file, a PIL image, or RGB as uint8 [3, H, W].
            frame: the pixels that boxes, masks and points are in: of the image as a person sees it, or as it is stored,
                where it has an EXIF orientation.

        Raises:
            InputError: the file cannot be read as an image.
            ValueError: the tensor is no uint8 [3, H, W].
        """
        pixels, orientation = upright_pixels(image)
        parameter = next(self.parameters())
        prepared = self.spec.input.prepare(pixels)
        height, width = prepared.shape[-2:]
        padded = pad_image(self, prepared).to(parameter.device, parameter.dtype)
        was_training = self.training
        self.eval()
        try:
            (prediction,) = self(
                padded[None], true_sizes=[(height, width)], output_sizes=[(pixels.shape[1], pixels.shape[2])]
            )
        finally:
            self.train(was_training)
        if frame == STORED:
            return self.in_stored_frame(prediction, (pixels.shape[2], pixels.shape[1]), orientation)
        return prediction

    def save_to_hub(
        self, name: str, *, license: str | None = None, private: bool = False, exports: bool = False
    ) -> str:
        """Upload the model to Hugging Face's hub, as :func:`fbnetv5.model.hub.save_to_hub` says."""
        from fbnetv5.model.hub import save_to_hub  # here, as it writes folders of models of this class

        model: Any = self  # of one task or of several: there are no others
        return save_to_hub(model, name, license=license, private=private, exports=exports)

    @property
    def normalisation(self) -> Normalisation:
        """What images are normalised with."""
        return self.spec.input.normalisation


def padded_size(model: Any, size: Size) -> Size:
    """Return the (height, width) that an image of ``size`` is padded to for a final model, to the right and below.

    Multiples that the model's input says, and as much as leaves a pixel on every path of a family's network.
    """
    multiple, family = model.spec.input.multiple, getattr(getattr(model, "network", None), "family", None)
    least = 1 if family is None or multiple == 1 else least_side(family)
    height, width = (max(round_up(side, multiple), least) for side in size)
    return height, width


def pad_image(model: Any, image: Tensor) -> Tensor:
    """Return an input [3, h, w] of a final model, padded to :func:`padded_size` to the right and below."""
    height, width = image.shape[-2:]
    full = padded_size(model, (height, width))
    return F.pad(image, (0, full[1] - width, 0, full[0] - height))


def as_pixels(image: ImageLike) -> Tensor:
    """Return an image as uint8 [3, H, W], upright; as :func:`upright_pixels`, without its orientation."""
    return upright_pixels(image)[0]


def upright_pixels(image: ImageLike) -> tuple[Tensor, int]:
    """Return an image as uint8 [3, H, W], as a person sees it, and the EXIF orientation that it is stored in.

    Args:
        image: a file, a PIL image, or RGB as uint8 [3, H, W].

    Raises:
        InputError: the file cannot be read as an image.
        ValueError: the tensor is no uint8 [3, H, W].
    """
    if isinstance(image, Image.Image):
        pixels, orientation = torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1), orientation_of(image)
        return turn_pixels(pixels, orientation).contiguous(), orientation
    if not isinstance(image, Tensor):
        stored, orientation = read_stored(Path(image))
        return turn_pixels(stored, orientation), orientation
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise ValueError(f"expected an image of uint8 [3, H, W], got {image.dtype} {list(image.shape)}")
    return image, 1
