"""Latencies of exported parts: bundles, their tables, and searches that cost them; nothing is exported but one part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.export.lowered import Lowered
from fbnetv5.latency.block_costs import find_block_costs
from fbnetv5.latency.bundle import MANIFEST, TIMES, add_time, read_bundle, write_bundle
from fbnetv5.latency.exported import file_conditions, measure_exported, table_of_bundle
from fbnetv5.latency.part_models import part_models
from fbnetv5.latency.table import LatencyTable
from fbnetv5.latency.timers import LocalTimer
from tests.jobs.runs import ROOT, TINY
from tests.latency.tables import NANO
from tests.on_request import some_on_request

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SIZE = (64, 96)
COMMAND = "expr length {file}"  # prints a number, and is quick
OPTIONS = LatencyConfig(runtime="onnx", command=COMMAND, repeats=10, threads=1)


@pytest.fixture
def exported(monkeypatch):
    """The names of parts that are exported from here on, without being so."""
    found: list[str] = []

    def convert(self, runtime, calibration):
        found.append(f"{runtime} {type(self.model).__name__} {self.size}")
        return Lowered(b"a file")

    monkeypatch.setattr("fbnetv5.latency.bundle.Converter.convert", convert)
    return found


def config_of(*overrides: str) -> RunConfig:
    given = (*TINY, "search.cost=latency", "search.latency.runtime=onnx", "search.latency.threads=1", *overrides)
    return load_config(ROOT / "configs" / "quickstart.yaml", given)


def costs_of(config: RunConfig, cache: Path):
    config.runtime.latency_cache = str(cache)
    return find_block_costs(config.search, config.runtime, NANO, 2, 64, ALONE)


@pytest.mark.parametrize("runtime", some_on_request(["onnx", "executorch"], {"executorch"}))
def test_one_part_is_exported_timed_here_and_kept(runtime, tmp_path):
    conditions = file_conditions(NANO, SIZE, LatencyConfig(runtime=runtime, threads=1))
    assert str(conditions).endswith("1 thread(s), fp32, 1 image(s) of 64 x 96")
    assert f"{runtime} 1." in str(conditions)
    name = "fusion_1_3"  # so small a part that it is not worth a delegate, with an operator that has no other kernel
    parts = [part for part in part_models(NANO, SIZE, {}) if part.name == name]
    bundle = write_bundle(parts, conditions, tmp_path, print)
    assert bundle == read_bundle(tmp_path)
    assert bundle.files[name].shape == (1, NANO.channels[1], 8, 12)
    with LocalTimer(runtime, 1) as timer:
        assert 0 < timer(bundle.files[name]) < 1000
    with pytest.raises(InputError, match="lacks 19 parts"):
        table_of_bundle(bundle, {name: 1.0})


def test_an_interrupted_bundle_goes_on(exported, tmp_path):
    conditions = file_conditions(NANO, SIZE, OPTIONS)
    parts = list(part_models(NANO, SIZE, {}))
    write_bundle(parts[:5], conditions, tmp_path, print)
    assert len(exported) == 5
    write_bundle(parts, conditions, tmp_path, print)
    assert len(exported) == 20
    (tmp_path / "block_1.onnx").unlink()
    write_bundle(parts, conditions, tmp_path, print)
    assert len(exported) == 21
    add_time(tmp_path / TIMES, "block_1", 1.0)
    add_time(tmp_path / TIMES, "block_2", 2.0)
    write_bundle([parts[5]._replace(describes="another")], conditions, tmp_path, print)
    assert (tmp_path / TIMES).read_text() == "part,ms\nblock_2,2\n"  # not of the file that is no more
    with pytest.raises(InputError, match="has a bundle of "):
        write_bundle(parts, replace(conditions, precision="int8"), tmp_path, print)


def test_a_command_times_the_parts_once(exported, tmp_path):
    conditions = file_conditions(NANO, SIZE, replace(OPTIONS, repeats=30))
    assert conditions.device == COMMAND
    assert conditions.repeats == 3
    table = measure_exported(NANO, conditions, OPTIONS, tmp_path)
    assert min(table.partition_ms) >= 1
    assert len((tmp_path / TIMES).read_text().splitlines()) == 1 + 3 * 20
    broken = replace(OPTIONS, command="/nowhere/adb {file}")
    assert measure_exported(NANO, conditions, broken, tmp_path) == table


def test_times_of_another_pattern_are_others():
    patterns = (None, "mean=(.*)", "median=(.*)")
    found = {file_conditions(NANO, SIZE, replace(OPTIONS, pattern=pattern)) for pattern in patterns}
    assert len(found) == 3
    with pytest.raises(InputError, match=r"pattern and timeout are those of a command"):
        file_conditions(NANO, SIZE, replace(OPTIONS, command=None, pattern=patterns[1]))


def test_a_search_costs_what_the_command_says(exported, tmp_path):
    overrides = (f"search.latency.command={json.dumps(COMMAND)}", "search.latency.size=[64,96]")
    costs = costs_of(config_of(*overrides), tmp_path)
    assert costs.latency is not None
    assert costs.block_costs == costs.latency.block_latencies(2)
    assert costs.latency.conditions.size == SIZE
    assert len(exported) == 20
    assert costs_of(config_of(*overrides), tmp_path) == costs  # from the cache
    costs.latency.save(tmp_path / "phone.json")
    given = config_of(f"search.latency.table={tmp_path / 'phone.json'}", "search.latency.size=[64,96]")
    assert costs_of(given, tmp_path / "other") == costs
    with pytest.raises(InputError, match=r"search\.latency\.table=.* is of NANO at 64 x 96 pixels"):
        costs_of(config_of(f"search.latency.table={tmp_path / 'phone.json'}"), tmp_path)
    assert len(exported) == 20


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("search.latency.runtime=torch", "search.latency.precision=int8"), "search.latency.precision=int8 is for"),
        (
            ("search.latency.runtime=torch", "search.latency.command=x", "search.latency.threads=null"),
            "latency.command=x",
        ),
        (("search.latency.size=[8,64]",), "search.latency.size=[8, 64] should be"),
        (("search.latency.size=[64]",), "search.latency.size=[64] should be"),
        (("search.latency.batch_size=2",), "search.latency.batch_size=2: exported files take one image"),
        (("search.latency.command=bench",), "has no {file}"),
        (
            ("search.latency.command='bench {file}'", "search.latency.threads=null"),
            "search.latency.command: give search.latency.threads",
        ),
        (("search.latency.table=/nowhere/t.json",), "/nowhere/t.json"),
    ],
)
def test_options_that_do_not_fit_are_refused(overrides, message, exported, tmp_path):
    with pytest.raises(InputError) as error:
        costs_of(config_of(*overrides), tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("parts"),
        lambda document: document.update(format=2),
        lambda document: document["conditions"].pop("family"),
        lambda document: document["parts"]["block_0"].update(file="../block_0.onnx"),
        lambda document: document["parts"].update(block_0=[]),
    ],
)
def test_a_damaged_manifest_is_refused(damage, exported, tmp_path):
    parts = [part for part in part_models(NANO, SIZE, {}) if part.name == "block_0"]
    write_bundle(parts, file_conditions(NANO, SIZE, OPTIONS), tmp_path, print)
    document = json.loads((tmp_path / MANIFEST).read_text())
    damage(document)
    (tmp_path / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(InputError, match="is damaged") as error:
        read_bundle(tmp_path)
    assert "\n" not in str(error.value)


def test_an_older_table_is_one_of_torch(tmp_path):
    file = tmp_path / "table.json"
    conditions = {**vars(file_conditions(NANO, SIZE, OPTIONS)), "precision": "float32"}
    del conditions["runtime"]
    rows = {"partition_ms": [1.0] * 4, "block_ms": [1.0] * 4, "fusion_ms": [[0.0] * 4] * 4}
    file.write_text(json.dumps({"conditions": conditions, **rows}))
    table = LatencyTable.load(file)
    assert table.conditions.runtime == "torch"
    assert table.described == str(table.conditions)
