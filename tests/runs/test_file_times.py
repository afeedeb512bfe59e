"""``fbnetv5 time``: files of runs are timed in the same rounds, and their sidecars, cards and tables say it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from fbnetv5.cli import commands
from fbnetv5.export.sidecar import add_milliseconds, milliseconds_of, sidecar_path
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


def time_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Ask a program for milliseconds, which are the file's bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    commands.main(["time", *arguments])


def test_files_of_runs_are_timed_kept_and_collected(tmp_path, monkeypatch, capsys):
    small, large = (exported(tmp_path / "curve" / name, b"x" * size) for name, size in (("s", 2), ("l", 4)))
    exported(tmp_path / "curve" / "s", b"xxx", "litert", "tflite")
    time_files(tmp_path, monkeypatch, str(tmp_path / "curve"), "--command", "stat -c %s {file}", *PHONE)
    out = capsys.readouterr().out
    assert f"not exported for litert fp32: {tmp_path / 'curve' / 'l'}" in out
    assert "onnx fp32, a phone, 2 threads: median of rounds" in out
    assert milliseconds_of(sidecar_path(small)).by_condition == {"a phone, 2 threads": 2.0}
    assert milliseconds_of(sidecar_path(large)).by_condition == {"a phone, 2 threads": 4.0}
    assert "4.00 (a phone, 2 threads)" in (large.parent.parent / "README.md").read_text()
    assert not list((tmp_path / "cache").rglob("*.csv"))  # what is done is not gone on with

    add_milliseconds(small, "another phone", 7.0)
    commands.main(["collect", str(tmp_path / "curve"), "--x", "ms onnx fp32, a phone"])
    with (tmp_path / "curve" / "collected.csv").open() as file:
        rows = {Path(row["run"]).name: row for row in csv.DictReader(file)}
    assert [rows[name]["ms onnx fp32, a phone, 2 threads"] for name in "sl"] == ["2", "4"]
    assert (rows["s"]["ms onnx fp32, another phone"], rows["l"]["ms onnx fp32, another phone"]) == ("7", "")
    assert [rows[name]["front"] for name in "sl"] == ["yes", "yes"]
    assert "ms onnx fp32, a phone, 2 threads" in (tmp_path / "curve" / "collected.html").read_text()


def test_what_was_timed_before_a_fault_is_gone_on_with(tmp_path, monkeypatch, capsys):
    exported(tmp_path / "a", b"xx")
    count = tmp_path / "count"
    script = f"echo x >> {count}; if [ $(wc -l < {count}) -eq 3 ]; then exit 1; fi; echo 5"
    arguments = [str(tmp_path / "a"), "--command", f"sh -c '{script}' {{file}}", *PHONE]
    with pytest.raises(SystemExit):
        time_files(tmp_path, monkeypatch, *arguments)
    assert "what was timed is kept in" in capsys.readouterr().err
    time_files(tmp_path, monkeypatch, *arguments)
    assert len(count.read_text().splitlines()) == 6  # a round to warm up, one, a fault; a round to warm up, two


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    file = exported(tmp_path / "run", b"xx")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_text("job: train")
    sidecar = sidecar_path(file)
    written = sidecar.read_text()
    for arguments, expected in (
        ([str(tmp_path / "bare")], "bare was exported: fbnetv5 export RUN 'export.formats=[onnx]'"),
        ([str(tmp_path / "run"), "--precision", "int8"], "was exported for int8: fbnetv5 export"),
        ([str(tmp_path / "run"), "--device", "x"], "--device and --pattern are those of a --command"),
        ([str(tmp_path / "none")], "none: there is no such folder"),
        ([str(tmp_path / "run"), "--runtime", "onnx", "--threads", "1"], "model_fp32.onnx"),  # two bytes are no model
    ):
        with pytest.raises(SystemExit):
            commands.main(["time", *arguments])
        assert expected in capsys.readouterr().err
    assert sidecar.read_text() == written
    for x, expected in (("ms", "fbnetv5 time RUNS measures exported files"), ("mss", "--x mss is none of macs")):
        with pytest.raises(SystemExit):
            commands.main(["collect", str(tmp_path / "run"), "--x", x])
        assert expected in capsys.readouterr().err
