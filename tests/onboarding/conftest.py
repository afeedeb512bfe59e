"""A folder of data, and an init of it that leaves it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fbnetv5.onboarding.initialise import initialise
from tests.onboarding.reading import Read


@pytest.fixture
def init(tmp_path, capsys):
    def run(root: Path) -> tuple[Read, str]:
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        initialise(root, tmp_path / "out" / "my.yaml", start="scratch")
        assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        return Read(tmp_path / "out" / "my.yaml"), capsys.readouterr().out

    return run


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "my data ü"
