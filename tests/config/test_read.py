"""Configs that others build on are bounded as those that are named themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.base.limits import MAX_DOCUMENT
from fbnetv5.config.read import CONFIGS, load_config
from tests.base.test_documents import BOMB

SCHEMA = "/fbnetv5/schema"
BUILDS = {
    "by a name": "[{schema}, extra/pulled, _self_]",
    "by a group": "[{schema}, extra: pulled, _self_]",
    "among several of a group": "[{schema}, extra: [sound, pulled], _self_]",
    "in another place": "[{schema}, extra@data: pulled, _self_]",
    "by a name in another place": "[{schema}, extra/pulled@data, _self_]",
    "if it is there": "[{schema}, optional extra: pulled, _self_]",
    "in another one's place": "[{schema}, extra: sound, _self_, override extra: pulled]",
    "by another": "[{schema}, extra/builder, _self_]",
    "by a reference": "[{schema}, extra: sound, 'extra/${{extra}}_pulled', _self_]",
}
OVERRIDES = ("+extra=pulled", "+extra@data=pulled", "+extra=[sound,pulled]", "+extra='pulled'", "+extra=builder")


def write(folder: Path, defaults: str) -> Path:
    """Write a config, and those that it may build on: sound, pulled, which is a bomb, and one that builds on that."""
    (folder / "extra").mkdir()
    sound = "# @package _global_\nname: sound\n"
    (folder / "extra/sound.yaml").write_text(sound)
    (folder / "extra/builder.yaml").write_text(f"defaults: [pulled, _self_]\n{sound}")
    for name in ("pulled", "sound_pulled"):
        (folder / f"extra/{name}.yaml").write_text(BOMB)
    (folder / "mine.yaml").write_text(f"defaults: {defaults.format(schema=SCHEMA)}\nname: mine\n")
    return folder / "mine.yaml"


@pytest.mark.parametrize("defaults", BUILDS.values(), ids=BUILDS)
def test_what_a_config_builds_on_is_bounded(tmp_path: Path, defaults: str) -> None:
    with pytest.raises(InputError, match=r"pulled\.yaml: its aliases multiply"):
        load_config(write(tmp_path, defaults))


@pytest.mark.parametrize("override", OVERRIDES)
def test_what_the_command_line_adds_is_bounded(tmp_path: Path, override: str) -> None:
    file = write(tmp_path, "[{schema}, _self_]")
    assert load_config(file, ["+extra=sound"]).name == "sound"
    with pytest.raises(InputError, match=r"pulled\.yaml: its aliases multiply"):
        load_config(file, [override])


@pytest.mark.parametrize("key", ["output=runs/x", "seed=1", "job=train", "resume=true"])
def test_a_folder_that_hydra_would_take_for_a_group_is_named(tmp_path: Path, key: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("defaults: [/train/cls/shapes, _self_]\nname: my\n")
    for name in ("output", "seed", "job", "resume", "data", "search"):
        (tmp_path / name).mkdir()
    load_config(file, ["data.short_side=64", "search.steps=3"])
    with pytest.raises(InputError, match="hydra takes a folder beside a config for a choice of configs: rename it"):
        load_config(file, [key])


def test_a_home_folder_is_written_out(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("defaults: [/train/cls/shapes, _self_]\nname: my\noutput: ~/runs/my\n")
    with pytest.raises(InputError, match="output=~/runs/my: write the path out"):
        load_config(file)


def test_a_home_folder_behind_a_key_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/données")
    config = load_config(CONFIGS / "train/cls/shapes.yaml", ["output=~/my runs", "data.root=~/photos"])
    assert (config.output, config.data.root) == ("/home/données/my runs", "/home/données/photos")


MISTAKES = {
    "search.steps": "this is no key=value; did you mean search.steps=VALUE?",
    "search.steps = 3": "this is no key=value; did you mean search.steps=3?",
    "--search.steps=3": "there is no such option here; --help lists them; did you mean search.steps=3?",
    "photo.jpg": "this is no key=value",
    "--sheat": "there is no such option here; --help lists them",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_what_is_no_key_and_value_is_told_in_one_line(override: str) -> None:
    with pytest.raises(InputError) as refused:
        load_config(CONFIGS / "quickstart.yaml", [override])
    assert str(refused.value) == f"{override}: {MISTAKES[override]}"


@pytest.mark.parametrize(("name", "meant"), [("search/smal", "; did you mean 'search/small'?"), ("odd", "")])
def test_a_config_to_build_on_that_is_not_there_is_told_with_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(f"defaults: [/{name}, _self_]\nname: my\n")
    with pytest.raises(InputError) as refused:
        load_config(file)
    assert str(refused.value) == f"{file}: it builds on {name}, and there is no such config{meant}"


def test_a_value_of_a_sweep_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pulled\.yaml: its aliases multiply"):
        load_config(write(tmp_path, "[{schema}, _self_]"), ["+extra=sound,pulled"], sweep=True)


def test_pulled_configs_are_files_of_a_bounded_size(tmp_path: Path) -> None:
    file = write(tmp_path, "[{schema}, extra: pulled, _self_]")
    (tmp_path / "extra/pulled.yaml").write_text("#" * (MAX_DOCUMENT + 1))
    with pytest.raises(InputError, match=r"pulled\.yaml: .* bytes are too many"):
        load_config(file)
    (tmp_path / "extra/pulled.yaml").unlink()
    os.mkfifo(tmp_path / "extra/pulled.yaml")
    with pytest.raises(InputError, match=r"pulled\.yaml: it is no regular file"):
        load_config(file)


def test_a_name_that_no_file_could_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_config(write(tmp_path, "[{schema}, _self_]"), [f"+extra={'x' * 5000}"])
