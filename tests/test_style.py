"""The limits that keep the code readable (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("fbnetv5", "projects", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if "tests" not in path.relative_to(ROOT).parts
)


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def function_lengths() -> dict[str, int]:
    lengths = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lengths[f"{path.relative_to(ROOT)}:{node.name}"] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def test_files_are_short():
    assert {path.name: n for path in FILES if (n := num_lines(path)) > 400} == {}
    assert statistics.median(map(num_lines, FILES)) < 150


def test_functions_are_short():
    lengths = function_lengths()
    assert {name: n for name, n in lengths.items() if n > 60} == {}
    assert sum(n < 40 for n in lengths.values()) > 0.9 * len(lengths)
