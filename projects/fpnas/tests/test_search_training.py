"""Stage one and stage two: which weights are shared, which move, and what is handed on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from fbnetv5.base.weights import read_weights
from fbnetv5.config.schema import DataConfig
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.fit import accuracy, accuracy_by_batch, fit
from fbnetv5.projects.fpnas.images import ImageSet, save_split
from fbnetv5.projects.fpnas.jobs import Independent, Shared, read_result, weights_file, write_result
from fbnetv5.projects.fpnas.problem import Problem, SharedModels, model_macs, read_macro
from fbnetv5.projects.fpnas.tests.searches import MACRO, NUM_TYPES, tiny_search
from fbnetv5.projects.fpnas.work import IMAGES, Work, do_job, type_at

HEAD = {"_target_": "fbnetv5.projects.fpnas.heads.classifier.PooledClassifier", "hidden_channels": 16}
CPU = torch.device("cpu")


@pytest.fixture
def problem(tmp_path) -> Problem:
    (tmp_path / "macro.yaml").write_text(MACRO)
    macro = read_macro(str(tmp_path / "macro.yaml"), 1)
    return Problem(macro, HEAD, ("a", "b", "c"), DataConfig(short_side=36, crop=32))


def images(count: int = 12) -> ImageSet:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 36, 36), dtype=torch.uint8, generator=draws)
    return ImageSet(pixels, torch.arange(count) % 3)


def test_the_space_knows_the_macs_of_whole_models(problem):
    space = problem.space(1e9)
    assert space.num_types == NUM_TYPES
    for choices in ((0, 0, 0), (4, 3, 20), (20, 1, 9)):
        assert space.macs(choices) == model_macs(problem.model(choices), 32)
        assert problem.architecture(choices) == Architecture.from_dict(problem.architecture(choices).as_dict())


def test_all_but_the_block_are_the_same_tensors_in_the_models_of_all_types(problem):
    model = problem.model((4, 2, 7))
    shared = SharedModels(model, 2, problem.types[2])
    tensors = [dict(shared.of(number).named_parameters()) for number in range(NUM_TYPES[2])]
    tensors = [own | dict(shared.of(number).named_buffers()) for number, own in enumerate(tensors)]
    unchanged = [name for name, _ in model.state_dict().items() if not name.startswith("network.blocks.2.")]
    assert len(unchanged) > 20
    of_block: list[int] = []
    for own in tensors:
        assert all(own[name] is tensors[0][name] for name in unchanged)
        assert set(own) - set(unchanged) == {name for name in own if name.startswith("network.blocks.2.")}
        of_block += [id(tensor) for name, tensor in own.items() if name not in unchanged]
    assert len(set(of_block)) == len(of_block)  # each type has weights of its own
    assert {name: id(tensor) for name, tensor in shared.weights().items()}.keys() == {n for own in tensors for n in own}


def test_every_type_is_trained_as_often_as_any_other():
    draws = [type_at(step, 5, 0, (3, 0)) for step in range(23)]
    for turn in range(4):
        assert sorted(draws[5 * turn : 5 * turn + 5]) == list(range(5))
    assert set(Counter(draws).values()) <= {4, 5}
    assert draws != [type_at(step, 5, 1, (3, 0)) for step in range(23)]


def test_a_step_moves_the_type_that_it_trains_and_what_all_share(problem, tmp_path):
    config = tiny_search(tmp_path)
    shared = SharedModels(problem.model((4, 2, 7)), 0, [problem.types[0][kind] for kind in (1, 5)])
    before = {name: tensor.clone() for name, tensor in shared.weights().items()}
    fit(shared, lambda step: shared.of(1), images(), config, epochs=2, final_lr=None, key=(0,), device=CPU)
    moved = {name for name, tensor in shared.weights().items() if not torch.equal(tensor, before[name])}
    assert not any(name.startswith("network.blocks.0.conv_k3e6") for name in moved)  # neither momentum nor decay
    for part in ("network.stem", "network.blocks.0.add_k3e6", "network.blocks.1.conv_k5e6", "head.classify"):
        assert any(name.startswith(part) for name in moved)


def test_judging_by_batch_leaves_the_model_as_it_is(problem, tmp_path):
    config = tiny_search(tmp_path)
    model = problem.model((1, 0, 1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "num_batches" not in name}
    assert 0 <= accuracy_by_batch(model, images(), config, CPU) <= 1
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    alone = accuracy(model, images(), config, CPU)
    assert alone == accuracy(model, images(), replace(config, seed=5), CPU)
    with torch.no_grad():
        model.head.classify.bias.fill_(float("nan"))
    assert accuracy(model, images(), config, CPU) == 0


@pytest.mark.parametrize(("final_lr", "expected"), [(None, [0.05] * 4), (1e-5, [0.05, 0.042679, 0.025005, 0.007331])])
def test_the_rate_is_fixed_in_stage_one_and_falls_along_a_cosine_in_stage_two(
    problem, tmp_path, monkeypatch, final_lr, expected
):
    rates: list[float] = []
    monkeypatch.setattr("fbnetv5.projects.fpnas.fit.set_lr", lambda optimizer, lr: rates.append(lr))
    config, model = tiny_search(tmp_path), problem.model((4, 2, 7))
    fit(model, lambda step: model, images(16), config, epochs=2, final_lr=final_lr, key=(0,), device=CPU)
    assert rates == pytest.approx(expected, abs=1e-6)


def test_weights_go_from_stage_one_to_stage_two_and_to_the_next_block(tmp_path):
    config = tiny_search(tmp_path, "optimizer.lr=0", "project.final_lr=0")  # what is handed on can be compared
    save_split(tmp_path / IMAGES, images(), images(6))

    def done(job):
        do_job(Work(job, config, tmp_path, ("a", "b", "c")))
        result = read_result(tmp_path, job)
        assert result.weights == weights_file(job)
        assert result.num_images == 12 * job.epochs
        assert result.num_val_images == 6 * len(job.networks)
        assert len(result.losses) == job.epochs
        return read_weights(tmp_path / result.weights)

    first = done(Shared("first", 0, (4, 2, 7), 0, (1, 5), epochs=2, key=(0, 0)))
    second = done(Independent("second", 0, (5, 2, 7), epochs=1, key=(0, 1), position=0, start="jobs/first.safetensors"))
    third = done(Shared("third", 1, (5, 2, 7), 1, (0, 2), epochs=1, key=(1, 0), start="jobs/second.safetensors"))
    learnt = [name for name in second if "running" not in name and "num_batches" not in name]
    assert any(name.startswith("network.blocks.0.add_k3e6") for name in learnt)
    assert all(torch.equal(second[name], first[name]) for name in learnt)
    for name in learnt:
        if not name.startswith("network.blocks.1."):
            assert torch.equal(third[name], second[name])
    again = [name for name in learnt if name.startswith("network.blocks.1.") and second[name].ndim == 4]
    assert again
    assert not any(torch.equal(third[name], second[name]) for name in again)  # all types start anew


def test_a_result_is_that_of_the_very_job(tmp_path):
    job = Independent("one", 0, (1, 2, 3), epochs=2, key=(0,))
    assert read_result(tmp_path, job) is None
    config = tiny_search(tmp_path)
    save_split(tmp_path / IMAGES, images(), images(6))
    do_job(Work(job, config, tmp_path, ("a", "b", "c")))
    result = read_result(tmp_path, job)
    assert result is not None
    assert read_result(tmp_path, replace(job, epochs=3)) is None
    write_result(tmp_path, job, replace(result, accuracies=[0.25]))
    assert read_result(tmp_path, job).accuracies == [0.25]
