"""The joint model that a configuration describes, also one that adds tasks to a finished one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import Source
from fbnetv5.config.joint import TaskEntry, task_entries
from fbnetv5.config.schema import DataConfig, ModelConfig
from fbnetv5.data.augmentation import check_augmentation
from fbnetv5.data.inputs import InputSpec
from fbnetv5.heads.head import head_target
from fbnetv5.model.build import check_labelled, read_topology, whole_input
from fbnetv5.model.folder import load
from fbnetv5.model.joint_net import JointModel, JointSpec, TaskSpec, build_joint_model
from fbnetv5.model.joint_start import start_joint


def build_final_joint_model(
    config: ModelConfig,
    data: DataConfig,
    source: Source,
    *,
    seed: int = 0,
    is_main: bool = True,
    trust_code: bool = False,
) -> JointModel:
    """Build the model of ``model.tasks`` with its first weights; of ``model.joint`` new tasks learn alone.

    Args:
        config: the tasks, and the weights that they start from.
        data: how images become the network's input.
        source: the training split, whose classes are those of the tasks that learn.
        seed: of the first weights.
        is_main: whether to say where weights come from.
        trust_code: as :func:`fbnetv5.model.folder.load` takes it, for the finished model.

    Raises:
        InputError: tasks, data and weights do not fit together; the message says which.
    """
    entries = task_entries(config)
    finished = None if config.joint is None else _finished(config, entries, trust_code)
    targets = {name: head_target(entry.head, f"model.tasks.{name}.head") for name, entry in entries.items()}
    check_augmentation(data, list(targets.values()))
    for name, target in targets.items():
        check_labelled(target, source, f"model.tasks.{name}.head")
    new = {
        name: TaskSpec(
            read_topology(str(entry.topology), config.num_stages, name),
            dict(entry.head),
            tuple(source.classes.get(targets[name].name, ())),
        )
        for name, entry in entries.items()
    }
    spec = JointSpec(config.family, config.share, new, whole_input(data))  # type: ignore[arg-type]  # checked before
    if finished is not None:
        spec = _added(spec, finished)
    with forked(seed, Purpose.INITIALISATION):
        names = {name: str(entry.topology) for name, entry in entries.items()}
        model = build_joint_model(spec, topology_names=names)
    _check_classes(model)
    start_joint(model, config, entries, finished, is_main=is_main)
    if finished is not None:
        model.learn(tuple(entries))
    return model


def _finished(config: ModelConfig, entries: Mapping[str, TaskEntry], trust_code: bool) -> JointModel:
    """Read the joint model that tasks are added to. Raises InputError where they cannot be."""
    start = f"model.joint={config.joint}"
    finished = load(str(config.joint), trust_code=trust_code)
    if not isinstance(finished, JointModel):
        raise InputError(f"{start} is a model of one task; give one that was trained with model.tasks")
    if config.trunk_weights is not None:
        raise InputError(f"model.trunk_weights has no effect with {start}, whose trunk is kept; remove one of the two")
    for key, other in (("family", finished.spec.family), ("share", finished.spec.share)):
        if getattr(config, key) != other:
            raise InputError(
                f"{start} has model.{key}={other}, this run {getattr(config, key)}; set model.{key}={other}"
            )
    for name in entries:
        if name in finished.spec.tasks:
            raise InputError(f"model.tasks.{name}: {start} has a task of that name; rename it, or leave it out")
    return finished


def _added(spec: JointSpec, finished: JointModel) -> JointSpec:
    """Return the specification of a finished model and, behind its tasks, those of ``spec``."""
    given, kept = spec.input.normalised_with(finished.normalisation), finished.spec.input
    for entry in fields(InputSpec):
        own, other = getattr(given, entry.name), getattr(kept, entry.name)
        if own != other:
            raise InputError(
                f"model.joint sees images with {entry.name} {other}, and this run's data give {own}; set "
                f"data.short_side and data.long_side as they were: {kept.short_side} and {kept.long_side or 'null'}"
            )
    return JointSpec(spec.family, spec.share, {**finished.spec.tasks, **spec.tasks}, kept)


def _check_classes(model: JointModel) -> None:
    """Raise InputError for two tasks that have different classes of one target: a data set has one list of them."""
    first: dict[str, str] = {}
    for task, target in model.targets.items():
        other = first.setdefault(target.name, task)
        if model.classes[task] != model.classes[other]:
            raise InputError(
                f"model.tasks: {other} and {task} both learn from '{target.name}', with {len(model.classes[other])} "
                f"and {len(model.classes[task])} classes, which differ; one data set has one list of them"
            )
