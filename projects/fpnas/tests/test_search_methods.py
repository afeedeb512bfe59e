"""The search methods on landscapes whose best network is known."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fpnas.bound import BoundedSpace
from fbnetv5.projects.fpnas.methods import Budget, CoordinateDescent, RandomSearch
from fbnetv5.projects.fpnas.reinforce import Controller, Reinforce
from fbnetv5.projects.fpnas.tests.searches import Landscape

MACS = ((1, 2, 3, 4), (1, 2), (1, 2, 3, 4))
SCORES = [[0.1, 0.9, 0.2, 0.5], [0.3, 0.6], [0.8, 0.1, 0.4, 0.9]]
BUDGET = Budget(iterations=6, shared_epochs=2, epochs=3, num_candidates=4)
METHODS = (CoordinateDescent, RandomSearch, Reinforce)


def options(method: type) -> dict[str, int]:
    return {} if method is CoordinateDescent else {"epochs": 3}


def test_the_paper_takes_704_epochs_and_31_7_million_images():
    assert Budget().total_epochs == 16 * (4 + 4 * 10) == 704
    assert Budget().total_epochs * 45_000 == 31_680_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bound", [100, 8, 5])
def test_a_search_takes_its_epochs_exactly_and_trains_nothing_over_the_bound(method, bound):
    space, landscape = BoundedSpace(MACS, 0, bound), Landscape(SCORES)
    found = method(space, BUDGET, seed=0, **options(method)).search(landscape)
    assert landscape.epochs == BUDGET.total_epochs == 6 * (2 + 3 * 4)
    assert all(space.macs(choices) < bound for choices in landscape.networks)
    assert found.choices in landscape.networks
    assert found.weights not in landscape.forgotten


@pytest.mark.parametrize("method", METHODS)
def test_a_search_depends_on_its_seed_alone(method):
    space = BoundedSpace(MACS, 0, 9)
    runs = [Landscape(SCORES) for _ in range(3)]
    for landscape, seed in zip(runs, (0, 0, 1), strict=True):
        method(space, BUDGET, seed=seed, **options(method)).search(landscape)
    assert runs[0].jobs == runs[1].jobs
    assert runs[0].jobs != runs[2].jobs


def test_coordinate_descent_finds_the_best_network_where_blocks_do_not_depend_on_each_other():
    best = max(product(range(4), range(2), range(4)), key=Landscape(SCORES).accuracy)
    for seed in range(5):
        landscape = Landscape(SCORES)
        found = CoordinateDescent(BoundedSpace(MACS, 0, 100), BUDGET, seed=seed).search(landscape)
        assert found.choices == best
        assert found.accuracy == pytest.approx(landscape.accuracy(best))


def test_an_iteration_changes_one_block_and_hands_its_weights_on():
    landscape = Landscape(SCORES)
    CoordinateDescent(BoundedSpace(MACS, 0, 9), BUDGET, seed=0).search(landscape)
    assert [job.position for job in landscape.shared] == [0, 1, 2, 0, 1, 2]  # algorithm 1, line 3
    before = None
    for iteration, shared in enumerate(landscape.shared):
        position = shared.position
        candidates = [job for job in landscape.independent if job.iteration == iteration]
        assert len(candidates) == BUDGET.num_candidates
        assert {job.start for job in candidates} == {f"{shared.name}.weights"}
        for job in candidates:
            assert job.choices in shared.networks
            others = [place for place in range(3) if place != position]
            assert all(job.choices[place] == shared.choices[place] for place in others)
        _, decided, choices, _ = landscape.decided[iteration]
        assert decided == position
        if before is not None:
            assert shared.choices == before[0]
            assert shared.start == before[1]
        first = next(job for job in candidates if job.choices == choices)
        before = (choices, f"{first.name}.weights")


def test_the_best_of_stage_one_become_candidates():
    landscape = Landscape(SCORES)
    budget = Budget(iterations=1, shared_epochs=1, epochs=1, num_candidates=2)
    CoordinateDescent(BoundedSpace(MACS, 0, 100), budget, seed=0).search(landscape)
    assert [job.choices[0] for job in landscape.independent] == [1, 3]  # of 0.1, 0.9, 0.2, 0.5


def test_too_few_types_are_trained_several_times_and_judged_by_the_mean():
    class Lucky(Landscape):
        def train(self, jobs):
            results = super().train(jobs)
            for job, result in zip(jobs, results, strict=True):
                if job.name.endswith("candidate-04"):  # type 1 again, after 0.6
                    result.accuracies[0] = 0.1
                if job.name.endswith("candidate-03"):
                    result.accuracies[0] = 0.45
            return results

    landscape = Lucky([[0.4, 0.6], [0.0, 0.0, 0.0, 0.0]])
    space = BoundedSpace(((1, 1), (1, 9, 9, 9)), 0, 3)
    budget = Budget(iterations=1, shared_epochs=1, epochs=1, num_candidates=4)
    found = CoordinateDescent(space, budget, seed=0).search(landscape)
    assert [job.choices[0] for job in landscape.independent] == [1, 0, 1, 0]
    assert len({job.key for job in landscape.independent}) == 4
    # stage two gives (0.6 / 2 + 0.45) / 2 and (0.4 / 2 + 0.1) / 2
    assert found.choices == (1, 0)
    assert found.accuracy == pytest.approx((0.3 + 0.45) / 2)
    assert found.weights == "iteration-001/candidate-01.weights"


def test_more_candidates_than_types_are_refused():
    budget = Budget(num_candidates=5)
    with pytest.raises(InputError, match=r"project.num_candidates=5"):
        CoordinateDescent(BoundedSpace(MACS, 0, 100), budget, seed=0)


@pytest.mark.parametrize("method", [RandomSearch, Reinforce])
def test_epochs_that_do_not_divide_the_budget_are_refused(method):
    with pytest.raises(InputError, match="epochs=5"):
        method(BoundedSpace(MACS, 0, 100), BUDGET, seed=0, epochs=5)


def test_random_search_finds_the_best_that_it_drew():
    landscape = Landscape(SCORES)
    found = RandomSearch(BoundedSpace(MACS, 0, 9), BUDGET, seed=0, epochs=3).search(landscape)
    assert len(landscape.jobs) == 84 // 3
    assert found.accuracy == max(map(landscape.accuracy, landscape.networks))


def test_the_controllers_probabilities_sum_to_1_and_are_those_it_draws_by():
    torch.manual_seed(0)
    controller = Controller((3, 2), width=8)
    every = list(product(range(3), range(2)))
    probabilities = controller(torch.tensor(every)).exp()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    draws = torch.Generator().manual_seed(0)
    drawn = [controller.draw(draws) for _ in range(800)]
    for choices, probability in zip(every, probabilities.tolist(), strict=True):
        assert drawn.count(choices) / 800 == pytest.approx(probability, abs=0.06)


def test_reinforce_comes_to_draw_what_is_rewarded():
    space = BoundedSpace(MACS, 0, 100)
    budget = Budget(iterations=60, shared_epochs=0, epochs=1, num_candidates=10)
    method = Reinforce(space, budget, seed=0, epochs=1, lr=0.02)
    best = torch.tensor([max(product(range(4), range(2), range(4)), key=Landscape(SCORES).accuracy)])
    before = float(method.controller(best).exp())
    method.search(Landscape(SCORES))
    assert before < 0.1
    assert float(method.controller(best).exp()) > 0.5


def test_the_controller_learns_on_one_thread_however_many_there_are():
    landscapes, before = [], torch.get_num_threads()
    for count in (1, 3):
        landscape = Landscape(SCORES)
        torch.set_num_threads(count)
        try:
            method = Reinforce(BoundedSpace(MACS, 0, 9), BUDGET, seed=0, epochs=3)
            used: list[int] = []
            method.controller.score.register_forward_hook(lambda *_, used=used: used.append(torch.get_num_threads()))
            method.search(landscape)
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(before)
        assert set(used) == {1}
        landscapes.append(landscape)
    assert landscapes[0].jobs == landscapes[1].jobs


@pytest.mark.parametrize("option", [{"batch": 0}, {"decay": 1.0}, {"lr": 0.0}, {"epochs": 0}])
def test_options_of_reinforce_that_cannot_learn_are_refused(option):
    with pytest.raises(InputError, match=rf"{next(iter(option))}="):
        Reinforce(BoundedSpace(MACS, 0, 5), BUDGET, seed=0, **option)


def test_reinforce_punishes_networks_over_the_bound_without_training_them():
    method = Reinforce(BoundedSpace(MACS, 0, 5), BUDGET, seed=0, epochs=3)
    method.baseline = 0.0
    dear = torch.tensor([[3, 1, 3]])
    before = float(method.controller(dear))
    method.learn([(3, 1, 3)], [-1.0])
    assert float(method.controller(dear)) < before
    assert method.baseline == pytest.approx(-0.1)  # 0.9 x 0 + 0.1 x -1
