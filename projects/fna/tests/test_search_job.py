"""The search as a job: its files, an interruption, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fbnetv5.base.errors import InputError
from fbnetv5.base.weights import save_weights
from fbnetv5.cli.launch import run_job
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.methods import read_result
from fbnetv5.projects.fna.network import FNANetwork, architecture_cost
from fbnetv5.projects.fna.problem import strategy
from fbnetv5.projects.fna.tests.search_runs import DIFFERENTIABLE, TINY, problem, search_config, use_tiny_space

METHOD = {"_target_": DIFFERENTIABLE, "lr": 0.1, "weights_first": 0.34}


@pytest.fixture(autouse=True)
def tiny_space(monkeypatch):
    use_tiny_space(monkeypatch)


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


def logits(folder: Path) -> torch.Tensor:
    latest = max((folder / "checkpoints").glob("step-*"))
    return torch.load(latest / "state.pt", weights_only=True)["state"]["architecture"]["logits"]


def test_a_search_leaves_an_architecture_and_its_super_network(tmp_path, capsys):
    run_job(search_config(tmp_path, method=METHOD))
    folder = tmp_path / "search"
    result = read_result(folder)
    assert result.architecture == TINY.decode(result.choices)
    best = logits(folder)[0].masked_fill(torch.arange(3) >= torch.tensor(TINY.num_options)[:, None], -torch.inf)
    assert result.choices == tuple(best.argmax(dim=1).tolist())
    assert result.info["backbone_macs"] == architecture_cost(result.architecture, (32, 32)).macs
    assert result.info["searched_with"]["start"] == "random"
    assert any(name.startswith("head.") for name in load_file(folder / "model.safetensors"))
    assert (folder / "architecture.png").stat().st_size > 0
    rows = (folder / "probabilities.csv").read_text().splitlines()
    assert rows[0].startswith("step,task,stage 1 / layer 0 k3e2,stage 1 / layer 0 k5e3,")
    shares = [float(value) for value in rows[-1].split(",")[2:]]
    assert sum(shares) == pytest.approx(len(TINY.num_options), abs=1e-4)
    records = metrics(folder)
    assert "architecture_loss" not in records[0], "the weights learn alone at first"
    assert {"loss", "loss_pixel", "path_macs", "architecture_loss", "expected_macs", "lr"} <= records[-1].keys()
    assert "ETA" in capsys.readouterr().err


def test_a_dear_cost_finds_a_cheap_network(tmp_path):
    """With a weight beside which the loss is nothing, the expected MACs fall; without it they do not have to."""
    found = {}
    for cost_weight in (0.0, 1e4):
        config = search_config(tmp_path, method={**METHOD, "cost_weight": cost_weight, "weights_first": 0.0})
        run_job(replace(config, output=str(tmp_path / str(cost_weight))))
        found[cost_weight] = metrics(tmp_path / str(cost_weight))
    cheapest = TINY.fixed_macs((32, 32)) + sum(map(min, TINY.candidate_macs((32, 32))))
    assert found[1e4][-1]["expected_macs"] < 0.95 * found[1e4][0]["expected_macs"]
    assert found[1e4][-1]["expected_macs"] < found[0.0][-1]["expected_macs"]
    result = read_result(tmp_path / "10000.0")
    assert result.info["backbone_macs"] == cheapest


def test_a_changed_architecture_is_no_result_of_its_search(tmp_path):
    TINY.decode((0,) * 6).save(tmp_path / "architecture.yaml", {"space": "tiny", "choices": [0, 0, 0, 0, 0, 1]})
    with pytest.raises(InputError, match="the blocks are not those of its choices in tiny"):
        read_result(tmp_path)
    Architecture.load(tmp_path / "architecture.yaml").save(tmp_path / "architecture.yaml")
    with pytest.raises(InputError, match="info does not say which space"):
        read_result(tmp_path)
    with pytest.raises(InputError, match=r"holds no architecture\.yaml: give the folder of a finished search"):
        read_result(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("project.start=sed", r"project\.start=sed"),
        ("project.spaec=tiny", r"unknown key 'project\.spaec'"),
        ("project.space=tinny", "unknown space 'tinny'"),
        ("project.method.lmbda=1", r"project\.method\.lmbda"),
        ("project.remap.width=widest", r"project\.remap\.width=widest"),
        ("train.ema=0.9", r"train\.ema=0\.9"),
        ("model.weights=a.safetensors", r"model\.weights"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, override, message):
    with pytest.raises(InputError, match=message) as caught:
        run_job(search_config(tmp_path, override, method=METHOD))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "search").exists()


def test_a_seed_that_is_narrower_than_the_space_is_refused(tmp_path):
    weights = FNANetwork("mobilenetv2_035").state_dict()
    save_weights(tmp_path / "seed.safetensors", weights)
    seed = {"seed": "mobilenetv2_035", "seed_weights": str(tmp_path / "seed.safetensors"), "start": "seed"}
    message = r"the stem of project\.space=mobilenetv2_seg has 32 channels, .*seed\.safetensors 16: .* mobilenetv2_100"
    with pytest.raises(InputError, match=message):
        run_job(search_config(tmp_path, method=METHOD, space="mobilenetv2_seg", **seed))


def test_the_noise_of_added_channels_is_a_key(tmp_path):
    given = problem(tmp_path, remap={"noise": 0.1})
    assert strategy(given.options.remap).noise == 0.1


def test_the_result_is_yaml_that_a_person_can_read(tmp_path):
    run_job(search_config(tmp_path, "train.steps=1", method=METHOD))
    document = yaml.safe_load((tmp_path / "search" / "architecture.yaml").read_text())
    assert document["info"]["operations"].split()[0] in ("k3e2", "k5e3")
    assert len(document["info"]["operations"].split()) == len(TINY.num_options)
