"""Parameter adaptation: what each start begins with, and what the training makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import fbnetv5
from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import read_origin
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.projects.fna.adapt import build_adaptation
from fbnetv5.projects.fna.methods import read_result
from fbnetv5.projects.fna.remap import remap_network
from fbnetv5.projects.fna.seeds import load_seed
from fbnetv5.projects.fna.super_network import SuperNetwork
from fbnetv5.projects.fna.tests.search_runs import DIFFERENTIABLE, alone, search_config, use_tiny_space, write_seed
from fbnetv5.runs.job import Job, Run, is_done
from fbnetv5.runs.record import write_record

METHOD = {"_target_": DIFFERENTIABLE, "lr": 0.1, "weights_first": 0.34}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search from a remapped seed, and the keys of the seed."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_space(patch)
        seed = write_seed(folder)
        run_job(search_config(folder, method=METHOD, start="seed", **seed))
    return folder / "search", seed


@pytest.fixture(autouse=True)
def tiny_space(monkeypatch):
    use_tiny_space(monkeypatch)


def adapt_config(folder: Path, search: Path, *overrides: str, **project: object) -> RunConfig:
    """The search's configuration as that of an adaptation."""
    keys = yaml.safe_load((search / "config.yaml").read_text())
    keys |= {"job": "fbnetv5.projects.fna.adapt.run", "name": "adapted", "output": str(folder / "adapted")}
    keys["train"]["steps"] = 2
    keys["evaluate"] |= {"num_drawn": 0, "write_predictions": False}
    keys["project"] = {"search": str(search)} | project
    (folder / "adapt.yaml").write_text(yaml.safe_dump(keys))
    return load_config(folder / "adapt.yaml", overrides)


def test_a_search_starts_from_the_remapped_seed(tmp_path, searched):
    _, seed = searched
    run_job(search_config(tmp_path, "optimizer.lr=0", "optimizer.weight_decay=0", method=METHOD, start="seed", **seed))
    stem = "conv_stem.weight"
    assert torch.equal(
        load_file(tmp_path / "search" / "model.safetensors")[f"network.{stem}"], load_file(seed["seed_weights"])[stem]
    )


def test_from_the_super_network_the_path_goes_on_as_it_was(tmp_path, searched):
    search, _ = searched
    training = build_adaptation(adapt_config(tmp_path, search), alone(), tmp_path / "adapted")
    weights = load_file(search / "model.safetensors")
    result = read_result(search)
    super_network = SuperNetwork(result.space)
    of_network = {name.removeprefix("network."): w for name, w in weights.items() if name.startswith("network.")}
    super_network.load_state_dict(of_network)
    super_network.eval()
    training.model.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = super_network(images, choice=result.choices)
        found = training.model.network(images)
    assert expected.keys() == found.keys()
    for path, feature in expected.items():
        torch.testing.assert_close(found[path], feature)
    for name, tensor in training.model.head.state_dict().items():
        assert torch.equal(tensor, weights[f"head.{name}"])


def test_from_the_seed_the_seed_is_remapped(tmp_path, searched):
    search, keys = searched
    training = build_adaptation(adapt_config(tmp_path, search, start="seed"), alone(), tmp_path / "adapted")
    seed = load_seed(keys["seed"], keys["seed_weights"])
    expected = remap_network(seed.weights, seed.architecture, read_result(search).architecture)
    found = training.model.get_submodule("network").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    written = load_file(tmp_path / "adapted" / "start.safetensors")
    assert written.keys() == {f"network.{name}" for name in expected}


def test_without_a_checkpoint_the_first_weights_are_those_that_are_asked_for_now(tmp_path, searched):
    search, _ = searched
    folder = tmp_path / "adapted"
    build_adaptation(adapt_config(tmp_path, search, start="seed"), alone(), folder)
    (folder / "config.yaml").write_text("")  # a run that ended before its first checkpoint
    build_adaptation(adapt_config(tmp_path, search, "resume=true"), alone(), folder)
    stem = "network.conv_stem.weight"
    from_search = load_file(search / "model.safetensors")
    assert torch.equal(load_file(folder / "start.safetensors")[stem], from_search[stem])
    (folder / "start.safetensors").unlink()
    with pytest.raises(InputError, match="holds a run already"):
        build_adaptation(adapt_config(tmp_path, search), alone(), folder)
    assert not (folder / "start.safetensors").exists()


def test_the_origin_of_the_seeds_weights_stays(tmp_path, searched):
    search, keys = searched
    expected = load_seed(keys["seed"], keys["seed_weights"]).first
    assert expected is not None
    assert read_origin(search / "model.safetensors") == expected
    for start in ("super", "seed"):
        folder = tmp_path / start
        folder.mkdir()
        assert build_adaptation(adapt_config(folder, search, start=start), alone(), folder).model.origin == expected


def test_from_random_parameters_nothing_is_remapped(tmp_path, searched):
    search, keys = searched
    training = build_adaptation(adapt_config(tmp_path, search, start="random"), alone(), tmp_path / "adapted")
    assert not (tmp_path / "adapted" / "start.safetensors").exists()
    stem = training.model.state_dict()["network.conv_stem.weight"]
    assert not torch.equal(stem, load_file(keys["seed_weights"])["conv_stem.weight"])


def test_statistics_are_recalculated_and_frozen(tmp_path, searched):
    """For ResNet-50 (Sec. 4.4): BN's statistics after the training are those of the calibration, not of the seed."""
    search, _ = searched
    frozen = adapt_config(tmp_path, search, "model.network.freeze_bn=true", start="seed", calibration_steps=3)
    calibrated = build_adaptation(frozen, alone(), tmp_path / "calibrated").model.state_dict()
    plain = replace(frozen, project={**frozen.project, "calibration_steps": 0})
    before = build_adaptation(plain, alone(), tmp_path / "plain").model.state_dict()
    run_job(frozen)
    trained = load_file(tmp_path / "adapted" / "model.safetensors")
    statistics = [n for n in trained if n.startswith("network.") and n.endswith(("running_mean", "running_var"))]
    scales = [n.replace("running_mean", "weight") for n in statistics if n.endswith("running_mean")]
    for name in (*statistics, *scales):
        assert torch.equal(trained[name], calibrated[name])
    assert all(not torch.equal(trained[name], before[name]) for name in statistics)
    assert not torch.equal(trained["network.conv_stem.weight"], before["network.conv_stem.weight"])


def test_an_adapted_model_is_trained_evaluated_and_known_as_finished(tmp_path, searched):
    search, _ = searched
    config = adapt_config(tmp_path, search)
    run_job(config)
    folder = tmp_path / "adapted"
    assert 0 <= json.loads((folder / "metrics.json").read_text())["metrics"]["mIoU"] <= 1
    model = fbnetv5.load(folder, trust_code=True)
    assert model.network.architecture == read_result(search).architecture
    write_record(folder, (), "", 0.0)
    assert is_done(Job("adapted", Run(tmp_path / "adapt.yaml", (), run_job), folder))
    assert not is_done(Job("adapted", Run(tmp_path / "adapt.yaml", ("seed=7",), run_job), folder))
    with pytest.raises(InputError, match="resume=true goes on with it"):
        run_job(config)
    run_job(replace(config, resume=True))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"start": "supper"}, r"project\.start=supper"),
        ({"search": "nothing"}, r"project\.search=nothing"),
        ({"start": "seed", "seed": "mobilenetv2_03"}, r"unknown architecture 'mobilenetv2_03'"),
        ({"calibration_steps": -1}, r"calibration_steps"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, searched, keys, message):
    config = adapt_config(tmp_path, searched[0])
    with pytest.raises(InputError, match=message):
        run_job(replace(config, project=config.project | keys))
    assert not (tmp_path / "adapted").exists()


@pytest.mark.parametrize("key", ["model.weights=a.pth", "model.network.architecture=mobilenetv2_035"])
def test_what_comes_from_the_search_is_not_given_again(tmp_path, searched, key):
    with pytest.raises(InputError, match=rf"{key.split('=', maxsplit=1)[0]}=.* is not read"):
        run_job(adapt_config(tmp_path, searched[0], key))


def test_without_a_super_network_there_is_no_start_from_it(tmp_path, searched):
    search, _ = searched
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "architecture.yaml").write_bytes((search / "architecture.yaml").read_bytes())
    (copy / "config.yaml").write_bytes((search / "config.yaml").read_bytes())
    with pytest.raises(InputError, match=r"only a differentiable search leaves a super network; choose project\.start"):
        run_job(adapt_config(tmp_path, copy))
