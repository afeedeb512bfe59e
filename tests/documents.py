"""Examples of the documents, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    """The text of a document, such as README.md or docs/PYTHON.md."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def block(text: str, language: str, containing: str) -> str:
    """The first block of code in a language that contains something."""
    return next(block for block in blocks(text, language) if containing in block)
