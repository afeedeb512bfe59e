"""``fbnetv5 curve``: which points there are, what is run for each, what is refused, and the table it ends with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fbnetv5.archs.topology import Topology
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.cli import commands
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import saved_yaml
from fbnetv5.report.task_family import DERIVED, FAMILY, Member, TaskFamily, to_document
from fbnetv5.runs.curve import Wanted, run_curves
from fbnetv5.runs.curve_plan import STARTS, _curve_of, plan_curves
from tests.export.test_sidecar import exported

BLOCKS = ((), ((1, 3),), ((3, 1), (4, 0)), ((1, 3), (2, 2), (3, 1), (4, 0)))  # the last is FPN
CONFIG = """defaults: [/train/{task}/shapes, _self_]
name: my_{task}
model: {{family: NANO, num_stages: 4, topology: {search}/topology_{task}.yaml, weights: null}}
export: {{formats: [onnx]}}
"""
PHONE = LatencyConfig(command="stat -c %s {file}", device="a phone", repeats=10)


def member(blocks: Any, name: str, file: str | None) -> Member:
    macs = 100 + 10 * len(blocks)
    return Member(name, Topology(4, frozenset(blocks), (3,)), macs, macs, None, 1.0, 0.0, file)


def found(search: Path, task: str = "cls", derived: Any = BLOCKS[2]) -> Path:
    """A search's family of a task with its files, and the config of a training beside; return the config."""
    members = [member(b, f"0{k}", f"family_{task}/0{k}.yaml") for k, b in enumerate(BLOCKS, start=1)]
    others = [member(derived, DERIVED, None), member(BLOCKS[3], "unet, fpn", None)]
    folder = search / f"family_{task}"
    folder.mkdir(parents=True)
    (folder / FAMILY).write_text(json.dumps(to_document(TaskFamily(task, "macs", members, others))))
    for one in members:
        one.topology.save(search / str(one.file), {"task": task})
    Topology(4, frozenset(derived)).save(search / f"topology_{task}.yaml", {"task": task})
    config = search.parent / f"my_{task}.yaml"
    config.write_text(CONFIG.format(task=task, search=search))
    return config


def stand_in(config: RunConfig) -> None:
    """Leave what a training or an export would: milliseconds and the metric rise with the blocks. PANet's fails."""
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(saved_yaml(config, "a stand-in"))
    if config.job == "train":
        name = str(config.model.topology)
        if name == "panet":
            raise InputError("it fails")
        size = 9 if name == "bifpn" else len(Topology.load(name).blocks) + 1
        metrics = {"metrics": {"top1": size / 10}, "model": {"macs": size, "head": "heads.Classifier"}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "model.safetensors").write_bytes(b"")
    else:
        assert config.export.model == str(folder.parent)
        size = read_json(folder.parent / "metrics.json")["model"]["macs"]
        exported(folder, "model_fp32.onnx", "onnx", b"x" * size)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Where a command stands, and the program's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def names(config: Path, wanted: Wanted = Wanted()) -> list[str]:  # noqa: B008 - it is immutable
    return [*_curve_of(config, []).points(wanted)]


def test_points_are_of_the_family_the_derived_one_and_drawn_ones_each_once(tmp_path):
    config = found(tmp_path / "runs" / "my")  # its derived topology is the third, its last one FPN
    assert names(config) == ["01", "02", "03", "04", "panet", "bifpn"]
    assert names(config, Wanted(points=2)) == ["01", "04", DERIVED, "panet", "bifpn"]
    assert names(config, Wanted(points=3, drawn=False)) == ["01", "03", "04"]
    assert names(config, Wanted(points=9, drawn=False)) == ["01", "02", "03", "04"]
    points = _curve_of(config, []).points(Wanted(points=2))
    loaded = {name: load_config(config, [*point.overrides, "job=train"]).model for name, point in points.items()}
    assert Path(str(loaded["04"].topology)) == tmp_path / "runs/my/family_cls/04.yaml"
    assert Path(str(loaded[DERIVED].topology)) == tmp_path / "runs/my/topology_cls.yaml"
    assert (loaded["panet"].topology, loaded["panet"].num_stages, loaded["04"].num_stages) == ("panet", 7, 4)
    beside = [f"model.topology={tmp_path}/runs/my/family_cls/02.yaml"]
    assert _curve_of(config, beside).search == tmp_path / "runs" / "my"


def test_topologies_that_the_head_sees_alike_are_one_point(tmp_path):
    unseen = (*BLOCKS[2], (1, 2))  # the classifier reads path 3, where nothing leads from there
    config = found(tmp_path / "runs" / "my", derived=unseen)
    assert names(config, Wanted(drawn=False)) == ["01", "02", "03", "04"]
    fused = (*BLOCKS[2], (2, 2))
    assert DERIVED in names(found(tmp_path / "runs" / "other", derived=fused), Wanted(drawn=False))


def test_points_are_trained_exported_timed_and_drawn_and_gone_on_with(tmp_path, capsys):
    config = found(tmp_path / "runs" / "my")
    overrides = ["seed=3", "export.num_evaluated=7"]

    def run(*more: str) -> bool:
        return run_curves([config], [*overrides, *more], stand_in, PHONE, Wanted(points=2), 1)

    assert not run()  # PANet fails, which ends no other
    out = capsys.readouterr().out
    root = tmp_path / "runs" / "my_curve"
    assert "5 trainings and their exports, 1 at a time, into runs/my_curve" in out
    assert "my_cls/panet: failed after" in out
    assert "my_cls/panet/export: not run: my_cls/panet did not finish" in out
    first = load_config(root / "my_cls" / "01" / "config.yaml")
    assert (first.seed, first.job, first.runtime.threads, first.export.num_evaluated) == (3, "train", 1, 200)
    assert load_config(root / "my_cls" / "01" / "export" / "config.yaml").export.num_evaluated == 7
    table = out[out.index("Classifier: top1 against ms onnx fp32, a phone") :].splitlines()
    assert [line.split() for line in table[1:5]] == [
        ["01", "1.00", "ms", "0.1", "none", "faster", "is", "as", "good"],
        ["derived", "3.00", "ms", "0.3", "none", "faster", "is", "as", "good"],
        ["04", "5.00", "ms", "0.5", "none", "faster", "is", "as", "good"],
        ["bifpn", "9.00", "ms", "0.9", "drawn", "by", "hand,", "none", "faster", "is", "as", "good"],
    ]
    with (root / "collected.csv").open() as file:
        rows = {Path(row["run"]).name: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        **dict.fromkeys(("01", "04", DERIVED, "bifpn"), "finished"),
        "panet": "failed",
    }

    assert not run("runtime.threads=2")  # how it runs is not what it is
    assert capsys.readouterr().out.count("finished already") == 8
    with pytest.raises(InputError, match=r"train\.steps was .* is now 7\. Restore it, or choose another output folder"):
        run("train.steps=7")
    found_again = (tmp_path / "runs" / "my" / "family_cls" / FAMILY).read_text().replace("[3, 1]", "[3, 2]")
    (tmp_path / "runs" / "my" / "family_cls" / FAMILY).write_text(found_again)
    with pytest.raises(InputError, match="04 was trained from other blocks: the search has been run again"):
        run()
    assert len(read_json(root / STARTS)) == 5
    for name in ("01", "04", DERIVED, "bifpn"):
        (root / "my_cls" / name / "model.safetensors").unlink()
    again = plan_curves([config], [*overrides, "train.steps=7"], stand_in, Wanted(points=2))  # nothing was learnt there
    assert [job.folder for job in again.trainings] == [root / name for name in again.starts]


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (("model.topology=fpn",), "model.topology=fpn is no file that a search derived"),
        (("model.topology=runs/my/topology_seg.yaml",), "topology_seg.yaml is no file that a search derived"),
        (("export.map_stride=4",), "export.map_stride=4 is for masks"),
        (("output=runs/x",), "output=runs/x is not for a curve, which takes --output FOLDER"),
        (("seed=0,1",), "seed has several values"),
        (("export.formats=[onx]",), "export.formats: onx is none of executorch, onnx"),
        (("export.formats=[torchscript]",), "milliseconds are of executorch, onnx, litert"),
        (("export.formats=[onnx]", "export.precisions=[fp16]"), "files for onnx are written in fp32, int8"),
        (("train.steps=0",), "train.steps"),
        (("--seeds",), "--seeds: there is no such option here"),
        (("--command", "a {threads}", "--device", "x"), "--command has {threads}: give --threads"),
        (("--command", "a", "--device", "x"), "--command has no {file}"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(tmp_path, capsys, overrides, error):
    found(tmp_path / "runs" / "my")
    with pytest.raises(SystemExit) as end:
        commands.main(["curve", str(tmp_path / "runs" / "my_cls.yaml"), *overrides])
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert error in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs" / "my_curve").exists()


def test_a_search_without_families_and_several_searches_are_said(tmp_path):
    config, other = found(tmp_path / "a"), found(tmp_path / "other" / "b", "seg")

    def refused(*configs: Path, output: Path | None = None) -> str:
        with pytest.raises(InputError) as error:
            run_curves(configs, [], stand_in, PHONE, Wanted(output), 1)
        return str(error.value)

    assert "/b: say where to with --output" in refused(config, other)
    other.write_text(other.read_text().replace("[onnx]", "[executorch]"))
    assert "ask for other files: give export.formats" in refused(config, other, output=tmp_path / "out")
    mine = tmp_path / "mine.yaml"
    mine.write_text(config.read_text().replace("/a/", "/other/b/").replace("topology_cls", "topology_seg"))
    assert "have heads of one class, and one curve" in refused(config, mine, output=tmp_path / "out")
    (tmp_path / "a" / "family_cls" / FAMILY).unlink()
    assert "a has no family_cls/family.json: a search with a last look ends with it" in refused(config)
    assert "several configs of this name would share a folder" in refused(other, other)
