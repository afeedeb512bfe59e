"""The supernet with a head for every task: what a search trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.origin import Origin
from fbnetv5.base.types import Features, Size, Source, TargetDict
from fbnetv5.tasks.task import Task, has_score


class MultitaskNet(nn.Module):
    """One network, T heads, partial labels.

    Args:
        network: the supernet, or any network that computes the paths that the tasks read.
        tasks: by name.
        heads: one per task, as :meth:`Task.search_head` builds them.

    Attributes:
        normalisation: of the images that the weights expect.
        origin: where the first weights come from; None where they are random.
    """

    def __init__(self, network: MultiPathNet, tasks: Mapping[str, Task], heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.tasks = dict(tasks)
        self.heads = nn.ModuleDict(heads)
        self.normalisation = IMAGENET
        self.origin: Origin | None = None

    @property
    def head_paths(self) -> tuple[int, ...]:
        """The paths that some task reads, ascending."""
        return tuple(sorted({task.path for task in self.tasks.values()}))

    def labelled(self, targets: list[TargetDict]) -> dict[str, list[int]]:
        """Return, for each task, the positions of the images that are labelled for it."""
        return {
            name: [i for i, target in enumerate(targets) if task.target.name in target]
            for name, task in self.tasks.items()
        }

    def forward(self, images: Tensor, targets: list[TargetDict], topology: Topology | None = None) -> dict[str, Tensor]:
        """Return the losses of the tasks that at least one image is labelled for.

        Under autocast the network runs in mixed precision, the heads in that of the images.

        Args:
            images: [N, 3, H, W], normalised.
            targets: N target dicts; a missing key means unlabelled.
            topology: which blocks to compute; all that the network has, if None.

        Returns:
            scalars by task name, each the mean over the images labelled for the task.
        """
        return self.losses(self.network(images, topology), images, targets)

    def losses(self, features: Features, images: Tensor, targets: list[TargetDict]) -> dict[str, Tensor]:
        """Return what :meth:`forward` does, from the features that the network gave for ``images``."""
        with torch.autocast(images.device.type, enabled=False):  # losses, boxes and their matching want full precision
            return {name: self.heads[name](*given) for name, given in self._given(features, images, targets)}

    def scores(
        self,
        features: Features,
        images: Tensor,
        targets: list[TargetDict],
        losses: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return what architectures are compared by, lower is better: the losses, unless a head says better.

        Args:
            features: that the network gave for ``images``.
            images, targets: as in :meth:`forward`.
            losses: of the same images, if they are known.
        """
        found = {}
        with torch.autocast(images.device.type, enabled=False):
            for name, given in self._given(features, images, targets):
                head = self.heads[name]
                if has_score(head):
                    found[name] = head.score(*given)
                else:
                    found[name] = head(*given) if losses is None else losses[name]
        return found

    def _given(
        self, features: Features, images: Tensor, targets: list[TargetDict]
    ) -> Iterator[tuple[str, tuple[Features, Size, list[TargetDict]]]]:
        """Yield what each head is called with, of the tasks that an image is labelled for."""
        image_size = (images.shape[-2], images.shape[-1])
        for name, rows in self.labelled(targets).items():
            if rows:
                path = self.tasks[name].path
                feature = features[path]
                if len(rows) < len(images):
                    feature = feature.index_select(0, torch.tensor(rows).to(feature.device, non_blocking=True))
                yield name, ({path: feature.to(images.dtype)}, image_size, [targets[i] for i in rows])


def build_multitask_net(network: MultiPathNet, tasks: Mapping[str, Task], source: Source) -> MultitaskNet:
    """Give ``network`` a search head per task, sized for the classes of ``source``."""
    heads = {
        name: task.search_head(network.channels, source.classes.get(task.target.name, ()))
        for name, task in tasks.items()
    }
    return MultitaskNet(network, tasks, heads)
