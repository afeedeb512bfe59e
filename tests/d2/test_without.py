"""Without Detectron2 and D2Go the package imports, and what needs them says in one sentence what to install."""

from __future__ import annotations

import sys
from pathlib import Path

from fbnetv5.base.errors import one_line_errors
from fbnetv5.d2.teachers import NEEDED, Detectron2Boxes
from fbnetv5.model.folder import save_model
from tests.d2.detectors import detector
from tests.processes import run


class Absent:
    """Finds none of these three packages."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in ("detectron2", "d2go", "mobile_cv"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


ACTIONS = (
    "import fbnetv5.d2; fbnetv5.d2.register()",
    "import fbnetv5.d2.runner",
    "import fbnetv5.d2.search_runner",
    "import fbnetv5.d2.detection",
    "import fbnetv5.d2.export",
)


def try_actions() -> None:
    sys.meta_path.insert(0, Absent())
    for action in ACTIONS:
        try:
            exec(action)
        except Exception as error:
            print(type(error).__name__, error, sep=": ")


def test_one_sentence_says_what_to_install():
    finished = run(try_actions)
    lines = finished.stdout.splitlines()
    assert len(lines) == len(ACTIONS), finished.stderr
    for line in lines:
        assert line.startswith("InputError: fbnetv5.d2 needs Detectron2 and D2Go")
        assert "Detectron2's install page" in line
        assert "D2Go's install page" in line


def make_teacher() -> None:
    sys.meta_path.insert(0, Absent())
    with one_line_errors():
        Detectron2Boxes("config.yaml", "model.pth")


def test_a_teacher_says_so_too():
    assert run(make_teacher).stderr == f"error: {NEEDED}\n"


def convert_and_back(ours: Path, theirs: Path, back: Path) -> None:
    sys.meta_path.insert(0, Absent())
    from fbnetv5.d2.convert import main

    main([str(ours), str(theirs)])
    main(["--back", f"{theirs}/config.yaml", f"{theirs}/model.pth", str(back)])


def test_our_weights_are_converted_without_detectron2(tmp_path):
    model = detector()
    save_model(tmp_path / "ours", model, model.spec)
    finished = run(convert_and_back, tmp_path / "ours", tmp_path / "d2", tmp_path / "back")
    assert {file.name for file in (tmp_path / "d2").iterdir()} == {"model.pth", "config.yaml", "topology.yaml"}
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: fbnetv5.d2 needs Detectron2")
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "back").exists()
