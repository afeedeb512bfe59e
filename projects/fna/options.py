"""The keys below ``project`` in the configs of a search and of a parameter adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.option import option

SEARCH_STARTS = ("seed", "random")
ADAPT_STARTS = ("super", "seed", "random")


@dataclass
class RemapOptions:
    """Options of remapping parameters; see :class:`fbnetv5.projects.fna.remap.Strategy`."""

    width: str = option("first", "first channels, those of largest bn, std or l1 (algorithm 1), or net2wider")
    kernel: str = option("centre", "centre (eq. 5, 6) or dilate (eq. 11)")
    depth: str = option("last", "last block of the stage for new ones (eq. 1), or net2deeper")
    noise: float = option(0.0, "deviation of the weights of added channels, so that they learn; 0 as in the paper")
    seed: int = option(0, "of the random choices of Net2Net and of the noise")


@dataclass
class SearchOptions:
    """Keys of a search."""

    space: str = option(MISSING, "search space, such as mobilenetv2_seg; projects/fna/README.md lists them")
    seed: str = option(MISSING, "pretrained network: a name such as mobilenetv2_100, or the folder of a trained model")
    seed_weights: str | None = option(None, "file of the seed's weights; null: timm's, or those of the folder")
    start: str = option("seed", "where parameters come from at first: seed (remapped) or random")
    output_stride: int | None = option(None, "8, 16 or 32: strides beyond are dilations; null: the space's own")
    architecture_share: float = option(0.5, "share of the training images that the architecture is judged on")
    remap: RemapOptions = option(RemapOptions, "how parameters are remapped")
    method: dict[str, Any] = option(
        lambda: {"_target_": "fbnetv5.projects.fna.differentiable.Differentiable"},
        "{_target_: class, its options}: the search method",
    )


@dataclass
class AdaptOptions:
    """Keys of a parameter adaptation."""

    search: str = option(MISSING, "folder of a finished search, whose architecture is trained")
    start: str = option(
        "super", "where parameters come from: super (the search's network: FNA++), seed (remapped: FNA) or random"
    )
    seed: str | None = option(None, "the seed, if it is not where the search found it; as in the search's config")
    seed_weights: str | None = option(None, "file of the seed's weights; null: as for the search")
    remap: RemapOptions = option(RemapOptions, "how parameters are remapped from the seed")
    calibration_steps: int = option(
        0,
        "batches that BN's statistics are recalculated on first; model.network.freeze_bn keeps them as they are then",
        minimum=0,
    )


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError for a value that is none of the choices."""
    if value not in choices:
        raise InputError(f"{key}={value} is none of {', '.join(choices)}{nearest(value, choices)}")
