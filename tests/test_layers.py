"""Rooms of the package, each of which imports only those above it in CONTRIBUTING.md's picture."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fbnetv5"
PICTURE = re.search(r"```layers\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)


def layers() -> list[list[str]]:
    """The rooms on each line of the picture, from the ground up; rooms of one line do not import each other."""
    assert PICTURE is not None
    return [re.findall(r"(\w+)/", line.split("  ")[0] + " ") for line in PICTURE.group(1).splitlines()]


def imports(path: Path) -> Iterator[str]:
    """All modules that a file imports, anywhere in it: for types, inside of functions, by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (value.value for value in node.args[:1] if isinstance(value, ast.Constant))


def files() -> list[Path]:
    """All files of the package but the tests of projects."""
    found = [*PACKAGE.rglob("*.py"), *(ROOT / "projects").rglob("*.py")]
    return sorted(path for path in found if "tests" not in path.relative_to(ROOT).parts)


def room(path: Path) -> str:
    """The room that a file lies in."""
    parts = path.relative_to(ROOT).parts
    return "projects" if parts[0] == "projects" else parts[1]


def test_every_room_stands_in_the_picture():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {name for line in layers() for name in line}
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}  # the facade; the command


def test_rooms_import_only_what_stands_above_them():
    height = {name: number for number, line in enumerate(layers()) for name in line}
    wrong = []
    for path in files():
        if path.parent == PACKAGE:
            continue
        for module in imports(path):
            package, *rest = module.split(".")
            assert package not in ("projects", "tests", "scripts"), f"{path}: {module}"
            if package != "fbnetv5" or rest[0] == room(path):
                continue
            if height.get(rest[0], len(height)) >= height[room(path)]:
                wrong.append(f"{path.relative_to(ROOT)}: {module}")
    assert wrong == []


def test_detectron2_is_imported_by_its_room_alone():
    for path in files():
        if room(path) != "d2" and path.parent != PACKAGE:
            assert not {module.split(".")[0] for module in imports(path)} & {"detectron2", "d2go", "mobile_cv"}, path
