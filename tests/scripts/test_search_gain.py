"""How much of what could be found a search has found: by descents on known landscapes, and on a tiny search."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import search_gain
import torch
from torch import Tensor

from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.search.space import CostTerm
from tests.jobs.runs import TINY, arguments
from tests.on_request import ON_REQUEST
from tests.search.landscape import BinarySpace


class Known:
    """A landscape that is a sum over slots."""

    def __init__(self, worth: Tensor) -> None:
        self.worth = worth

    def scores(self, choices: list[tuple[int, ...]]) -> Tensor:
        return torch.tensor(choices).double() @ self.worth


@pytest.mark.parametrize("cost_term", [CostTerm(), CostTerm(3.0, 0.25)])
def test_descents_end_in_the_optimum_of_a_sum_over_slots(cost_term: CostTerm) -> None:
    for seed in range(5):
        worth = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        run: Any = SimpleNamespace(
            space=BinarySpace((1.0,) * 6),
            algorithm=SimpleNamespace(cost_term=cost_term),
            config=SimpleNamespace(seed=seed),
        )
        every = list(itertools.product((0, 1), repeat=6))
        random = search_gain.draw_uniform(run, 16)
        landscape: Any = Known(worth)
        scale = landscape.scores(random).std()
        best = (landscape.scores(every) / scale + search_gain.run_costs(run, every)).argmin()
        assert search_gain.descend(run, landscape, random, num_starts=8) == every[int(best)]


def test_architectures_of_the_same_cost_cost_the_same() -> None:
    run: Any = SimpleNamespace(space=BinarySpace((1.0, 2.0, 3.0, 4.0)), config=SimpleNamespace(seed=0))
    found = search_gain.same_cost(run, (1, 0, 0, 1))
    assert set(found) == {(1, 0, 0, 1), (0, 1, 1, 0)}
    assert len(found) == search_gain.NUM_SAME_COST


def test_a_table_holds_each_run_once(tmp_path: Path) -> None:
    table = tmp_path / "gains.csv"
    for seed, found in ((1, 0.5), (0, 0.25), (1, 0.75)):
        search_gain.write_gains(table, "mine", seed, {"cls": search_gain.Gain(found, 1.0, 0.5, 0.9, 192)})
    search_gain.write_gains(table, "mine", 1, {"det": search_gain.Gain(1.0, 1.0, 0.5, 0.9, 64)})
    assert table.read_text().splitlines() == [
        "run,seed,task,gain,possible,above_same_cost,better_than,images_b",
        "mine,0,cls,0.250,1.000,0.500,0.900,192",
        "mine,1,cls,0.750,1.000,0.500,0.900,192",
        "mine,1,det,1.000,1.000,0.500,0.900,64",
    ]


@pytest.mark.slow
@ON_REQUEST
def test_a_search_is_measured_and_too_few_images_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    given = arguments(*TINY, "search.steps=2", "data.shapes.num_val_images=16", f"output={folder}", tiny=False)
    run_job(load_config(Path(given[0].removeprefix("--config=")), given[1:]))
    few = [str(folder), "--random", "8", "--starts", "1"]
    table = tmp_path / "gains.csv"
    search_gain.main([*few, "--images", "8", "--csv", str(table)])
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"gain cls -?[\d.]+ det -?[\d.]+ seg -?[\d.]+", last)
    assert [line.split(",")[:3] for line in table.read_text().splitlines()[1:]] == [
        ["quickstart", "0", task] for task in ("cls", "det", "seg")
    ]
    with pytest.raises(SystemExit):
        search_gain.main([*few, "--images", "9"])
    assert "'cls' has 16 labelled validation images, A and B take 18" in capsys.readouterr().err
    search_gain.main([*few, "data.shapes.num_val_images=20", "--images", "8", "--images-b", "12", "--tasks", "cls"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("gain cls ")


def test_what_no_random_architecture_costs_is_beside_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(map(math.isnan, search_gain.beside_same_cost(Known(torch.ones(2)), [], 0.5, 1.0)))
    assert "no random one has its cost" in capsys.readouterr().out
    found = search_gain.beside_same_cost(Known(torch.tensor([1.0, 2.0]).double()), [(1, 0), (0, 1), (1, 1)], 1.5, 0.5)
    assert found == pytest.approx(((2.0 - 1.5) / 0.5, 2 / 3))
