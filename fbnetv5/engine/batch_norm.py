"""BN's statistics: those of one sub-network or of a batch, in place of the supernet's running ones.

The running statistics of weights that several networks share mix those of all that were sampled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Item = TypeVar("Item")


def recalibrate_bn(module: nn.Module, forward: Callable[[Item], object], batches: Iterable[Item]) -> None:
    """Recompute the running statistics of ``module``'s BN layers as the plain average over ``batches``.

    A sub-network is ``recalibrate_bn(network, lambda images: network(images, topology), batches)``. All else computes
    as in evaluation and stays as it is: weights, the mode of every module, and the statistics of layers that no batch
    goes through. Several processes that see different batches average the result (``World.average_buffers``).

    Args:
        module: holds the layers.
        forward: runs a batch through them; called without gradients, once for each batch, inside autocast if at all.
        batches: at least one; their statistics weigh the same, so they should be of one size.

    Raises:
        ValueError: there is no batch.
    """
    layers = [layer for layer in bn_layers(module) if layer.track_running_stats]
    before = {layer: _statistics(layer) for layer in layers}
    try:
        with _modes_kept(module), torch.no_grad():
            module.eval()
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum, layer.training = None, True  # without momentum torch takes the plain average
            count = 0
            for batch in batches:
                forward(batch)
                count += 1
        if count == 0:
            raise ValueError("BN statistics cannot be computed from no batch")
    except BaseException:
        _restore(before)
        raise
    _restore({layer: saved for layer, saved in before.items() if layer.num_batches_tracked == 0})


@contextlib.contextmanager
def recalibrated_bn(module: nn.Module, forward: Callable[[Item], object], batches: Iterable[Item]) -> Iterator[None]:
    """Within the context ``module`` has the statistics of :func:`recalibrate_bn`; afterwards those it had before."""
    before = {layer: _statistics(layer) for layer in bn_layers(module) if layer.track_running_stats}
    recalibrate_bn(module, forward, batches)
    try:
        yield
    finally:
        _restore(before)


@contextlib.contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Within the context BN layers normalise by each batch's statistics, as in training; the running ones stay."""
    with _modes_kept(module):
        for layer in bn_layers(module):
            layer.training, layer.track_running_stats = True, False
        yield


def bn_layers(module: nn.Module) -> list[_BatchNorm]:
    """List the BN layers of a module, of one process or synchronised."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


@contextlib.contextmanager
def _modes_kept(module: nn.Module) -> Iterator[None]:
    """After the context all parts are in training or evaluation as before, and BN keeps statistics as before."""
    modes = {part: part.training for part in module.modules()}
    kept = {layer: (layer.momentum, layer.track_running_stats) for layer in bn_layers(module)}
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        for layer, (momentum, tracked) in kept.items():
            layer.momentum, layer.track_running_stats = momentum, tracked


def _statistics(layer: _BatchNorm) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)}


def _restore(statistics: Mapping[_BatchNorm, dict[str, Tensor]]) -> None:
    for layer, saved in statistics.items():
        for name, buffer in layer.named_buffers(recurse=False):
            buffer.copy_(saved[name])
