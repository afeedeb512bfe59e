"""The command ``fbnetv5``: which config, which job and which keys its subcommands hand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fbnetv5.cli import commands
from fbnetv5.config.read import CONFIGS, config_names, find_config, load_config


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """What a command line would run: a file, its overrides, whether it is a sweep, and its processes if several."""
    monkeypatch.chdir(tmp_path)
    calls: list = []

    def launch(file: Path, overrides: list[str], *, sweep: bool = False, processes: int = 1) -> None:
        calls.append((file, overrides, sweep, processes) if processes > 1 else (file, overrides, sweep))

    monkeypatch.setattr(commands, "launch", launch)

    def run(*arguments: str):
        calls.clear()
        commands.main(arguments)
        return calls[0]

    return run


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        commands.main(arguments)
    assert end.value.code == 1
    return capsys.readouterr().err


def test_configs_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").touch()
    assert find_config("my.yaml") == tmp_path / "my.yaml"
    for name in ("train/det/shapes", "train/det/shapes.yaml", "configs/train/det/shapes.yaml"):
        assert find_config(name) == CONFIGS / "train/det/shapes.yaml"
    (tmp_path / "quickstart.yaml").touch()  # one's own comes first
    assert find_config("quickstart.yaml") == tmp_path / "quickstart.yaml"
    assert find_config("quickstart") == CONFIGS / "quickstart.yaml"
    assert find_config("nowhere") is None
    assert {"quickstart", "search/small", "evaluate"} <= set(config_names())


def test_jobs_take_a_config_and_keys(launched):
    assert launched("search", "quickstart", "seed=1") == (CONFIGS / "quickstart.yaml", ["job=search", "seed=1"], False)
    assert launched("pretrain", "quickstart")[1] == ["job=pretrain"]
    assert launched("train", "train/det/shapes", "seed=1,2", "--multirun")[2]
    assert launched("sweep", "quickstart", "seed=1,2") == (CONFIGS / "quickstart.yaml", ["seed=1,2"], True)
    assert launched("search", "quickstart", "--processes", "4", "seed=1")[1:] == (["job=search", "seed=1"], False, 4)
    assert launched("run", "quickstart")[1] == []


def test_ones_own_config_builds_on_those_of_the_program(launched, tmp_path):
    (tmp_path / "my.yaml").write_text("defaults: [/search/small, _self_]\nname: mine\n")
    file, overrides, _ = launched("search", "my.yaml", "seed=3")
    config = load_config(file, overrides)
    assert (config.name, config.model.family, config.seed) == ("mine", "NANO", 3)


def test_a_config_of_another_job_is_refused_with_the_command_that_it_is_for(capsys):
    assert "is for the job train: fbnetv5 train train/det/shapes" in refused(capsys, "search", "train/det/shapes")
    assert "is for the job search: fbnetv5 search quickstart" in refused(capsys, "train", "quickstart")


def test_models_are_evaluated_exported_and_predict(launched, tmp_path, monkeypatch):
    model = tmp_path / "runs" / "it's"
    model.mkdir(parents=True)
    (model / "config.yaml").write_text("defaults: [/train/small, _self_]\nname: mine\n")
    for name in ("evaluate", "export"):
        file, overrides, _ = launched(name, "runs/it's", "seed=3")
        config = load_config(file, overrides)
        assert (config.job, config.seed, config.output) == (name, 3, f"runs/it's/{name}")
        assert getattr(config, name).model == "runs/it's"
    file, overrides, _ = launched("predict", "runs/it's", "my photos", "runtime.workers=0")
    config = load_config(file, overrides)
    assert (config.job, config.evaluate.model, config.evaluate.images) == ("evaluate", "runs/it's", "my photos")
    assert config.output == "runs/it's/predict/my photos"
    monkeypatch.chdir(tmp_path / "runs")
    _, overrides, _ = launched("predict", "it's", "..")
    assert load_config(file, overrides).output == f"it's/predict/{tmp_path.name}"
    monkeypatch.chdir(tmp_path)
    file, overrides, _ = launched("predict", "hf://owner/pets", "https://host/a.jpg")
    config = load_config(file, overrides)
    assert (config.evaluate.model, config.evaluate.images) == ("hf://owner/pets", "https://host/a.jpg")
    assert config.output == "runs/pets/predict/a.jpg"


def test_several_models_are_exported_though_one_fails(tmp_path, monkeypatch, capsys):
    for name in ("curve/b", "curve/a", "other", "curve/unfinished"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("defaults: [/train/small, _self_]\nname: mine\n")
        if name != "curve/unfinished":
            (tmp_path / name / "config.json").touch()
    seen = []

    def launch(file, overrides, *, processes):
        seen.append((file.parent.name, overrides[-1]))
        if file.parent.name == "b":
            raise SystemExit(1)

    monkeypatch.setattr(commands, "launch", launch)
    parts = f"export.float_parts=[{','.join(f'network.blocks.{place}_1' for place in range(20))}]"
    commands.main(["export", str(tmp_path / "other"), parts])  # a text too long for a file's name
    assert seen.pop() == ("other", parts)
    error = refused(capsys, "export", str(tmp_path / "curve"), str(tmp_path / "other"), "seed=3")
    assert seen == [("a", "seed=3"), ("b", "seed=3"), ("other", "seed=3")]
    assert f"1 of 3 failed: {tmp_path / 'curve' / 'b'}" in error


def test_mistakes_are_told_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no such command; did you mean 'search'?" in refused(capsys, "serch")
    assert "quikstart: there is no such file; did you mean 'quickstart'?" in refused(capsys, "search", "quikstart")
    assert "give the folder of a training" in refused(capsys, "export", str(tmp_path))
    for name in ("a.jpg", "b.jpg"):
        Path(name).touch()
    error = refused(capsys, "predict", "runs/my", "a.jpg", "b.jpg")
    assert error == "error: b.jpg: one image, or one folder of images, is predicted at a time\n"


def test_every_command_has_a_help(capsys):
    for name, command in commands.COMMANDS.items():
        with pytest.raises(SystemExit) as end:
            commands.main([name, "--help"])
        assert end.value.code == 0
        assert command.usage in capsys.readouterr().out
    commands.main(["--help"])
    overview = capsys.readouterr().out
    assert all(f"\n  {name} " in overview for name in commands.COMMANDS)
