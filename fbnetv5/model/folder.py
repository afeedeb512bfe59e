"""Trained models on disk: a folder with model.safetensors and config.json, which says how to rebuild the model.

The files hold data alone. Nobody's code runs by loading them, but for classes of this package and of the projects
beside it; see :func:`load`.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fbnetv5.archs.joint_plan import SHARES
from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import parse_json, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.limits import MAX_DESCRIPTION
from fbnetv5.base.paths import is_uri, local_folder, local_path
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.version import __version__
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_origin, read_weights, save_weights
from fbnetv5.config.targets import find_class, present_name
from fbnetv5.data.index_checks import check_names
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.joint_net import JointModel, JointSpec, TaskSpec, build_joint_model
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model

MODEL_FILES = (MODEL, WEIGHTS)
FORMAT, JOINT_FORMAT = 1, 2  # of config.json; raised when older versions cannot read it any more
PACKAGE = "fbnetv5"
_SEARCHED: dict[str, type] = {"family": str, "topology": dict}
_CHOSEN: dict[str, type] = {"network": dict}
_OF_TASK: dict[str, type] = {"head": dict, "classes": list}
_COMMON: dict[str, type] = {**_OF_TASK, "input": dict}
_JOINT: dict[str, type] = {"family": str, "share": str, "tasks": dict, "input": dict}
FinalModel = TaskNet | JointModel


def save_model(
    folder: str | os.PathLike[str], model: nn.Module | Mapping[str, Tensor], spec: ModelSpec | JointSpec
) -> None:
    """Write model.safetensors and config.json, each atomically.

    Args:
        folder: is made if need be.
        model: a :class:`TaskNet` or a :class:`JointModel`, or the state dict of one.
        spec: what it was built from.

    Raises:
        InputError: a file cannot be written.
    """
    weights = model.state_dict() if isinstance(model, nn.Module) else model
    kind = JOINT_FORMAT if isinstance(spec, JointSpec) else FORMAT
    described = _joint_keys(spec) if isinstance(spec, JointSpec) else {**_network_keys(spec), **_task_keys(spec)}
    document = {"format": kind, "fbnetv5": __version__, **described, "input": spec.input.to_dict()}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"  # before anything is written: it may fail
    origin = getattr(model, "origin", None)
    save_weights(Path(folder) / WEIGHTS, dict(weights), spec.input.normalisation, origin)
    write_text(Path(folder) / MODEL, text)


def _network_keys(spec: ModelSpec) -> dict[str, Any]:
    if spec.topology is None:
        return {"network": spec.network}
    return {"family": spec.family, "topology": _topology_keys(spec.topology)}


def _task_keys(spec: ModelSpec | TaskSpec) -> dict[str, Any]:
    return {"head": spec.head, "classes": list(spec.classes)}


def _joint_keys(spec: JointSpec) -> dict[str, Any]:
    tasks = {name: {"topology": _topology_keys(task.topology), **_task_keys(task)} for name, task in spec.tasks.items()}
    return {"family": spec.family, "share": spec.share, "tasks": tasks}


def _topology_keys(topology: Topology) -> dict[str, Any]:
    return {
        "num_stages": topology.num_stages,
        "blocks": [list(block) for block in sorted(topology.blocks)],
        "outputs": list(topology.outputs),
    }


def load_task_model(path: str | os.PathLike[str], *, trust_code: bool = False) -> TaskNet:
    """Rebuild a trained model of one task, as :func:`load`. Raises InputError for one of several tasks as well."""
    model = load(path, trust_code=trust_code)
    if isinstance(model, JointModel):
        tasks = ", ".join(model.spec.tasks)
        raise InputError(f"{path} is a joint model, of {tasks}; this takes a model of one task")
    return model


def load(path: str | os.PathLike[str], device: str = "cpu", *, trust_code: bool = False) -> FinalModel:
    """Rebuild a trained model, of one task or several, in evaluation mode.

    Args:
        path: its folder, or the config.json in it; also a URI, such as ``hf://owner/name`` (``fbnetv5.base.paths``).
        device: where to put it.
        trust_code: build a head or network whose class is neither of this package nor of the projects beside it.
            Importing it runs its module's code.

    Raises:
        InputError: a file is missing or damaged, the two do not fit each other, or a class is somebody else's.
    """
    config = _config_of(path)
    try:
        document = _read(config)
        model = (_built_joint if "tasks" in document else _built)(document, trust_code)
    except InputError as error:
        raise InputError(f"{config}: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, LookupError, RuntimeError) as error:  # options or sizes that no layer can have
        raise InputError(f"{config}: cannot build this model: {' '.join(str(error).split())}") from error
    weights = config.parent / WEIGHTS
    load_by_name(model, read_weights(weights), optional=None, origin=weights)
    model.origin, model.folder = read_origin(weights), config.parent
    return model.to(device).eval()


def _built(document: dict[str, Any], trust_code: bool) -> FinalModel:
    spec = _parse(document)
    if not trust_code:
        _check_own("head", spec.head)
        if spec.network is not None:
            _check_own("network", spec.network)
    return build_model(spec)


def _built_joint(document: dict[str, Any], trust_code: bool) -> FinalModel:
    spec = _parse_joint(document)
    for task in spec.tasks.values():
        if not trust_code:
            _check_own("head", task.head)
    return build_joint_model(spec)


def _config_of(path: str | os.PathLike[str]) -> Path:
    """Return the config.json of a model, whose weights lie beside it."""
    place = os.fspath(path)
    if is_uri(place):
        return local_folder(place.removesuffix(f"/{MODEL}"), MODEL_FILES) / MODEL
    found = local_path(place)
    return found / MODEL if found.is_dir() else found


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(read_text(path, MAX_DESCRIPTION))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}; give the folder of a trained model") from error
    except ValueError as error:
        raise InputError(f"cannot be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise InputError("does not describe a trained model: it has no 'format'")
    if document["format"] > JOINT_FORMAT:
        raise InputError(
            f"is of format {document['format']}, written by fbnetv5 {document.get('fbnetv5')}; this is {__version__}, "
            f"which reads formats up to {JOINT_FORMAT}"
        )
    return document


def _parse(document: dict[str, Any]) -> ModelSpec:
    _check_keys(document, (_CHOSEN if "network" in document else _SEARCHED) | _COMMON)
    _check_classes(document["classes"])
    return ModelSpec(
        family=document.get("family"),
        topology=_parse_topology(document["topology"]) if "topology" in document else None,
        head=document["head"],
        classes=tuple(document["classes"]),
        input=InputSpec.from_dict(document["input"]),
        network=document.get("network"),
    )


def _parse_joint(document: dict[str, Any]) -> JointSpec:
    _check_keys(document, _JOINT)
    if document["share"] not in SHARES:
        raise InputError(f"'share' is {document['share']}, none of {', '.join(SHARES)}")
    tasks = {}
    for name, entry in document["tasks"].items():
        if not isinstance(entry, dict):
            raise InputError(f"task '{name}' is no dict")
        _check_keys(entry, {"topology": dict, **_OF_TASK})
        _check_classes(entry["classes"])
        tasks[name] = TaskSpec(_parse_topology(entry["topology"]), entry["head"], tuple(entry["classes"]))
    return JointSpec(document["family"], document["share"], tasks, InputSpec.from_dict(document["input"]))


def _check_keys(document: dict[str, Any], expected: dict[str, type]) -> None:
    for key, kind in expected.items():
        if not isinstance(document.get(key), kind):
            raise InputError(f"'{key}' is missing or no {kind.__name__}")


def _check_classes(classes: list[Any]) -> None:
    if not all(isinstance(name, str) for name in classes):
        raise InputError("'classes' should be a list of names")
    check_names(classes, "'classes'")


def _parse_topology(document: dict[str, Any]) -> Topology:
    num_stages, blocks, outputs = (document.get(key) for key in ("num_stages", "blocks", "outputs"))
    if not isinstance(num_stages, int) or not _are_ints(outputs):
        raise InputError("topology: num_stages should be an integer, outputs a list of integers")
    if not isinstance(blocks, list) or not all(_are_ints(block) and len(block) == 2 for block in blocks):
        raise InputError("topology: blocks should be a list of [stage, path]")
    return Topology(num_stages, frozenset((stage, path) for stage, path in blocks), tuple(outputs))  # type: ignore[arg-type]


def _are_ints(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) for item in value)


def _check_own(key: str, entry: dict[str, Any]) -> None:
    """Refuse a head or network that is no module of ours; other packages are not even imported."""
    path = entry.get("_target_")
    advice = (
        "load(..., trust_code=True), or evaluate.trust_code=true, builds it all the same; do so only if you trust "
        "where the model comes from"
    )
    if not isinstance(path, str) or not _is_own(present_name(path)):
        raise InputError(f"the {key} {path} is no class of {PACKAGE}; {advice}")
    chosen = find_class(key, entry)
    if not (inspect.isclass(chosen) and issubclass(chosen, nn.Module) and _is_own(chosen.__module__)):
        raise InputError(f"the {key} {path} is no module of {PACKAGE}; {advice}")


def _is_own(path: str) -> bool:
    """Whether a dotted name lies in this package, whose projects are a part of it."""
    return path.startswith(f"{PACKAGE}.")
