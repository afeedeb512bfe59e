"""Paths as commands in reports and messages have them: pasted into a shell, they name the same file."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fbnetv5.config.write import typed_path


@pytest.mark.parametrize(
    "path",
    ["runs/a/b.yaml", "/x/my photos", "runs/größe", "a,b", "a=b(1)", "it's", "~x", "-x", "a#b", "$HOME/[1]", "*"],
)
def test_a_typed_path_is_read_as_it_was_meant(path):
    (typed,) = shlex.split(typed_path("output", path))
    override = OverridesParser.create().parse_override(typed)
    assert not override.is_sweep_override()
    assert str(override.value()) == path


def test_a_plain_path_stands_as_it_is():
    assert typed_path("output", "/home/me/runs/a-1.2_b") == "output=/home/me/runs/a-1.2_b"
