"""The networks of the FBNet space (Wu et al. 2019) that tables of phones' latencies list, and what is known of them.

22 layers of nine options: kernel 3 or 5, an expansion of 1, of 1 with two groups in the 1x1 convolutions, of 3 or of 6;
or none of it, where a 1x1 convolution remains if size or channels change.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fbnetv5.base.documents import read_text
from fbnetv5.base.errors import InputError

Array = npt.NDArray[np.float64]

NUM_LAYERS, NUM_OPTIONS = 22, 9
OPTIONS = [(kernel, *shape) for kernel in (3, 5) for shape in ((1, 1), (1, 2), (3, 1), (6, 1))]  # expansion, groups
STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))  # channels, n, stride
STEM, SIDE = 16, 112  # channels and side of the first layer's input, pixels


class Table(NamedTuple):
    """Measured networks.

    Attributes:
        choices: the option of each layer, [N, 22].
        ms: by device, [N].
    """

    choices: npt.NDArray[np.int64]
    ms: dict[str, Array]


def read_table(folder: Path) -> Table:
    """Read ``table.csv``: columns ``layer_0`` to ``layer_21``, then ``<device>_ms``.

    Raises:
        InputError: it cannot be read, or has other columns or options.
    """
    file = folder / "table.csv"
    try:
        first, *lines = read_text(file).splitlines()
        names = first.split(",")
        values = np.array([line.split(",") for line in lines], dtype=float)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    layers = [f"layer_{number}" for number in range(NUM_LAYERS)]
    if names[:NUM_LAYERS] != layers or len(names) == NUM_LAYERS:
        raise InputError(f"{file}: expected the columns {layers[0]} to {layers[-1]}, then <device>_ms")
    choices = values[:, :NUM_LAYERS].astype(np.int64)
    if choices.min() < 0 or choices.max() >= NUM_OPTIONS:
        raise InputError(f"{file}: an option is none of 0 to {NUM_OPTIONS - 1}")
    devices = {name.removesuffix("_ms"): values[:, place] for place, name in enumerate(names) if place >= NUM_LAYERS}
    return Table(choices, devices)


def one_hot(choices: npt.NDArray[np.int64]) -> Array:
    """Return which option each layer has, [N, 22, 9] of 0 and 1."""
    return (choices[:, :, None] == np.arange(NUM_OPTIONS)).astype(float)


def known_features(choices: npt.NDArray[np.int64]) -> dict[str, Array]:
    """Return groups of features [N, F] that no device has to be asked for: totals, kinds, kinds by stage, options."""
    chosen = one_hot(choices)
    stage_of = np.repeat(np.arange(len(STAGES)), [count for _, count, _ in STAGES])
    by_stage = [chosen[:, stage_of == stage].sum(axis=1) for stage in range(len(STAGES))]
    return {
        "totals": np.einsum("nlo,lof->nf", chosen, option_costs()),
        "kinds": chosen.sum(axis=1),
        "kinds by stage": np.concatenate(by_stage, axis=1),
        "options": chosen.reshape(len(choices), -1),
    }


def option_costs() -> Array:
    """Return the costs of each option of each layer, [22, 9, 5].

    They are MACs, parameters, numbers written, convolutions, and MACs of the depthwise one.
    """
    costs, channels, side = [], STEM, SIDE
    for out_channels, count, first_stride in STAGES:
        for number in range(count):
            stride = first_stride if number == 0 else 1
            own = [_block_cost(channels, out_channels, side, stride, *option) for option in OPTIONS]
            costs.append([*own, _bypass_cost(channels, out_channels, side, stride)])
            channels, side = out_channels, side // stride
    return np.array(costs, dtype=float)


def _block_cost(
    channels: int, out_channels: int, side: int, stride: int, kernel: int, expansion: int, groups: int
) -> list[int]:
    width, area, out_area = channels * expansion, side**2, (side // stride) ** 2
    expand, depthwise, project = channels * width // groups, width * kernel**2, width * out_channels // groups
    return [
        expand * area + (depthwise + project) * out_area,
        expand + depthwise + project,
        width * area + (width + out_channels) * out_area,
        3,
        depthwise * out_area,
    ]


def _bypass_cost(channels: int, out_channels: int, side: int, stride: int) -> list[int]:
    if stride == 1 and channels == out_channels:
        return [0] * 5
    out_area = (side // stride) ** 2
    return [channels * out_channels * out_area, channels * out_channels, out_channels * out_area, 1, 0]
