"""D2Go's checkpointer for our networks: weights that see other images, or are another network's, are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fbnetv5.d2
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.weights import about_weights, said_normalisation, said_origin
from fbnetv5.d2.checkpoint import ABOUT

try:
    from d2go.checkpoint.fsdp_checkpoint import FSDPCheckpointer
except ImportError as error:
    raise fbnetv5.d2.not_installed(error) from error

NETWORKS = ("network.", "backbone.network.")  # names of ours begin so: in our task models, and in detectors
TOLERANCE = 0.01  # of 255, as configs have few decimals
SHOWN = 3


class FBNetV5Checkpointer(FSDPCheckpointer):
    """Says in a checkpoint what its images are normalised with, and compares what a loaded one says.

    Args:
        cfg: of the run, whose ``INPUT.FORMAT``, ``MODEL.PIXEL_MEAN`` and ``MODEL.PIXEL_STD`` say how images are seen.
        model: of the run.
        options: of D2Go's checkpointer; in training, there is an ``optimizer``.
    """

    def __init__(self, cfg: Any, model: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self.order = str(cfg.INPUT.FORMAT)
        self.normalisation = normalisation_of(cfg)
        self.origin: Origin | None = None

    def save(self, name: str, tag_last_ckpt: bool = True, **kwargs: Any) -> None:
        """Write a checkpoint, with what its images are normalised with where they are RGB."""
        if self.normalisation is not None:
            kwargs[ABOUT] = about_weights(self.normalisation, self.origin)
        super().save(name, tag_last_ckpt, **kwargs)

    def _load_model(self, checkpoint: Any) -> Any:
        if ABOUT in checkpoint:
            self._check_images(str(checkpoint[ABOUT]))
        incompatible = super()._load_model(checkpoint)
        self._check_names(incompatible.missing_keys)
        return incompatible

    def _check_images(self, about: str) -> None:
        """Raise InputError where weights have seen images of another normalisation or order of channels."""
        said = said_normalisation(about, Path("MODEL.WEIGHTS"))
        self.origin = said_origin(about, Path("MODEL.WEIGHTS"))
        wanted = f"MODEL.PIXEL_MEAN {_of_255(said.mean)} MODEL.PIXEL_STD {_of_255(said.std)}"
        if self.normalisation is None:
            raise InputError(f"INPUT.FORMAT is {self.order}; these weights want RGB: INPUT.FORMAT RGB {wanted}")
        own = (*self.normalisation.mean, *self.normalisation.std)
        if any(255 * abs(a - b) > TOLERANCE for a, b in zip((*said.mean, *said.std), own, strict=True)):
            raise InputError(f"these weights' images are normalised otherwise: set {wanted}")

    def _check_names(self, missing: Sequence[str]) -> None:
        """Raise InputError where weights lack parts of our network; a head alone may start anew, in training."""
        is_ours = any(name.startswith(NETWORKS) for name in self.model.state_dict())
        named = [name for name in missing if is_ours and not name.endswith("num_batches_tracked")]
        needed = [name for name in named if name.startswith(NETWORKS) or "optimizer" not in self.checkpointables]
        if needed:
            more = " and more" if len(needed) > SHOWN else ""
            raise InputError(
                f"MODEL.WEIGHTS lacks {', '.join(needed[:SHOWN])}{more}, or has other shapes: detectors take files of "
                "fbnetv5.d2.convert, others those of fbnetv5.d2.checkpoint, of the same MODEL.FBNETV5.FAMILY"
            )


def normalisation_of(cfg: Any) -> Normalisation | None:
    """Return what a config normalises RGB in [0, 1] with; None where its images are not RGB."""
    if cfg.INPUT.FORMAT != "RGB":
        return None
    mean, std = ([round(value / 255, 12) for value in values] for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    return Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def _of_255(values: Sequence[float]) -> str:
    return str([round(255 * value, 3) for value in values]).replace(" ", "")
