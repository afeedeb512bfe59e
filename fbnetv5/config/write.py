"""Writing configurations and their values so that they are read back as they are, ``${`` and quotes included."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fbnetv5.config.schema import RunConfig

PLAIN_PATH = re.compile(r"[A-Za-z0-9/][\w./-]*", re.ASCII)  # neither a shell nor hydra's grammar minds it


def saved_yaml(config: RunConfig, header: str) -> str:
    """Return the resolved configuration as YAML under a comment; a config file that gives the same run again."""
    lines = "".join(f"# {line}\n" for line in header.splitlines())
    return f"{lines}defaults: [/fbnetv5/schema, _self_]\n{yaml_of(config)}"


def yaml_of(config: Any) -> str:
    """Return a dataclass as YAML without references."""
    return OmegaConf.to_yaml(_escaped(asdict(config)))


def escaped(text: str) -> str:
    """Return a text as a config has it where ``${`` shall be no reference to another key."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # backslashes before it count twice


def path_override(key: str, path: str | Path) -> str:
    """Return the override that sets a key to a path, whatever characters the path has."""
    text = re.sub(r"(\\+)(?='|$)", r"\1\1", escaped(str(path)))  # to hydra's grammar, backslashes before quotes do
    return "{}='{}'".format(key, text.replace("'", "\\'"))


def typed_path(key: str, path: str | Path) -> str:
    """Return the same as one types it in a shell: as it stands where shell and grammar take it so."""
    if PLAIN_PATH.fullmatch(str(path)):
        return f"{key}={path}"
    return shlex.quote(path_override(key, path))


def _escaped(node: Any) -> Any:
    """Return plain values with all of their texts escaped."""
    if isinstance(node, str):
        return escaped(node)
    if isinstance(node, Mapping):
        return {key: _escaped(value) for key, value in node.items()}
    return [_escaped(value) for value in node] if isinstance(node, list | tuple) else node
