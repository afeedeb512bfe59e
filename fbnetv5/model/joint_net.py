"""The final model of several tasks: one network that has the trunk once, and a head a task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from fbnetv5.archs.cost import Cost, feature_sizes, measured_macs, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.joint import SHARED, TRUNK, JointNet, joint_costs
from fbnetv5.archs.joint_plan import Share
from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import draw_base, forked, named
from fbnetv5.base.types import Features, Size, Target, TargetDict
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.orientation import to_stored
from fbnetv5.heads.head import CountedHead, Head
from fbnetv5.model.photos import PhotoModel
from fbnetv5.model.predictions import Prediction, as_prediction
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_head, build_model, pruned
from fbnetv5.tasks.build import check_task_name

HEADS = "heads."  # what the names of the heads' parameters start with


@dataclass(frozen=True)
class TaskSpec:
    """What a joint model has of one task.

    Attributes:
        topology: the task's blocks, as searched; what the head cannot see is not built.
        head: ``_target_``, its class, and its options; plain data.
        classes: names of the classes; a class id is a position in them.
    """

    topology: Topology
    head: dict[str, Any]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class JointSpec:
    """Everything that rebuilds a joint model, but for its weights.

    Attributes:
        family: name of the family.
        share: what the tasks have in common, as :class:`~fbnetv5.archs.joint.JointNet` takes it.
        tasks: by name.
        input: how images become the network's input, the same for all tasks.
    """

    family: str
    share: Share
    tasks: Mapping[str, TaskSpec]
    input: InputSpec

    @property
    def network_name(self) -> str:
        """The name of the family."""
        return self.family

    def separate(self, task: str) -> ModelSpec:
        """Return what rebuilds the network that one task would have alone."""
        chosen = self.tasks[task]
        return ModelSpec(self.family, chosen.topology, chosen.head, chosen.classes, self.input)


class JointModel(PhotoModel[dict[str, Prediction]]):
    """A joint network and a head a task; :func:`build_joint_model` makes one.

    The parameters of the network are called ``network....``, those of a head ``heads.<task>....``.

    Args:
        network: computes the paths that the heads read.
        heads: by task.
        spec: what the model was built from.

    Attributes:
        learned: the tasks that training gives losses of; all, unless :meth:`learn` says otherwise.
    """

    spec: JointSpec

    def __init__(self, network: JointNet, heads: Mapping[str, Head], spec: JointSpec) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict(heads)  # type: ignore[arg-type]  # each is a module
        self.spec = spec
        for head in heads.values():
            if hasattr(head, "across_ranks"):
                head.across_ranks = False  # a rank whose images are not labelled for the task does not call it
        self.learned = tuple(spec.tasks)
        self._still: tuple[str, ...] = ()

    def head(self, task: str) -> Head:
        """Return the head of a task."""
        return cast(Head, self.heads[task])

    @property
    def targets(self) -> dict[str, Target]:
        """What each task learns from."""
        return {task: self.head(task).target for task in self.spec.tasks}

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The names of each task's classes; a class id is a position in them."""
        return {task: chosen.classes for task, chosen in self.spec.tasks.items()}

    def learn(self, tasks: Collection[str]) -> None:
        """Let some tasks learn alone: what the others have stays as it is, for good, BN's statistics among it.

        Trunk and blocks that others have are computed as in evaluation, also while the rest is trained.
        """
        self.learned = tuple(task for task in self.spec.tasks if task in tasks)
        kept = [task for task in self.spec.tasks if task not in tasks]
        network = (f"network.{name}" for name in self.network.modules_of(kept))
        self._still = (*network, *(f"{HEADS}{task}" for task in kept))
        for name in self._still:
            self.get_submodule(name).requires_grad_(False)

    def train(self, mode: bool = True) -> JointModel:
        """Put what learns in training or evaluation, and what stays as it is in evaluation."""
        super().train(mode)
        for name in self._still:
            self.get_submodule(name).eval()
        return self

    def learning_parts(self) -> nn.ModuleList:
        """Return the trunk partitions, blocks and heads that learn, without their names."""
        names = [f"network.{name}" for name in self.network.modules_of(list(self.spec.tasks))]
        names += [f"{HEADS}{task}" for task in self.spec.tasks]
        return nn.ModuleList(self.get_submodule(name) for name in names if name not in self._still)

    def labelled(self, targets: Sequence[TargetDict]) -> dict[str, list[int]]:
        """Return, for each task that learns, the positions of the images that are labelled for it."""
        names = {task: self.head(task).target.name for task in self.learned}
        return {task: [i for i, target in enumerate(targets) if name in target] for task, name in names.items()}

    def forward(
        self,
        images: Tensor,
        targets: list[TargetDict] | None = None,
        true_sizes: Sequence[Size] | None = None,
        output_sizes: Sequence[Size] | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Return losses, ``<task>/<loss>`` (training), or for each image one prediction a task (evaluation).

        A task that no image is labelled for has no loss; of a batch a head sees the images that are labelled for it,
        the network all. Under autocast the network runs in mixed precision, heads in that of the images.

        Args:
            images: [N, 3, H, W], normalised.
            targets: N target dicts, of which a missing key means unlabelled; for training.
            true_sizes: (height, width) of the images before they were padded on the right and below.
            output_sizes: (height, width) of the images as stored, in whose pixels predictions are; by default the true
                sizes.

        Raises:
            ValueError: targets are missing in training.
        """
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            losses, _ = self.losses(images, targets, true_sizes)
            return {f"{task}/{name}": loss for task, found in losses.items() for name, loss in found.items()}
        features, size = self.network(images), (images.shape[-2], images.shape[-1])
        with torch.autocast(images.device.type, enabled=False):  # boxes and masks want full precision
            found = {
                task: self.head(task)(_cast(features[task], images), size, None, true_sizes, output_sizes)
                for task in self.spec.tasks
            }
        return [dict(zip(found, one, strict=True)) for one in zip(*found.values(), strict=True)]

    def losses(
        self, images: Tensor, targets: list[TargetDict], true_sizes: Sequence[Size] | None = None
    ) -> tuple[dict[str, dict[str, Tensor]], Tensor]:
        """Return the losses of each task that learns and that an image is labelled for; arguments as :meth:`forward`.

        Each is the mean over the images that are labelled for the task. Beside them there is a zero that depends on
        the features of all tasks, with labels and without: its backward pass goes through all of the network.
        """
        features, size = self.network(images, self.learned), (images.shape[-2], images.shape[-1])
        losses = {}
        with torch.autocast(images.device.type, enabled=False):  # losses and their matching want full precision
            for task, rows in self.labelled(targets).items():
                if not rows:
                    continue
                given = _cast(features[task], images)
                if len(rows) < len(images):
                    given = {path: feature[rows] for path, feature in given.items()}
                sizes = None if true_sizes is None else [true_sizes[row] for row in rows]
                found: Any = self.head(task)(given, size, [targets[row] for row in rows], sizes)
                losses[task] = found
        through = [feature.flatten()[0] for task in self.learned for feature in features[task].values()]
        return losses, 0 * torch.stack(through).sum()

    def typed(self, tensors: Any) -> dict[str, Prediction]:
        return {task: as_prediction(tensors[task], self.targets[task].kind, self.classes[task]) for task in tensors}

    def in_stored_frame(self, tensors: Any, size: tuple[int, int], orientation: int) -> Any:
        return {task: to_stored(one, self.targets[task].kind, size, orientation) for task, one in tensors.items()}

    @property
    def nominal_size(self) -> Size:
        """(height, width) that costs are stated at: those of the input, which all tasks share."""
        return self.spec.input.nominal_size()

    def cost(self, size: Size | None = None) -> Cost:
        """Return the MACs and parameters of all parts, for images of ``size`` (height, width) in pixels."""
        return sum(self.costs(size).values(), Cost())

    def costs(self, size: Size | None = None) -> dict[str, Cost]:
        """Return the costs by part, for images of ``size`` (height, width) in pixels, by default the nominal size.

        Returns:
            ``trunk``; ``shared`` where tasks share blocks; ``<task>/branch`` and ``<task>/head``.
        """
        size = self.nominal_size if size is None else size
        network = joint_costs(self.network.family, self.network.topologies, self.network.share, size)
        common = {part: cost for part, cost in network.items() if part in (TRUNK, SHARED)}
        branches = {f"{task}/branch": network[task] for task in self.spec.tasks}
        return common | branches | {f"{task}/head": self._head_cost(task, size) for task in self.spec.tasks}

    def separate_costs(self, size: Size | None = None) -> dict[str, Cost]:
        """Return what each task would cost with a network of its own, trunk and head included."""
        size = self.nominal_size if size is None else size
        topologies, family = self.network.topologies, self.network.family
        return {task: network_cost(family, topologies[task], size) + self._head_cost(task, size) for task in topologies}

    def _head_cost(self, task: str, size: Size) -> Cost:
        head: Any = self.head(task)
        num_params = sum(parameter.numel() for parameter in head.parameters())
        sizes = feature_sizes(self.network.family, size)
        if isinstance(head, CountedHead):
            return Cost(head.macs(sizes), num_params)
        like = next(self.parameters())
        given = [like.new_zeros(1, self.network.channels[path], *sizes[path]) for path in head.paths]
        return Cost(measured_macs(_HeadAlone(head, size), *given), num_params)


class _HeadAlone(nn.Module):
    """A head as a function of the features of its paths, in their order."""

    def __init__(self, head: Any, size: Size) -> None:
        super().__init__()
        self.head = head
        self.size = size

    def forward(self, *features: Tensor) -> Any:
        return self.head(dict(zip(self.head.paths, features, strict=True)), self.size)


def build_joint_model(spec: JointSpec, *, topology_names: Mapping[str, str] | None = None) -> JointModel:
    """Build the model that ``spec`` describes, with random weights.

    The first values of a head depend on the state of torch's global generator and on its task's name alone.

    Args:
        spec: of the model.
        topology_names: of the topologies' files, by task, for messages.

    Raises:
        InputError: a head does not fit its topology, a class or an option is wrong, or a task cannot be called so.
    """
    check_tasks(spec)
    family, base = get_family(spec.family), draw_base()
    heads, topologies = {}, {}
    for task, chosen in spec.tasks.items():
        key = f"model.tasks.{task}"
        with named(base, f"{HEADS}{task}"):
            heads[task] = build_head(chosen.head, family.channels, len(chosen.classes), key=f"{key}.head")
        try:
            topologies[task] = pruned(chosen.topology, heads[task], (topology_names or {}).get(task, ""))
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
    return JointModel(JointNet(family, topologies, spec.share), heads, spec)


def separate_model(joint: JointModel, task: str) -> TaskNet:
    """Return the model that a task would be alone, with the weights that it has in a joint one, in evaluation mode.

    Raises:
        KeyError: there is no such task.
    """
    with forked(0):  # its first values are replaced
        model = build_model(joint.spec.separate(task))
    starts = {f"{HEADS}{task}.": "head.", f"network.branches.{task}.": "network.", "network.": "network."}
    weights: dict[str, Tensor] = {}
    for start, own in starts.items():
        for name, tensor in joint.state_dict().items():
            if name.startswith(start):
                weights.setdefault(f"{own}{name.removeprefix(start)}", tensor)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return model.eval()


def check_tasks(spec: JointSpec) -> None:
    """Raise InputError for names that tasks cannot have, missing classes, and an input that is not for all tasks."""
    if not spec.tasks:
        raise InputError("model.tasks is empty: name at least one task, with its topology and its head")
    for task, chosen in spec.tasks.items():
        check_task_name(f"model.tasks.{task}", task)
        if not chosen.classes:
            raise InputError(f"model.tasks.{task}: there are no classes to predict: their names are missing")
    if spec.input.crop is not None:
        raise InputError("a joint model sees whole images: its input cannot be cropped")


def _cast(features: Mapping[int, Tensor], images: Tensor) -> Features:
    return {path: feature.to(images.dtype) for path, feature in features.items()}
