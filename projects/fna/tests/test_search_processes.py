"""A search in two processes, and one that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yaml
from safetensors.torch import load_file

from fbnetv5.base.distributed import World
from fbnetv5.projects.fna import spaces
from fbnetv5.projects.fna.differentiable import Differentiable
from fbnetv5.projects.fna.problem import build_problem
from fbnetv5.projects.fna.search_run import architecture_step, weight_step
from fbnetv5.projects.fna.tests.search_runs import DIFFERENTIABLE, TINY, alone, search_config, use_tiny_space
from tests.jobs.runs import command, environment, launch

pytestmark = pytest.mark.slow


def three_steps(folder: Path, world: World, *overrides: str) -> dict[str, object]:
    """Architecture parameters, weights and metrics of a short search."""
    config = search_config(folder, "runtime.precision=float64", "train.steps=3", "train.batch_size=8", *overrides)
    run = Differentiable(lr=0.05, weights_first=0.0, cost_weight=1.0).build(build_problem(config, world))
    run.model.train()
    found = []
    for step, batches in enumerate(run.batches(0)):
        found.append(weight_step(run, step, batches.weights) | architecture_step(run, step, batches.architecture))
    weights = {name: parameter.detach() for name, parameter in run.model.named_parameters()}
    return {"alpha": run.alpha.distribution.logits, "weights": weights, "metrics": found}


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    spaces.SPACES["tiny"] = TINY
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = three_steps(folder / str(rank), World(rank, 2, torch.device("cpu")))
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_agree_and_equal_one(tmp_path, monkeypatch):
    """One process that cuts its batch in two sees the micro-batches of two processes, and finds the same."""
    mp.spawn(work, (tmp_path,), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(one["alpha"], two["alpha"])
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])
    assert one["metrics"] == two["metrics"]

    use_tiny_space(monkeypatch)
    single = three_steps(tmp_path, alone(), "train.accumulate=2")
    assert single["alpha"].abs().max() > 0.05
    torch.testing.assert_close(single["alpha"], one["alpha"], rtol=0, atol=1e-7)
    for name, weight in single["weights"].items():
        torch.testing.assert_close(weight, one["weights"][name], rtol=0, atol=1e-9)
    for mine, theirs in zip(single["metrics"], one["metrics"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)


def test_a_search_and_an_adaptation_run_in_two_processes(tmp_path):
    search_config(tmp_path, space="mobilenetv2_035_seg", method={"_target_": DIFFERENTIABLE, "weights_first": 0.5})
    small = ("train.steps=2", "data.short_side=64", "data.crop=64", "evaluate.num_drawn=0")
    found = launch(*small, config=tmp_path / "tiny.yaml", processes=2, tiny=False)
    assert found.returncode == 0, found.stderr[-3000:]
    keys = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    keys |= {
        "job": "fbnetv5.projects.fna.adapt.run",
        "project": {"search": str(tmp_path / "search"), "calibration_steps": 1},
    }
    (tmp_path / "adapt.yaml").write_text(yaml.safe_dump(keys))
    output = f"output={tmp_path / 'adapted'}"
    adapted = launch(*small, output, config=tmp_path / "adapt.yaml", processes=2, tiny=False)
    assert adapted.returncode == 0, adapted.stderr[-3000:]
    assert json.loads((tmp_path / "adapted" / "metrics.json").read_text())["metrics"]["num_images"] == 8


def test_a_killed_search_ends_as_an_uninterrupted_one(tmp_path):
    method = {"_target_": DIFFERENTIABLE, "weights_first": 0.3}
    search_config(tmp_path, space="mobilenetv2_035_seg", method=method)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    how = {"config": tmp_path / "tiny.yaml", "tiny": False}
    small = ("train.steps=12", "data.short_side=64", "data.crop=64")
    assert launch(*small, f"output={whole}", **how).returncode == 0
    process = subprocess.Popen(command(*small, f"output={killed}", **how), env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "checkpoints" / "step-00000006").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "architecture.yaml").exists()
    assert launch(*small, f"output={killed}", "resume=true", **how).returncode == 0
    one, two = load_file(whole / "model.safetensors"), load_file(killed / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("architecture.yaml", "probabilities.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
