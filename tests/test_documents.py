"""Links and keys of documents exist."""

from __future__ import annotations

import re

import pytest

from fbnetv5.config.describe import describe
from tests import documents

PAGES = ("docs/PYTHON.md", "docs/HUB.md", "docs/LOGGERS.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)h#][^)]*)\)", documents.read(page)):
        path, _, anchor = link.partition("#")
        target = (documents.ROOT / page).parent / path
        assert target.exists(), link
        headings = [
            line.lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        ]
        assert not anchor or anchor in headings, link


@pytest.mark.parametrize("page", PAGES)
def test_keys_are_keys_of_a_config(page):
    keys = {key for key, _, _ in describe()}
    named = re.findall(r"\b((?:runtime|model|data|train|search|evaluate)\.[a-z_.]+)=", documents.read(page))
    assert {key for key in named if key != "search.stepz"} <= keys
