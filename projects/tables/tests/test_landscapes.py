"""The published tables as landscapes: figures that the papers and the files print, and the surrogate's kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fbnetv5.projects.tables.landscape import Evaluations, Landscape, every_choice
from fbnetv5.projects.tables.macro import PRICE, macro_landscape
from fbnetv5.projects.tables.mr import slot_of
from fbnetv5.projects.tables.published import NUM_MR_COLUMNS, read_table
from fbnetv5.projects.tables.surrogate import TASKS, Scales, Surrogate, read_scales


def tiny(num_tasks: int = 2) -> Landscape:
    values = np.random.default_rng(0).standard_normal((num_tasks, 12))
    return Landscape((3, 2, 2), ("a", "b", "c"), tuple(f"task {t}" for t in range(num_tasks)), values)


def test_macro_holds_every_network_where_its_choices_say() -> None:
    table, landscape = read_table("nas_bench_macro"), macro_landscape()
    assert landscape.values.shape == (3, 3**8)
    for row in (0, 1, 4321, 6560):
        digits = f"{int(table.values[row, 0]):08d}"
        top1, flops, params = landscape.at(np.array([int(digit) for digit in digits]))
        trained, cost = table.of("top1_0", "top1_1", "top1_2")[row].mean(), table.of("flops", "params")
        assert top1 == pytest.approx(trained)
        assert [top1 - flops, top1 - params] == pytest.approx(PRICE * cost[row] / cost.max(axis=0))
    assert landscape.values[0].max() == pytest.approx(93.1267, abs=1e-4)


def test_mr_has_the_networks_and_the_settings_of_its_source() -> None:
    table = read_table("nas_bench_mr")
    assert len(table.values) == 2507
    slots = [slot_of(column) for column in table.columns[:NUM_MR_COLUMNS]]
    assert len(set(slots)) == 14
    assert slots.count("s4_channels") == slots.count("s4_blocks") == 4
    assert slots.count("in_channels") == 2
    assert slots.count("last_channels") == slots.count("s3_modules") == 1
    assert set(TASKS) <= set(table.columns)


def test_a_surrogate_without_noise_passes_through_its_scores_and_is_not_additive() -> None:
    rng = np.random.default_rng(0)
    columns = 2.0 ** rng.integers(0, 4, (40, NUM_MR_COLUMNS))
    scores = 50 + 3 * np.log2(columns[:, 0]) * np.log2(columns[:, 1])
    small = torch.full((NUM_MR_COLUMNS,), -2.0, dtype=torch.float64)
    one = torch.zeros(1, dtype=torch.float64)
    surrogate = Surrogate(columns, scores, Scales(small, small, one, one - 30))
    np.testing.assert_allclose(surrogate(columns), scores, atol=1e-3)
    both, first, second, neither = columns[:1].repeat(4, axis=0)
    for network, values in ((both, (8, 8)), (first, (8, 1)), (second, (1, 8)), (neither, (1, 1))):
        network[:2] = values
    at = surrogate(np.stack([both, first, second, neither]))
    assert abs(at[0] - at[1] - at[2] + at[3]) > 0.1


@pytest.mark.parametrize("task", TASKS)
def test_the_committed_scales_predict_networks_that_are_left_out(task: str) -> None:
    table = read_table("nas_bench_mr")
    order = np.random.default_rng(1).permutation(len(table.values))
    kept, left_out = order[:600], order[-300:]
    columns, scores = table.values[:, :NUM_MR_COLUMNS], table.of(task)[:, 0]
    predicted = Surrogate(columns[kept], scores[kept], read_scales(task))(columns[left_out])
    assert np.corrcoef(predicted, scores[left_out])[0, 1] > {"cls-10-1000": 0.5}.get(task, 0.9)


def test_regret_is_the_distance_to_the_best_of_each_task() -> None:
    landscape = tiny()
    every = every_choice(landscape.num_options)
    np.testing.assert_array_equal(landscape.at(every), landscape.values)
    best = every[landscape.values.argmax(axis=1)]
    np.testing.assert_array_equal(landscape.regret(best), [0, 0])
    regrets = landscape.regret(every[[3, 7]])
    np.testing.assert_allclose(regrets, landscape.values.max(axis=1) - landscape.values[[0, 1], [3, 7]])
    np.testing.assert_allclose(landscape.only(1).regret(every[[7]]), regrets[1:])


def test_evaluations_are_the_scores_and_noise_of_the_deviation_asked_for() -> None:
    landscape = tiny()
    choices = every_choice(landscape.num_options)
    np.testing.assert_array_equal(Evaluations(landscape, 0.0, (1,))(choices), -landscape.values)
    evaluate = Evaluations(landscape, 2.0, (1,))
    noise = evaluate(choices.repeat(2000, axis=0)) + landscape.values.repeat(2000, axis=1)
    np.testing.assert_allclose(noise.std(axis=1), 2 * landscape.deviations, rtol=0.02)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.02  # every task has noise of its own
    repeated = evaluate(choices.repeat(500, axis=0), repeats=4) + landscape.values.repeat(500, axis=1)
    np.testing.assert_allclose(repeated.std(axis=1), landscape.deviations, rtol=0.05)
    assert evaluate.count == 12 * 2000 + 4 * 12 * 500
