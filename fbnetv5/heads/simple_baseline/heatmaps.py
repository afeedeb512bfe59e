"""Keypoints as heatmaps, one a keypoint, and back: SimpleBaseline's (Xiao et al., 1804.06208), Section 2.

A map of h x w cells covers the whole image; cell i is [i, i + 1) times the stride, and its centre at half of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fbnetv5.base.types import Size, TargetDict

SIGMA = 2.0  # of a keypoint's gaussian, in cells
SHIFT = 0.25  # cells, from the highest cell towards its higher neighbour


def gaussian_maps(points: Tensor, image_size: Size, map_size: Size, *, sigma: float = SIGMA) -> Tensor:
    """Return a gaussian of height 1 around each point, [..., h, w].

    It is centred at the point itself, where SimpleBaseline rounds to a cell, and not cut off at 3 sigma.

    Args:
        points: [..., 2], x and y in pixels.
        image_size: (height, width) that the maps cover, in pixels.
        map_size: (h, w).
        sigma: in cells.
    """
    (height, width), (rows, columns) = image_size, map_size
    x = points[..., 0] * (columns / width) - 0.5  # in cells, from the centre of the first
    y = points[..., 1] * (rows / height) - 0.5
    across = torch.arange(columns, device=points.device, dtype=points.dtype) - x[..., None]
    down = torch.arange(rows, device=points.device, dtype=points.dtype) - y[..., None]
    scale = -1 / (2 * sigma**2)
    return (down.square() * scale).exp()[..., :, None] * (across.square() * scale).exp()[..., None, :]


def heatmap_loss(
    maps: Tensor, targets: Sequence[TargetDict], name: str, image_size: Size, *, sigma: float = SIGMA
) -> Tensor:
    """Return the mean over images and keypoints of the squared error; unlabelled keypoints count as 0.

    It is SimpleBaseline's loss but for a constant: a keypoint's error is divided by pi sigma^2, which is that of a map
    of zeros, so that the loss starts at the share of labelled keypoints whatever the size of the maps.

    Args:
        maps: [n, K, h, w].
        targets: n dicts with keypoints [K, 3].
        name: of the keypoints in them.
        image_size: the images' (height, width) in pixels.
        sigma: of the gaussians, in cells.
    """
    keypoints = torch.stack([target[name] for target in targets]).to(maps)  # [n, K, 3]
    truth = gaussian_maps(keypoints[..., :2], image_size, (maps.shape[-2], maps.shape[-1]), sigma=sigma)
    errors = (maps - truth).square().sum(dim=(2, 3)) / (math.pi * sigma**2)
    return (errors * (keypoints[..., 2] > 0)).mean()


def decode(maps: Tensor, image_size: Size, true_size: Size, output_size: Size) -> Tensor:
    """Return the keypoints [K, 3] of an image's maps: x, y in pixels of the stored image, and the score.

    A keypoint is at the highest cell, a quarter of a cell towards the higher of its neighbours on either axis; its
    score is the height there, within 0 and 1.

    Args:
        maps: [K, h, w].
        image_size: (height, width) of the padded image, which the maps cover.
        true_size: the image's before it was padded; keypoints lie in it.
        output_size: the stored image's.
    """
    maps = maps.float()
    image_size, true_size, output_size = map(_integers, (image_size, true_size, output_size))
    (height, width), (rows, columns) = image_size, _integers((maps.shape[-2], maps.shape[-1]))
    num_rows = max(1, min(rows, round(true_size[0] * rows / height)))
    num_columns = max(1, min(columns, round(true_size[1] * columns / width)))
    maps = maps[:, :num_rows, :num_columns]
    scores, cells = maps.flatten(1).max(dim=1)
    y, x = cells // num_columns, cells % num_columns
    index = torch.arange(len(maps), device=maps.device)
    centre_x = x + SHIFT * _slope(maps[index, y], x) + 0.5
    centre_y = y + SHIFT * _slope(maps[index, :, x], y) + 0.5
    to_x = width / columns * output_size[1] / true_size[1]
    to_y = height / rows * output_size[0] / true_size[0]
    return torch.stack(
        [
            (centre_x * to_x).clamp(0, output_size[1]),
            (centre_y * to_y).clamp(0, output_size[0]),
            scores.clamp(0, 1),
        ],
        dim=1,
    )


def decode_covered(maps: Tensor, image_size: Size, covered: Tensor) -> Tensor:
    """Return the keypoints [K, 3] of an image's maps, as :func:`decode` does, in operations of fixed size.

    Positions are floats, which hold them exactly: quantisers and runtimes want no arithmetic on integers.

    Args:
        maps: [K, h, w].
        image_size: (height, width) of the padded image, which the maps cover.
        covered: (height, width) of it that the image covers, float [2]; keypoints lie in it.

    Returns:
        x, y in pixels of the padded image, and the score.
    """
    (height, width), (rows, columns) = image_size, maps.shape[-2:]
    num_rows = (covered[0] * rows / height).round().clamp(1, rows)
    num_columns = (covered[1] * columns / width).round().clamp(1, columns)
    down = torch.arange(rows, dtype=maps.dtype, device=maps.device)
    across = torch.arange(columns, dtype=maps.dtype, device=maps.device)
    inside = (down < num_rows)[:, None] & (across < num_columns)  # [h, w]
    lowest = torch.full((), torch.finfo(maps.dtype).min, dtype=maps.dtype, device=maps.device)
    scores, cells = torch.where(inside, maps, lowest).flatten(1).max(dim=1)
    y = (cells.to(maps.dtype) / columns).floor()
    x = cells.to(maps.dtype) - y * columns
    slope_x = _rise(maps, 2).flatten(1).gather(1, cells[:, None])[:, 0] * (x < num_columns - 1)
    slope_y = _rise(maps, 1).flatten(1).gather(1, cells[:, None])[:, 0] * (y < num_rows - 1)
    pixels_x = (x + SHIFT * slope_x + 0.5) * (width / columns)
    pixels_y = (y + SHIFT * slope_y + 0.5) * (height / rows)
    return torch.stack(
        [torch.minimum(pixels_x, covered[1]), torch.minimum(pixels_y, covered[0]), scores.clamp(0, 1)], dim=1
    )


def _rise(maps: Tensor, dim: int) -> Tensor:
    """Return the sign of the rise from the cell before to the cell after along ``dim`` 1 or 2; 0 at both ends.

    Args:
        maps: [K, h, w]; the result has their shape.
    """
    length = maps.shape[dim]
    if length < 3:
        return torch.zeros_like(maps)
    rise = (maps.narrow(dim, 2, length - 2) - maps.narrow(dim, 0, length - 2)).sign()
    end = torch.zeros_like(maps.narrow(dim, 0, 1))
    return torch.cat([end, rise, end], dim=dim)


def _integers(size: Size) -> Size:
    """Return a size as integers, which it is not where the model is traced, as to count its MACs."""
    return int(size[0]), int(size[1])


def _slope(lines: Tensor, cells: Tensor) -> Tensor:
    """Return the sign of the rise from the cell before to the cell after; 0 at an end of a line.

    Args:
        lines: [K, n].
        cells: [K].
    """
    last = lines.shape[1] - 1
    before = lines.gather(1, (cells - 1).clamp(min=0)[:, None])[:, 0]
    after = lines.gather(1, (cells + 1).clamp(max=last)[:, None])[:, 0]
    return torch.where((cells > 0) & (cells < last), (after - before).sign(), torch.zeros_like(after))
