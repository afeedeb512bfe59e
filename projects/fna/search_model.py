"""The super network with the head of a framework: what a search trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.types import Size, TargetDict
from fbnetv5.engine.batch_norm import batch_statistics
from fbnetv5.heads.head import Head
from fbnetv5.model.task_net import build_head as build_final_head
from fbnetv5.projects.fna.super_network import SuperNetwork


class SearchModel(nn.Module):
    """A super network and a head; parameters are called ``network....`` and ``head....``, as in a final model.

    Args:
        network: of all candidates.
        head: as ``model.head`` of the final model builds it.
        normalisation: of the images, which goes with the parameters.
    """

    head: Head

    def __init__(self, network: SuperNetwork, head: Head, normalisation: Normalisation = IMAGENET) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.normalisation = normalisation

    def forward(
        self,
        images: Tensor,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        *,
        choice: Sequence[int] | None = None,
        weights: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses, by name. Under autocast the head runs in the precision of the images.

        Args:
            images: [N, 3, H, W], normalised.
            targets: N target dicts that hold the head's target.
            true_sizes: (height, width) of the images before they were padded on the right and below.
            choice: of each slot its candidate: one path is computed.
            weights: instead, of each slot the shares of its candidates: all are, and summed by shares (eq. 7).
        """
        features = self.network(images, choice=choice, weights=weights)
        with torch.autocast(images.device.type, enabled=False):
            features = {path: feature.to(images.dtype) for path, feature in features.items()}
            losses = self.head(features, (images.shape[-2], images.shape[-1]), targets, true_sizes)
        assert isinstance(losses, dict)  # in training
        return losses


def build_head(entry: dict[str, Any], channels: Sequence[int], num_classes: int) -> Head:
    """Build the head that ``model.head`` chooses, for features of ``channels``, one number a path.

    Raises:
        InputError: it needs a path that the network does not have, or its class or an option is wrong.
    """
    head = build_final_head(entry, tuple(channels), num_classes)
    for path in head.paths:
        if not channels[path]:
            raise InputError(f"model.head reads path {path}, which the search space's network does not have")
    return head


@contextlib.contextmanager
def weights_at_rest(model: nn.Module) -> Iterator[None]:
    """Within the context parameters take no gradient, and BN normalises by the batch but keeps its statistics.

    A pass through all candidates is for the architecture alone: no path sees activations like its mixtures.
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        with batch_statistics(model):
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
