"""A trained model of several tasks as one function from an image to all of their predictions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size
from fbnetv5.export.deployed import DeployedModel, check_map_stride, covered_size, deploy, deployed_head, folded
from fbnetv5.export.network import DeployedJointNetwork
from fbnetv5.model.folder import FinalModel
from fbnetv5.model.joint_net import JointModel


class DeployedJointModel(nn.Module):
    """Network and heads for one image; :func:`deploy_joint` makes one.

    Args:
        network: images [1, 3, H, W] to features by path, by task.
        heads: by task, as :class:`DeployableHead` says.
    """

    def __init__(self, network: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict(heads)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Predict for one image [1, 3, H, W], normalised, zeros on the right and below where it is padded.

        Returns:
            what each head returns, task by task; :func:`output_name` says under which names.
        """
        found = self.by_task(image)
        return {output_name(task, name): value for task, own in found.items() for name, value in own.items()}

    def by_task(self, image: Tensor) -> dict[str, dict[str, Tensor]]:
        """Return what :meth:`forward` does, by task, under the names that the heads give."""
        features, covered = self.network(image), covered_size(image)
        return {task: head(features[task], covered) for task, head in self.heads.items()}

    def heads_by_name(self) -> dict[str, nn.Module]:
        """Return the heads by the names of the modules."""
        return {f"heads.{task}": head for task, head in self.heads.items()}


AnyDeployed = DeployedModel | DeployedJointModel


def deploy_any(model: FinalModel, size: Size, map_stride: int = 1) -> AnyDeployed:
    """Return :func:`deploy` or :func:`deploy_joint` of a model."""
    return deploy_joint(model, size, map_stride) if isinstance(model, JointModel) else deploy(model, size, map_stride)


def deploy_joint(model: JointModel, size: Size, map_stride: int = 1) -> DeployedJointModel:
    """Return a copy of a model for one image of ``size`` (height, width), BN folded into the convolutions before it.

    Args:
        model: as trained.
        size: of the image, in pixels.
        map_stride: of the tasks that predict masks: pixels on a side that share a class, which divides the size.

    Raises:
        InputError: a head cannot be exported, or no task is one of masks where ``map_stride`` is above 1.
    """
    check_map_stride(map_stride, [target.kind for target in model.targets.values()], size)
    model = folded(model).cpu().float()
    heads = {}
    with torch.no_grad():
        features = model.network(torch.zeros(1, 3, *size))
        for task in model.spec.tasks:
            try:
                heads[task] = deployed_head(model.head(task), features[task], size, map_stride)
            except InputError as error:
                raise InputError(f"{task}: {error}") from error
    return DeployedJointModel(DeployedJointNetwork(model.network), heads).eval()


def output_name(task: str, name: str) -> str:
    """Return what an output of a task is called in a file: ``det_boxes``; in a file of one task, ``boxes``."""
    return f"{task}_{name}" if task else name
