"""What ``--help`` says, and that neither it nor a refused key waits for torch."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from hydra.utils import get_class

from fbnetv5.cli.classes import CLASSES
from fbnetv5.cli.commands import COMMANDS
from fbnetv5.cli.help import keys_text
from fbnetv5.config.describe import describe
from tests.jobs.runs import ROOT, environment

HEAVY = ("torch", "torchvision", "timm", "matplotlib", "pyarrow", "scipy")
PROBE = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print("status", end.code or 0)
print("heavy", [name for name in {HEAVY} if name in sys.modules])
"""


def options(target: type) -> str:
    """The options of a class and their defaults, as ``--help`` shows them."""
    parameters = inspect.signature(target).parameters.values()
    return ", ".join(f"{p.name}={p.default}" for p in parameters if isinstance(p.default, (int, float, str, tuple)))


@pytest.mark.parametrize("name", [name for group in CLASSES.values() for name in group])
def test_help_shows_the_options_that_classes_have(name):
    shown = next(group[name] for group in CLASSES.values() if name in group)
    assert shown == options(get_class(name))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["fbnetv5/__main__.py", "--help"], None, "fbnetv5 COMMAND"),
        (["fbnetv5/__main__.py", "search", "--help"], 0, "search.steps = null"),
        (["train_net.py", "--help"], 0, "fbnetv5.tasks.depth.Depth: path=1"),
        (["train_net.py", "--config=quickstart", "search.stepz=3"], 1, "did you mean 'search.steps'?"),
        (["fbnetv5/__main__.py", "search", "quickstart", "modle.family=A"], 1, "did you mean 'model'?"),
        (["fbnetv5/__main__.py", "init", "--help"], 0, "--overwrite"),
        (["fbnetv5/__main__.py", "init", "nowhere"], 1, "nowhere: there is no such folder"),
        (["fbnetv5/__main__.py", "check", "quickstart", "data.rot=x"], 1, "did you mean 'data.root'?"),
        (["fbnetv5/__main__.py", "train", "my.yaml"], 1, "my.yaml: there is no such file"),
        (["train_net.py", "--config=quickstart", "output=."], 1, "holds a run already"),
    ],
)
def test_nothing_heavy_is_imported_before_the_input_is_checked(arguments, status, said, tmp_path):
    (tmp_path / "config.yaml").touch()  # of a run
    command = [sys.executable, "-c", PROBE, str(ROOT / arguments[0]), *arguments[1:]]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=True)
    assert said in result.stdout + result.stderr
    assert "heavy []" in result.stdout
    assert (f"status {status}" if status is not None else "heavy") in result.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_the_keys_of_commands_exist():
    known = [key for key, _, _ in describe()]
    for command in COMMANDS.values():
        assert all(any(key.startswith(start) for key in known) for start in command.keys)
        assert set(command.classes) <= set(CLASSES)
    assert keys_text(("export.",)).count("\n") == sum(key.startswith("export.") for key in known)
