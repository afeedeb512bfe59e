"""Links and keys of documents exist, and commands name files that do; README.md is short."""

from __future__ import annotations

import re

import pytest

from fbnetv5.config.describe import describe
from tests import documents

PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *sorted(str(path.relative_to(documents.ROOT)) for path in documents.ROOT.glob("docs/*.md")),
    *(
        "datasets/README.md",
        *(f"projects/{name}/README.md" for name in ("fna", "fpnas", "table5", "tables", "comparisons")),
    ),
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)h#][^)]*)\)", documents.read(page)):
        path, _, anchor = link.partition("#")
        target = (documents.ROOT / page).parent / path
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert anchor in {"", *(re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings)}, link


@pytest.mark.parametrize("page", ["README.md", *(page for page in PAGES if page.startswith("docs/"))])
def test_keys_and_configs_are_there(page):
    keys, text = {key for key, _, _ in describe()}, documents.read(page)
    named = re.findall(r"\b((?:runtime|model|data|train|search|evaluate)\.[a-z_.]+)=", text)
    open_ended = ("search.algorithm.", "model.head.", "model.tasks.")
    assert {key for key in named if key != "search.stepz" and not key.startswith(open_ended)} <= keys
    for config in re.findall(r"--config[ =](configs/\S+\.yaml)", text):
        assert (documents.ROOT / config).is_file(), config


def test_the_readme_is_for_someone_in_a_hurry():
    assert len(documents.read("README.md").encode()) <= 12_000
