"""``fbnetv5 time``: files of runs are timed in the same rounds, and their sidecars, cards and tables say it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.cli import commands
from fbnetv5.export.sidecar import add_milliseconds, carry_milliseconds, milliseconds_of, read_sidecar, sidecar_path
from fbnetv5.model.folder import save_model
from tests.export.models import CONFIG, FEW_BLOCKS, random_model
from tests.export.test_sidecar import exported as described

PHONE = ["--device", "a phone", "--threads", "2", "--repeats", "30"]


def exported(run: Path, content: bytes, runtime: str = "onnx", suffix: str = "onnx") -> Path:
    """A trained model, and what an export leaves beside it but for the file's content."""
    if not run.exists():
        model = random_model("det", topology=FEW_BLOCKS["det"])
        save_model(run, model, model.spec)
        (run / "config.yaml").write_text(CONFIG.format(name="det"))
        (run / "metrics.json").write_text(json.dumps({"metrics": {"AP": len(content) / 10}, "model": {"macs": 5}}))
        (run / "export").mkdir()
    return described(run / "export", f"model_fp32.{suffix}", runtime, content)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of what is gone on with, an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def milliseconds(file: Path) -> dict[str, float]:
    return milliseconds_of(sidecar_path(file)).by_condition


def test_files_of_runs_are_timed_kept_and_collected(tmp_path, cache, capsys):
    small, large = (exported(tmp_path / "curve" / name, b"x" * size) for name, size in (("s", 2), ("l", 4)))
    exported(tmp_path / "curve" / "s", b"xxx", "litert", "tflite")
    exported(tmp_path / "curve" / "s", b"xxx", "torchscript", "pt")
    commands.main(["time", str(tmp_path / "curve"), "--command", "stat -c %s {file}", *PHONE])
    out = capsys.readouterr().out
    assert f"not exported for litert fp32: {tmp_path / 'curve' / 'l'}" in out
    assert "files for torchscript are not timed" in out
    assert "onnx fp32, a phone, 2 threads: median of rounds" in out
    assert milliseconds(small) == {"a phone, 2 threads": 2.0}
    assert milliseconds(large) == {"a phone, 2 threads": 4.0}
    assert "4.00 (a phone, 2 threads)" in (large.parent.parent / "README.md").read_text()
    assert not list(cache.rglob("*.*"))  # what is done is not gone on with

    add_milliseconds(small, read_sidecar(small).sha256, "another phone", 7.0)
    commands.main(["collect", str(tmp_path / "curve"), "--x", "ms onnx fp32, a phone"])
    with (tmp_path / "curve" / "collected.csv").open() as file:
        rows = {Path(row["run"]).name: row for row in csv.DictReader(file)}
    assert [rows[name]["ms onnx fp32, a phone, 2 threads"] for name in "sl"] == ["2", "4"]
    assert (rows["s"]["ms onnx fp32, another phone"], rows["l"]["ms onnx fp32, another phone"]) == ("7", "")
    assert [rows[name]["front"] for name in "sl"] == ["yes", "yes"]
    assert "ms onnx fp32, a phone, 2 threads" in (tmp_path / "curve" / "collected.html").read_text()
    commands.main(["collect", str(tmp_path / "curve"), "--x", "ms onnx fp32, another"])
    assert "against ms onnx fp32, another phone; 1 of 2 rows lack one of them" in capsys.readouterr().out


def test_times_are_of_the_bytes_that_were_timed(tmp_path):
    file = exported(tmp_path / "run", b"xx")
    sha256 = read_sidecar(file).sha256
    add_milliseconds(file, sha256, "a phone", 1.0)
    for place, content in (("same", b"xx"), ("other", b"yy")):  # exported again
        carry_milliseconds(file, exported(tmp_path / place, content))
    assert milliseconds(tmp_path / "same" / "export" / file.name) == {"a phone": 1.0}
    assert milliseconds(tmp_path / "other" / "export" / file.name) == {}
    exported(tmp_path / "run", b"yy")
    with pytest.raises(InputError, match="is not that of the file that was timed"):
        add_milliseconds(file, sha256, "a phone", 1.0)


def test_files_that_lie_in_no_training_are_timed_and_equal_ones_once(tmp_path, monkeypatch, capsys):
    file = exported(tmp_path / "run", b"xx")
    shutil.copytree(file.parent, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "run")
    commands.main(["time", ".", str(tmp_path / "elsewhere"), "--command", "stat -c %s {file}", "--device", "a phone"])
    assert "1 file(s) for onnx fp32" in capsys.readouterr().out
    assert milliseconds(tmp_path / "elsewhere" / file.name) == {"a phone": 2.0} == milliseconds(file)
    assert (tmp_path / "run" / "README.md").read_text().count("# run\n") == 1
    monkeypatch.chdir(tmp_path / "run" / "export")
    (tmp_path / "run" / "README.md").unlink()
    commands.main(["time", ".", "--command", "stat -c %s {file}", "--device", "a phone"])
    assert "2.00 (a phone)" in (tmp_path / "run" / "README.md").read_text()


def test_what_was_timed_before_a_fault_is_gone_on_with(tmp_path, capsys):
    exported(tmp_path / "a", b"xxx", "litert", "tflite")  # which is timed whole, before the fault
    file = exported(tmp_path / "a", b"xx")
    file.rename(file.with_name("z_fp32.onnx"))
    sidecar_path(file).rename(sidecar_path(file.with_name("z_fp32.onnx")))
    count = tmp_path / "count"
    script = f"echo x >> {count}; if [ $(wc -l < {count}) -eq 7 ]; then exit 1; fi; echo 5"
    arguments = [str(tmp_path / "a"), "--command", f"sh -c '{script}' {{file}}", *PHONE]
    with pytest.raises(SystemExit):
        commands.main(["time", *arguments])
    error = capsys.readouterr().err
    assert "z_fp32.onnx: sh failed" in error
    assert "what was timed is kept in" in error
    assert "5.00 (a phone, 2 threads)" in (tmp_path / "a" / "README.md").read_text()
    commands.main(["time", *arguments])
    assert len(count.read_text().splitlines()) == 10  # four; one to warm up, one, a fault; one to warm up, two


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    file = exported(tmp_path / "run", b"xx")
    (tmp_path / "bare").mkdir()
    written = sidecar_path(file).read_text()
    for arguments, expected in (
        (["bare"], "bare: no exported file to time; write it: fbnetv5 export RUN 'export.formats=[onnx]'"),
        (["run", "--precision", "int8"], "no exported file to time for int8"),
        (["run", "--device", "x"], "--command asks a device, whose name is --device"),
        (["run", "--command", "echo 1"], "--command asks a device, whose name is --device"),
        (["run", "--command", "echo 1", "--device", "x"], "--command has no {file}"),
        (["run", "--command", "a {file} {threads}", "--device", "x"], "--command has {threads}: give --threads"),
        (["none"], "none: there is no such folder"),
        (["run", "--runtime", "onnx", "--threads", "1"], "run/export/model_fp32.onnx"),  # two bytes are no model
    ):
        with pytest.raises(SystemExit):
            commands.main(["time", str(tmp_path / arguments[0]), *arguments[1:]])
        assert expected in capsys.readouterr().err
    assert sidecar_path(file).read_text() == written
    for x, expected in (("ms", "fbnetv5 time RUNS measures exported files"), ("mss", "--x mss is none of macs")):
        with pytest.raises(SystemExit):
            commands.main(["collect", str(tmp_path / "run"), "--x", x])
        assert expected in capsys.readouterr().err
