"""The first weights of a joint model: of a supernet, of a joint model, or of separate models of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fbnetv5.archs.block_start import start_blocks
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import Normalisation
from fbnetv5.base.origin import Origin
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.weights import read_normalisation, read_origin, read_weights, refuse, weights_file
from fbnetv5.config.joint import TaskEntry
from fbnetv5.config.schema import ModelConfig
from fbnetv5.model.joint_net import HEADS, JointModel
from fbnetv5.model.start import STARTS, start_from_trunk

NETWORK = "network."
TRUNK = f"{NETWORK}trunk."


def start_joint(
    model: JointModel,
    config: ModelConfig,
    entries: Mapping[str, TaskEntry],
    finished: JointModel | None,
    *,
    is_main: bool,
) -> None:
    """Give a joint model its first weights, and the normalisation of images that comes with them.

    What several sources have is that of the first of: a finished joint model; each task's ``weights``, in order;
    ``model.weights``; ``model.trunk_weights``.

    Args:
        model: with random weights.
        config: the node ``model``.
        entries: of ``model.tasks``.
        finished: the joint model that tasks are added to, if they are.
        is_main: whether to say where weights come from.

    Raises:
        InputError: a file cannot be read or does not fit, or two expect images of different normalisation.
    """
    said: list[tuple[str, Normalisation]] = []
    pretrained = None
    if finished is not None:
        said.append((f"model.joint={config.joint}", finished.normalisation))
        model.origin = finished.origin
        _start_added(model, finished, config)
    else:
        pretrained = start_from_trunk(model.network, config, is_main=is_main)
    chosen = {} if finished is None else finished.state_dict()
    sources = [(entry.weights, f"model.tasks.{task}.weights", task) for task, entry in entries.items() if entry.weights]
    for place, key, of_task in [*sources, *([(config.weights, "model.weights", None)] if config.weights else [])]:
        file = weights_file(str(place))
        weights = read_weights(file)
        if is_main and (others := _left_out(model, of_task, weights, chosen)):
            print(f"{key}={place} has {others}, left out", flush=True)
        taken = (
            _of_task(model, of_task, weights, file) if of_task is not None else _of_all(model, weights, file, chosen)
        )
        chosen = {**taken, **chosen}
        said.append((f"{key}={place}", read_normalisation(file)))
        model.origin = model.origin or read_origin(file) or Origin.of(str(place))
    model.load_state_dict(chosen, strict=False)
    deeper = [name for name in model.state_dict() if name.startswith(TRUNK) and name not in chosen]
    if deeper and pretrained is None and chosen:
        raise InputError(_too_shallow(model, config, finished, said[0][0], len(deeper)))
    if chosen and finished is None:
        _start_missing(model, chosen, config, is_main=is_main)
    if deeper and pretrained is not None:
        said.insert(0, (pretrained.origin, pretrained.normalisation))
        model.origin = Origin.of(pretrained.origin, pretrained.license)
    if chosen and is_main:
        _tell_fresh(model, entries, chosen)
    _normalise(model, said)


def _too_shallow(
    model: JointModel, config: ModelConfig, finished: JointModel | None, source: str, num_missing: int
) -> str:
    """Say that the trunk that was taken ends before what the model needs of it."""
    if finished is not None:
        return (
            f"model.joint={config.joint} has a trunk of {len(finished.network.trunk)} parts, and a new task needs "
            f"{len(model.network.trunk)}: give the weights of a network that has them, such as model.weights"
        )
    return (
        f"{source} has no weights for {num_missing} tensors of the trunk, which other tasks read further: give "
        "model.weights or model.trunk_weights too, of a network that has them"
    )


def _start_added(model: JointModel, finished: JointModel, config: ModelConfig) -> None:
    """Start the blocks that a finished model does not have from its trunk, as ``model.block_start`` says."""
    own = finished.state_dict()
    model.load_state_dict(own, strict=False)
    _start_blocks(model, model.spec.tasks.keys() - finished.spec.tasks.keys(), own, config)


def _start_missing(model: JointModel, chosen: Mapping[str, Tensor], config: ModelConfig, *, is_main: bool) -> None:
    """Start the blocks that no file has weights for from the trunk that was taken, and say which tasks have some."""
    tasks = [task for task in model.spec.tasks if _start_blocks(model, [task], chosen, config)]
    if tasks and is_main:
        print(f"blocks of {', '.join(tasks)} that no file has: {STARTS[config.block_start]}", flush=True)


def _start_blocks(
    model: JointModel, tasks: Iterable[str], weights: Mapping[str, Tensor], config: ModelConfig
) -> list[str]:
    """Start the blocks of some tasks that ``weights`` lack from the trunk, and return their names."""
    started: list[str] = []
    for task in tasks:
        for part in model.network.parts(task):
            new = {name: block for name, block in part.blocks.items() if not _is_in(block, model, weights)}
            start_blocks(part._replace(blocks=nn.ModuleDict(new)), config.block_start)  # type: ignore[arg-type]
            started += new
    return started


def _is_in(block: nn.Module, model: JointModel, weights: Mapping[str, Tensor]) -> bool:
    """Whether weights by name hold those of a block."""
    name = next(name for name, module in model.named_modules() if module is block)
    return any(entry.startswith(f"{name}.") for entry in weights)


def _normalise(model: JointModel, said: Sequence[tuple[str, Normalisation]]) -> None:
    """Take the normalisation that sources of weights expect. Raises InputError where they differ."""
    for name, normalisation in said[1:]:
        if normalisation != said[0][1]:
            raise InputError(f"{said[0][0]} and {name} expect images of different normalisation: they share no trunk")
    if said:
        model.spec = replace(model.spec, input=model.spec.input.normalised_with(said[0][1]))


def _tell_fresh(model: JointModel, entries: Iterable[str], chosen: Mapping[str, Tensor]) -> None:
    """Say which heads, and what of others, no file has weights for."""
    fresh = []
    for task in entries:
        head = [name for name in model.state_dict() if name.startswith(f"{HEADS}{task}.")]
        missing = [name for name in head if name not in chosen]
        if missing and len(missing) < len(head):
            print(f"{task}: no weights for {len(missing)} tensors of the head; they start afresh", flush=True)
        elif missing:
            fresh.append(task)
    if fresh:
        print(f"the heads of {', '.join(fresh)} start afresh", flush=True)


def _left_out(model: JointModel, task: str | None, weights: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> str:
    """Return what of the network a file has other values for than those ``chosen``: a trunk, blocks; empty if none."""
    tasks = model.spec.tasks if task is None else [task]
    modules = tuple(f"{NETWORK}{name}." for name in model.network.modules_of(list(tasks)))
    differing = [
        name
        for name in chosen
        if name.startswith(modules)
        and (given := _given_name(name, weights.__contains__)) is not None
        and not torch.equal(weights[given], chosen[name])
    ]
    parts = {"another trunk" if name.startswith(TRUNK) else "other weights of shared blocks" for name in differing}
    return " and ".join(sorted(parts))


def _of_task(model: JointModel, task: str, weights: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return what a file has for one task, under the model's names: trunk and branch, and of the head what fits."""
    modules = tuple(f"{NETWORK}{name}." for name in model.network.modules_of([task]))
    wanted = [name for name in model.state_dict() if name.startswith(modules)]
    network = _network(model, wanted, weights, file)
    head = {f"{HEADS}{task}.{name.removeprefix('head.')}": w for name, w in weights.items() if name.startswith("head.")}
    head |= {name: w for name, w in weights.items() if name.startswith(f"{HEADS}{task}.")}
    own = model.state_dict()
    return network | {name: w for name, w in head.items() if name in own and own[name].shape == w.shape}


def _of_all(model: JointModel, weights: Mapping[str, Tensor], file: Path, kept: Collection[str]) -> dict[str, Tensor]:
    """Return what a file has for all tasks, under the model's names.

    Of the network nothing may be missing but what is ``kept``. A head is taken as a whole, and of a joint model that
    has it for the same classes: those of a search, some of which are built alike, learnt on other features.
    """
    own = model.state_dict()
    wanted = [name for name in own if name.startswith(NETWORK) and name not in kept]
    chosen = _network(model, wanted, weights, file)
    theirs = read_json(file.parent / MODEL).get("tasks")
    for task, spec in model.spec.tasks.items():
        entry = theirs.get(task) if isinstance(theirs, dict) else None
        if not isinstance(entry, dict) or entry.get("classes") != list(spec.classes):
            continue
        head = {name: weights.get(name) for name in own if name.startswith(f"{HEADS}{task}.")}
        fitting = {name: w for name, w in head.items() if w is not None and own[name].shape == w.shape}
        chosen |= fitting if len(fitting) == len(head) else {}
    return chosen


def _network(model: JointModel, wanted: list[str], weights: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return entries of the network, of a joint model's names or, for a task's branch, of a supernet's."""
    own = {name: tensor for name, tensor in model.state_dict().items() if name in set(wanted)}
    found = {name: weights[given] for name in wanted if (given := _given_name(name, weights.__contains__)) is not None}
    refuse([n for n, tensor in own.items() if n not in found or found[n].shape != tensor.shape], own, found, file)
    return found


def _given_name(name: str, has: Callable[[str], bool]) -> str | None:
    """Return the name under which a file has an entry of the network; None where it has not."""
    if has(name):
        return name
    if name.startswith(f"{NETWORK}branches."):
        of_supernet = f"{NETWORK}{name.split('.', 3)[3]}"
        return of_supernet if has(of_supernet) else None
    return None
