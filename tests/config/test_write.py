"""What is written of a configuration is read back as it was, whatever its texts hold."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fbnetv5.base.files import write_text
from fbnetv5.config.identity import identity
from fbnetv5.config.read import load_config
from fbnetv5.config.write import path_override, saved_yaml

QUICKSTART = Path("configs/quickstart.yaml")
PATHS = [
    "/a b/c",
    "/a/${b}/c",
    "/a/\\${b}",
    "it's ${b}",
    "a\\",
    "a\\\\${b}",
    "$b",
    "/a/${",
    "a\\'b",
    "a\\b",
    "a\\\\b",
    "#",
]


@pytest.mark.parametrize("path", PATHS)
def test_an_override_sets_the_path_that_it_was_given(path):
    assert load_config(QUICKSTART, [path_override("data.root", path)]).data.root == path


@pytest.mark.parametrize("path", PATHS)
def test_a_saved_configuration_is_read_back(path, tmp_path):
    config = load_config(QUICKSTART)
    config = replace(config, output=path, data=replace(config.data, root=path))
    file = tmp_path / "config.yaml"
    write_text(file, saved_yaml(config, "a header"))
    again = load_config(file)
    assert asdict(again) == asdict(config)
    assert identity(again) == identity(config)


@pytest.mark.parametrize("name", ["données", "größe/写真", "a/my größe"])
def test_letters_of_other_languages_need_no_quotes(name):
    assert load_config(QUICKSTART, [f"data.root={name}"]).data.root == name
    assert load_config(QUICKSTART, [f"data.root='{name}'"]).data.root == name
