"""What of a configuration a run's results depend on, and whether a run may go on under another one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import CONFIG
from fbnetv5.config.schema import RunConfig

NOT_IN_IDENTITY = re.compile(
    r"runtime\.(?!precision)|evaluate\.|export\.|resume$|output$|name$|data\.root$|label\.num_drawn$"
)
CANDIDATES = "search.last_look.candidates"
AFTERWARDS = re.compile(r"search\.last_look\.(?!images$)|search\.budget(?:_share)?$|data\.undecodable$")
TASK = re.compile(r"(?:model\.)?tasks\.([^.]+)")


def identity(config: RunConfig) -> dict[str, Any]:
    """Return, flat, the keys that a resumed run must share: all but where and how it runs."""
    flat = flatten(asdict(config))
    return {key: value for key, value in flat.items() if not NOT_IN_IDENTITY.match(key)}


def check_identity(now: Mapping[str, Any], then: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError unless ``folder`` was written under the configuration of now; the message names what differs.

    How a search looks at the supernet when it is trained may differ, but for the images that are kept for it, and so
    may the budget of what it derives: another last look is taken at what was learnt. So may what becomes of images that
    cannot be read.
    """
    differing = [
        f"{key} was {then.get(key, 'absent')}, is now {now.get(key, 'absent')}"
        for key in sorted(now.keys() | then.keys())
        if now.get(key, "absent") != then.get(key, "absent") and not _is_later(key, now, then)
    ]
    if not differing and _tasks(now) != _tasks(then):
        differing.append("the tasks were in another order")  # what was learnt of them goes by their place
    if differing:
        raise InputError(
            f"{folder} was written under another configuration: {'; '.join(differing[:3])}"
            f"{' and more' if len(differing) > 3 else ''}. Restore it, or choose another output folder"
        )


def require_unclaimed(config: RunConfig, folder: Path) -> None:
    """Raise InputError where a folder holds a run, and ``resume`` was not asked for."""
    if (folder / CONFIG).exists() and not config.resume:
        raise InputError(
            f"{folder} holds a run already: resume=true goes on with it, output=FOLDER writes elsewhere, or delete it"
        )


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys."""
    if not isinstance(node, Mapping) or (prefix and not node):
        return {prefix: node}
    children = [flatten(child, f"{prefix}.{key}" if prefix else str(key)) for key, child in node.items()]
    return {key: value for child in children for key, value in child.items()}


def _is_later(key: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    """Whether what was learnt does not depend on a key; that any candidates are scored holds images back for them."""
    if key == CANDIDATES:
        return bool(now.get(key)) == bool(then.get(key))
    return AFTERWARDS.match(key) is not None


def _tasks(keys: Mapping[str, Any]) -> list[str]:
    """Return the tasks of a configuration, in order."""
    return list(dict.fromkeys(found[1] for key in keys if (found := TASK.match(key)) is not None))
