"""Rates, checkpoints, logs and atomic files."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from fbnetv5.base.distributed import World, pick_device
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import append_line, atomic_folder, atomic_path, keep_lines, write_text
from fbnetv5.base.weights import load_by_name, read_weights, save_weights
from fbnetv5.config.schema import OptimizerConfig, ScheduleConfig
from fbnetv5.engine.checkpoint import Checkpointer
from fbnetv5.engine.log import RunLog, clock
from fbnetv5.engine.optim import build_optimizer, rate_factor, set_lr
from tests.processes import run

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def factors(schedule: ScheduleConfig, num_steps: int = 100, steps_per_epoch: float = 10.0) -> list[float]:
    return [rate_factor(schedule, step, num_steps, steps_per_epoch) for step in range(num_steps)]


def test_multistep_is_the_papers_search_schedule():
    schedule = ScheduleConfig(name="multistep", milestones=[3125], gamma=0.1)
    rates = [0.96 * rate_factor(schedule, step, 9375, 1.0) for step in (0, 3124, 3125, 9374)]
    assert rates == pytest.approx([0.96, 0.96, 0.096, 0.096])


def test_exponential_is_the_papers_training_schedule():
    schedule = ScheduleConfig(name="exponential", unit="epoch", gamma=0.9875, warmup=11, warmup_start=0.01 / 4)
    rate = lambda epoch: 4.0 * rate_factor(schedule, epoch * 313, 1100 * 313, 313)  # noqa: E731
    assert rate(0) == pytest.approx(0.01)
    assert rate(11) == pytest.approx(4.0 * 0.9875**11)
    assert rate(100) == pytest.approx(4.0 * 0.9875**100)


def test_cosine_falls_from_one_to_zero():
    values = factors(ScheduleConfig(name="cosine"))
    assert values[0] == 1
    assert values[50] == pytest.approx(0.5)
    assert values[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert values == sorted(values, reverse=True)


def test_cosine_ends_at_the_final_rate():
    schedule = ScheduleConfig(name="cosine", final=0.25)
    assert rate_factor(schedule, 0, 100, 1.0) == 1
    assert rate_factor(schedule, 50, 100, 1.0) == pytest.approx(0.625)
    assert rate_factor(schedule, 100, 100, 1.0) == pytest.approx(0.25)


def test_cosine_restarts_are_torchs():
    """FPNAS, Section 4.1: T0 = 10 and Tmult = 2, from 0.02 to 1e-4."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2, eta_min=1e-4)
    schedule = ScheduleConfig(name="cosine_restarts", unit="epoch", cycle=10, cycle_growth=2, final=1e-4 / 0.02)
    for step in range(75 * 4):
        theirs.step(step / 4)
        assert 0.02 * rate_factor(schedule, step, 300, 4.0) == pytest.approx(theirs.get_last_lr()[0])


def test_warmup_is_a_line():
    values = factors(ScheduleConfig(name="constant", warmup=10, warmup_start=0.5))
    assert values[:3] == pytest.approx([0.5, 0.55, 0.6])
    assert set(values[10:]) == {1.0}


def test_biases_and_bn_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, free = build_optimizer(model, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(free["params"]) == 3


def test_poly_is_a_power_of_what_is_left():
    values = factors(ScheduleConfig(name="poly", power=0.9))
    assert values[0] == 1
    assert values[25] == pytest.approx(0.75**0.9)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_backbone_has_a_rate_of_its_own(name):
    model = nn.ModuleDict({"network": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(model, OptimizerConfig(name=name, backbone_factor=0.1), {"head.weight"})
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == 4
    assert rates[id(model["network"].weight)] == pytest.approx(0.1 * rates[id(model["head"].weight)])
    assert decays[id(model["network"].weight)] > 0
    assert decays[id(model["head"].weight)] == decays[id(model["head"].bias)] == 0
    set_lr(optimizer, 3.0)
    assert sorted({g["lr"] for g in optimizer.param_groups}) == pytest.approx([0.3, 3.0])


def test_an_unused_parameter_gets_the_gradient_zero():
    model = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    model[0](torch.ones(1, 2)).sum().backward()
    ALONE.sum_gradients(model.parameters())
    assert not model[1].weight.grad.any()
    assert model[0].weight.grad.all()


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match="no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


def test_checkpoints_come_back_and_the_oldest_go(tmp_path):
    model = nn.Linear(2, 2)
    checkpointer = Checkpointer(tmp_path, {"seed": 1}, keep=2)
    for step in (10, 20, 30):
        with torch.no_grad():
            model.weight.fill_(step)
        checkpointer.save(step, model, {"history": [torch.tensor([1.5])]})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]
    latest = checkpointer.latest()
    assert latest.step == 30
    assert latest.weights["weight"].eq(30).all()
    assert latest.state["history"][0].item() == 1.5


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".step-00000002.abc").mkdir()
    Checkpointer(tmp_path, {}).clean()
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_never_unpickles_code(tmp_path):
    Checkpointer(tmp_path, {}).save(1, nn.Linear(1, 1), {})
    torch.save({"step": 1, "state": Path("/")}, tmp_path / "step-00000001" / "state.pt")
    with pytest.raises(InputError, match="cannot read"):
        Checkpointer(tmp_path, {}).latest()


def fill_the_disk(folder: Path) -> None:
    """Save a checkpoint that fits and one that does not."""
    checkpointer = Checkpointer(folder, {})
    checkpointer.save(1, nn.Linear(4, 4), {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        checkpointer.save(2, nn.Linear(400, 400), {})
    except InputError as error:
        print(error)
    latest = checkpointer.latest()
    assert latest is not None
    assert latest.step == 1


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    result = run(fill_the_disk, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "cannot write" in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_weights_load_by_name_and_say_what_differs(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"net.weight": torch.ones(2, 2), "heads.a.bias": torch.zeros(5)})
    module = nn.ModuleDict({"net": nn.Linear(2, 2, bias=False), "heads": nn.ModuleDict({"a": nn.Linear(3, 3)})})
    left = load_by_name(module, read_weights(path), optional="heads.", origin=path)
    assert module["net"].weight.eq(1).all()
    assert left == ["heads.a.weight", "heads.a.bias"]
    wider = nn.ModuleDict({"net": nn.Linear(2, 3, bias=False)})
    with pytest.raises(InputError, match=r"net.weight has shape \(2, 2\) instead of \(3, 2\)"):
        load_by_name(wider, read_weights(path), optional="heads.", origin=path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    def out_of_space() -> None:
        with atomic_folder(tmp_path / "folder") as folder:
            (folder / "a").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(InputError, match="No space left on device"):
        out_of_space()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_lines_after_the_checkpoint_and_half_lines_are_dropped(tmp_path):
    path = tmp_path / "log"
    append_line(path, "1 kept")
    append_line(path, "2 dropped")
    path.write_text(path.read_text() + "1 cut o")
    append_line(path, "")
    append_line(path, "damaged")
    keep_lines(path, lambda line: int(line.split()[0]) == 1 and "cut" not in line)
    assert path.read_text() == "1 kept\n"


def run_log(folder: Path, start_step: int = 0) -> RunLog:
    return RunLog(folder, num_steps=6, batch_size=8, every=3, start_step=start_step)


def test_the_log_writes_means_and_goes_on_where_it_stopped(tmp_path):
    log = run_log(tmp_path)
    for step, value in enumerate((1.0, 2.0, 6.0, 10.0), start=1):
        log.add({"loss/a": value} | ({"loss/b": 5.0} if step == 2 else {}))
        if log.due(step):
            log.record(step)
            log.probabilities(step, {"a": [0.25, 0.75]}, ["first", "second"])
    state = log.state_dict()
    log.add({"loss/a": 99.0})
    log.record(6)  # will be cut: the checkpoint is of step 4
    log.close()
    resumed = run_log(tmp_path, start_step=4)
    resumed.load_state_dict(state)
    resumed.add({"loss/a": 20.0})
    resumed.record(6)
    resumed.close()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["loss/a"], r.get("loss/b")) for r in records] == [(3, 3.0, 5.0), (6, 15.0, None)]
    assert (tmp_path / "probabilities.csv").read_text().splitlines() == [
        "step,task,first,second",
        "3,a,0.250000,0.750000",
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_clock():
    assert [clock(s) for s in (0, 59.6, 3725)] == ["0:00:00", "0:01:00", "1:02:05"]
