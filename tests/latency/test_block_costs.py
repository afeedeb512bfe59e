"""Searches whose blocks cost MACs, parameters or milliseconds."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import yaml

from fbnetv5.archs.cost import block_macs, block_params
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.engine.trainer import train
from fbnetv5.jobs import search
from fbnetv5.jobs.derived import derive
from fbnetv5.jobs.search import build_run
from fbnetv5.latency.block_costs import LATENCY, BlockCosts, find_block_costs
from fbnetv5.latency.table import LatencyTable
from fbnetv5.search.space import relative_costs
from tests.jobs.runs import ROOT, TINY, logits
from tests.latency.tables import random_table
from tests.processes import two_ranks

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
NANO = get_family("NANO")
COSTS = ("macs", "params", "latency")
SMALL = (
    "search.steps=3",
    "search.batch_size=8",
    "search.num_samples=2",
    "search.latency.repeats=1",
    "data.shapes.num_images=16",
    "tasks.det=null",
    "runtime.workers=0",
    "runtime.checkpoint_every=2",
)


def config_of(cost: str, *overrides: str) -> RunConfig:
    given = (*TINY, *SMALL, f"search.cost={cost}", *overrides)
    return load_config(ROOT / "configs" / "quickstart.yaml", given)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_measuring(monkeypatch):
    """Whoever measures from here on fails."""

    def refuse(*_args: object) -> None:
        raise AssertionError("this should not be measured")

    monkeypatch.setattr("fbnetv5.latency.cache.measure_latency", refuse)


def test_blocks_cost_macs_unless_told_otherwise(tmp_path, no_measuring):
    config = load_config(ROOT / "configs" / "quickstart.yaml", [*TINY, *SMALL])
    run = build_run(config, ALONE, tmp_path)
    macs = block_macs(NANO, 2, (64, 64))
    assert run.latency is None
    assert run.space.block_costs == macs
    choices = torch.tensor([[1, 0, 0, 1, 0, 1, 0, 0]])
    assert relative_costs(run.space, choices) == (macs[0] + macs[3] + macs[5]) / sum(macs)


def test_the_cost_decides_what_the_cost_term_sees(tmp_path):
    choices = torch.tensor([[1, 0, 0, 1, 0, 1, 0, 0]])
    found = {}
    for cost in COSTS:
        run = build_run(config_of(cost), ALONE, tmp_path)
        costs = {"macs": block_macs(NANO, 2, (64, 64)), "params": block_params(NANO, 2)}
        expected = run.latency.block_latencies(2) if run.latency else costs[cost]
        share = (expected[0] + expected[3] + expected[5]) / sum(expected)
        assert relative_costs(run.space, choices).item() == pytest.approx(share, rel=1e-12)
        found[cost] = share
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shared", [False, True])
def test_the_budget_is_in_the_unit_of_the_cost_or_a_share_of_it(cost, shared, tmp_path):
    run = build_run(config_of(cost), ALONE, tmp_path)
    assert run.budget is None
    budget = 0.35 * sum(run.space.block_costs)
    run.config.search.budget_share = 0.35 if shared else 0.9
    run.config.search.budget = None if shared else budget  # which goes before a share
    assert run.budget == pytest.approx(budget, rel=1e-12)
    assert f"a topology's at most {budget:.3g}" in run.summary()
    select = torch.rand(8, generator=torch.Generator().manual_seed(2), dtype=torch.float64).clamp(0.1, 0.9)
    probabilities = torch.stack([1 - select, select], dim=1)
    costs = run.space.block_costs

    def price(choices):
        return sum(each * choice for each, choice in zip(costs, choices, strict=True))

    def likelihood(choices):
        return float(probabilities[range(8), list(choices)].log().sum())

    best = max(filter(lambda each: price(each) <= budget, itertools.product((0, 1), repeat=8)), key=likelihood)
    assert run.space.encode(derive(run, next(iter(run.model.tasks)), probabilities)) == best


def test_a_search_by_latency_says_so_everywhere(tmp_path, capsys):
    folder = tmp_path / "run"
    search.run(config_of("latency"), folder)
    table = LatencyTable.load(folder / LATENCY)
    printed = capsys.readouterr()
    assert f"their cost in ms on {table.conditions}" in printed.out + printed.err
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "latency, ms" in page
    assert f"Milliseconds: {table.conditions}." in page
    for task in ("cls", "seg"):
        file = folder / f"topology_{task}.yaml"
        info = yaml.safe_load(file.read_text())["info"]
        seen = Topology.load(file).prune((info["head_path"],))
        assert info["searched_with"]["cost"] == "latency"
        assert info["backbone_latency_ms"] == round(table.network_ms(seen), 4)
        assert f"{info['backbone_latency_ms']:.2f} ms" in printed.out
        assert f"{info['backbone_latency_ms']:.2f} ms" in page


def test_a_resumed_search_goes_on_with_its_own_latencies(tmp_path, no_measuring, monkeypatch):
    folder, cache = tmp_path / "run", tmp_path / "cache"
    monkeypatch.setattr("fbnetv5.latency.cache.measure_latency", lambda *_: random_table(5))
    whole = build_run(config_of("latency"), ALONE, folder)
    train(whole, folder)
    expected = logits(folder)
    assert any(cache.rglob("NANO_64x64_*.json"))
    (last,) = (folder / "checkpoints").glob("step-00000003")
    last.rename(tmp_path / "last")
    for file in cache.rglob("*.json"):
        file.unlink()
    monkeypatch.setattr("fbnetv5.latency.cache.measure_latency", lambda *_: random_table(6))
    resumed = build_run(config_of("latency", "resume=true"), ALONE, folder)
    assert resumed.latency == whole.latency == random_table(5)
    train(resumed, folder)
    assert torch.equal(logits(folder), expected)

    shutil.rmtree(folder / "checkpoints")  # then nothing has been learnt with its latencies
    cached = build_run(config_of("latency", "resume=true"), ALONE, folder)
    assert cached.latency == random_table(6)
    (folder / "checkpoints" / "step-00000001").mkdir(parents=True)
    (folder / LATENCY).unlink()
    with pytest.raises(InputError, match=r"latency\.json"):
        build_run(config_of("latency", "resume=true"), ALONE, folder)


def costs_of(config: RunConfig, side: int, world: World, earlier: Path | None = None) -> BlockCosts:
    return find_block_costs(config.search, config.runtime, NANO, config.model.num_stages, side, world, earlier)


def test_latencies_of_another_network_are_refused(tmp_path):
    random_table(0).save(tmp_path / LATENCY)
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(InputError, match=r"latency\.json"):
        costs_of(config_of("latency"), 32, ALONE, tmp_path)


def test_a_run_that_did_not_begin_measures(tmp_path):
    costs = costs_of(config_of("latency"), 64, ALONE, tmp_path / "new")
    assert costs.latency is not None


def work(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    config = config_of("latency", f"runtime.latency_cache={folder / f'cache {rank}'}")
    costs = costs_of(config, 64, World(rank, 2, torch.device("cpu")))
    torch.save(costs.block_costs, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_all_ranks_search_with_rank_0s_latencies(tmp_path):
    two_ranks(work, tmp_path)
    mine, theirs = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert mine == theirs
    assert min(mine) > 0
    assert [folder.name for folder in tmp_path.glob("cache *")] == ["cache 0"]
