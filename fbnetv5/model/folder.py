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

from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import parse_json, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.limits import MAX_DESCRIPTION
from fbnetv5.base.paths import is_uri, local_folder, local_path
from fbnetv5.base.version import __version__
from fbnetv5.base.weights import WEIGHTS, load_by_name, read_origin, read_weights, save_weights
from fbnetv5.config.targets import find_class, present_name
from fbnetv5.data.index_checks import check_names
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model

CONFIG = "config.json"
MODEL_FILES = (CONFIG, WEIGHTS)
FORMAT = 1  # of config.json; raised when older versions cannot read it any more
PACKAGE = "fbnetv5"
_SEARCHED = {"family": str, "topology": dict}
_CHOSEN = {"network": dict}
_COMMON = {"head": dict, "classes": list, "input": dict}


def save_model(folder: str | os.PathLike[str], model: nn.Module | Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Write model.safetensors and config.json, each atomically.

    Args:
        folder: is made if need be.
        model: a :class:`TaskNet`, or the state dict of one.
        spec: what it was built from.

    Raises:
        InputError: a file cannot be written.
    """
    weights = model.state_dict() if isinstance(model, nn.Module) else model
    document = {
        "format": FORMAT,
        "fbnetv5": __version__,
        **_network_keys(spec),
        "head": spec.head,
        "classes": list(spec.classes),
        "input": spec.input.to_dict(),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"  # before anything is written: it may fail
    origin = getattr(model, "origin", None)
    save_weights(Path(folder) / WEIGHTS, dict(weights), spec.input.normalisation, origin)
    write_text(Path(folder) / CONFIG, text)


def _network_keys(spec: ModelSpec) -> dict[str, Any]:
    if spec.topology is None:
        return {"network": spec.network}
    topology = {
        "num_stages": spec.topology.num_stages,
        "blocks": [list(block) for block in sorted(spec.topology.blocks)],
        "outputs": list(spec.topology.outputs),
    }
    return {"family": spec.family, "topology": topology}


def load(path: str | os.PathLike[str], device: str = "cpu", *, trust_code: bool = False) -> TaskNet:
    """Rebuild a trained model, in evaluation mode.

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
        spec = _parse(_read(config))
        if not trust_code:
            _check_own("head", spec.head)
            if spec.network is not None:
                _check_own("network", spec.network)
        model = build_model(spec)
    except InputError as error:
        raise InputError(f"{config}: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, LookupError, RuntimeError) as error:  # options or sizes that no layer can have
        raise InputError(f"{config}: cannot build this model: {' '.join(str(error).split())}") from error
    weights = config.parent / WEIGHTS
    load_by_name(model, read_weights(weights), optional=None, origin=weights)
    model.origin, model.folder = read_origin(weights), config.parent
    return model.to(device).eval()


def _config_of(path: str | os.PathLike[str]) -> Path:
    """Return the config.json of a model, whose weights lie beside it."""
    place = os.fspath(path)
    if is_uri(place):
        return local_folder(place.removesuffix(f"/{CONFIG}"), MODEL_FILES) / CONFIG
    found = local_path(place)
    return found / CONFIG if found.is_dir() else found


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(read_text(path, MAX_DESCRIPTION))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}; give the folder of a trained model") from error
    except ValueError as error:
        raise InputError(f"cannot be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise InputError("does not describe a trained model: it has no 'format'")
    if document["format"] > FORMAT:
        raise InputError(
            f"is of format {document['format']}, written by fbnetv5 {document.get('fbnetv5')}; this is {__version__}, "
            f"which reads formats up to {FORMAT}"
        )
    return document


def _parse(document: dict[str, Any]) -> ModelSpec:
    for key, expected in ((_CHOSEN if "network" in document else _SEARCHED) | _COMMON).items():
        if not isinstance(document.get(key), expected):
            raise InputError(f"'{key}' is missing or no {expected.__name__}")
    if not all(isinstance(name, str) for name in document["classes"]):
        raise InputError("'classes' should be a list of names")
    check_names(document["classes"], "'classes'")
    return ModelSpec(
        family=document.get("family"),
        topology=_parse_topology(document["topology"]) if "topology" in document else None,
        head=document["head"],
        classes=tuple(document["classes"]),
        input=InputSpec.from_dict(document["input"]),
        network=document.get("network"),
    )


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
