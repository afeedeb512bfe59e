"""docs/ADD_A_TASK.md does what it says, and a task that is added to a finished search changes nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.jobs import pretrain, search
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun, supernet_step
from tests.jobs.runs import ROOT, TINY, last_state, logits, metrics
from tests.processes import undrawn

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
CONFIGS = ROOT / "configs"
ADD_DEPTH = CONFIGS / "search" / "shapes_add_depth.yaml"
GUIDE = (ROOT / "docs" / "ADD_A_TASK.md").read_text(encoding="utf-8")
SMALL = (*TINY, "runtime.workers=0", "runtime.checkpoint_every=3", "search.steps=6")
NORMAL = "{_target_: fbnetv5.tasks.depth.Depth, path: 2}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def run_search(config: Path, folder: Path, *overrides: str) -> Path:
    search.run(load_config(config, [*SMALL, f"output={folder}", *overrides]), folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """Whose drawing takes half of the time of a short search."""
    with undrawn():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A search of two tasks that has come to its end."""
    folder = tmp_path_factory.mktemp("finished") / "runs" / "quickstart"
    return run_search(CONFIGS / "quickstart.yaml", folder, "tasks.det=null")


@pytest.fixture(scope="module")
def extended(finished) -> Path:
    """The same with depth added, from the guide's own YAML."""
    (own,) = (block for block in blocks("yaml") if "shapes_add_depth" in block)
    root = finished.parents[1]
    (root / "shapes_add_depth.yaml").write_text(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return root / run_search(root / "shapes_add_depth.yaml", Path("runs/shapes_add_depth"))


def build(finished: Path, *overrides: str) -> SupernetRun:
    run = build_run(load_config(ADD_DEPTH, [*SMALL, f"search.extend={finished}", *overrides]), ALONE)
    run.model.train()
    return run


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def step(run: SupernetRun) -> None:
    supernet_step(run, 0, next(iter(run.batches(0))))


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() <= other.keys()
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def test_the_guide_shows_the_file_from_its_first_line_to_its_last():
    source = (ROOT / "fbnetv5" / "tasks" / "depth.py").read_text(encoding="utf-8")
    assert "\n\n\n".join(block.strip("\n") for block in blocks("python")[:4]) == source.strip("\n")


@pytest.mark.parametrize("name", ["shapes_depth", "shapes_add_depth"])
def test_the_guide_shows_the_configs(name):
    (shown,) = (block for block in blocks("yaml") if f"# {name}.yaml" in block)
    assert yaml.safe_load(shown) == yaml.safe_load((CONFIGS / "search" / f"{name}.yaml").read_text())


def test_the_guide_names_what_exists():
    for config in re.findall(r"--config (\S+)", GUIDE):
        assert (ROOT / config).is_file()
    for path in re.findall(r"`((?:fbnetv5|tests|configs)/\S+?\.(?:py|yaml))`", GUIDE):
        assert (ROOT / path).is_file(), path


@pytest.mark.slow
def test_four_tasks_are_searched_together(tmp_path):
    run_search(CONFIGS / "search" / "shapes_depth.yaml", tmp_path, "search.steps=2")
    assert {path.stem for path in tmp_path.glob("topology_*.yaml")} == {
        f"topology_{task}" for task in ("cls", "det", "seg", "depth")
    }
    assert logits(tmp_path)[3].abs().max() > 0


@pytest.mark.slow
def test_depth_maps_of_ones_own_are_searched(tmp_path, monkeypatch):
    (own,) = (block for block in blocks("yaml") if "my_depth_search" in block)
    for folder in ("images", "depth"):
        (tmp_path / "my_data" / folder / "train").mkdir(parents=True)
    for i in range(8):
        Image.new("RGB", (80, 70), (30 * i, 100, 50)).save(tmp_path / f"my_data/images/train/{i}.jpg")
        depth = np.random.default_rng(i).integers(0, 2**16, (70, 80)).astype(np.uint16)
        Image.fromarray(depth).save(tmp_path / f"my_data/depth/train/{i}.png")
    (tmp_path / "my_depth_search.yaml").write_text(own)
    monkeypatch.chdir(tmp_path)
    run_search(tmp_path / "my_depth_search.yaml", Path("run"), "search.steps=1", "data.root=my_data")
    assert Topology.load("run/topology_depth.yaml").num_stages == 2


@pytest.mark.slow
def test_only_the_new_task_is_learnt(finished, extended):
    before, after = load_file(finished / "model.safetensors"), load_file(extended / "model.safetensors")
    assert differing(before, after) == []
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"depth"}
    own = load_file(max((extended / "checkpoints").glob("step-*")) / "model.safetensors")  # as the run held it
    assert differing({name: w for name, w in before.items() if name.startswith("network.")}, own) == []
    assert differing({name: w for name, w in own.items() if name.startswith("heads.")}, after) == []
    assert after["heads.depth.norm.num_batches_tracked"] == 6 * 8
    assert len(last_state(extended)["state"]["optimizer"]["state"]) == 4  # weights and biases of the new head

    assert [path.stem for path in extended.glob("topology_*.yaml")] == ["topology_depth"]
    assert {"loss/depth"} == {key for key in metrics(extended)[-1] if key.startswith("loss/")}
    assert logits(extended).shape == (1, 8, 2)
    assert logits(extended).abs().max() > 0
    assert {line.split(",")[1] for line in (extended / "probabilities.csv").read_text().splitlines()[1:]} == {"depth"}


@pytest.mark.slow
def test_the_finished_search_is_only_read(finished, tmp_path):
    before = files(finished)
    run_search(ADD_DEPTH, tmp_path, f"search.extend={finished}", "search.steps=1")
    assert files(finished) == before
    again = run_search_error(ADD_DEPTH, finished, f"search.extend={finished}", "resume=true")
    assert "was written under another configuration" in again
    assert files(finished) == before


def run_search_error(*arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        run_search(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_a_sub_network_computes_what_it_computed_in_the_search(finished):
    run = build(finished)
    weights = load_file(finished / "model.safetensors")
    trained = MultiPathNet(get_family("NANO"), Topology.full(2)).to(memory_format=torch.channels_last)
    trained.load_state_dict({name: weights[f"network.{name}"] for name in trained.state_dict()})
    trained.train()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = images.to(memory_format=torch.channels_last)
    for topology in (Topology.full(2), Topology(2, frozenset({(1, 1), (2, 0)})), Topology(2, frozenset())):
        own, other = run.model.network(images, topology), trained(images, topology)
        for path in own:
            torch.testing.assert_close(own[path], other[path])
    assert differing({n: w for n, w in weights.items() if n.startswith("network.")}, run.model.state_dict()) == []
    assert "trunk.0.0.bn1.running_mean" in differing(trained.state_dict(), run.model.network.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "algorithms.MultitaskReinforce",
        "algorithms.RandomSampling",
        "differentiable.SharedForward",
        "differentiable.SingleTask",
    ],
)
def test_any_search_method_moves_the_new_head_alone(finished, method):
    run = build(finished, f"search.algorithm={{_target_: fbnetv5.search.{method}}}")
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    step(run)
    moved = differing(before, run.model.state_dict())
    assert moved
    assert all(name.startswith("heads.depth.") for name in moved)
    assert all(parameter.grad is None for parameter in run.model.network.parameters())
    assert bool(run.algorithm.distribution.logits.abs().max() > 0) == ("Random" not in method)


@pytest.mark.slow
def test_several_tasks_are_added_at_once(finished):
    run = build(finished, f"tasks.normal={NORMAL}")
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    step(run)
    assert {name.rsplit(".", 2)[0] for name in differing(before, run.model.state_dict())} == {
        "heads.depth",
        "heads.normal",
    }
    assert (run.algorithm.distribution.logits.abs().amax(dim=(1, 2)) > 0).tolist() == [True, True]


@pytest.mark.slow
def test_architectures_are_drawn_for_the_new_task_alone(finished):
    run = build(finished)
    likely = torch.tensor([[2.0, -2.0], [-2.0, 2.0]] * 4, dtype=torch.float64)
    run.algorithm.distribution.logits = likely[None]
    draws = torch.stack([run.algorithm.draw(step).choices for step in range(100)])  # [steps, N, B]
    assert (draws.double().mean(dim=(0, 1)) - likely.softmax(dim=-1)[:, 1]).abs().max() < 0.03
    weights = run.algorithm.loss_weights(run.algorithm.draw(0), torch.full((1, 8), 2))
    torch.testing.assert_close(weights, torch.full((1, 8), 1 / 8).double())


@pytest.mark.slow
def test_a_supernet_that_changed_meanwhile_is_noticed(finished, tmp_path):
    base = shutil.copytree(finished, tmp_path / "base")
    run_search(ADD_DEPTH, tmp_path / "run", f"search.extend={base}", "search.steps=3")
    other = run_search(CONFIGS / "quickstart.yaml", tmp_path / "other", "tasks.det=null", "seed=1", "search.steps=1")
    shutil.copy(other / "model.safetensors", base)
    message = run_search_error(ADD_DEPTH, tmp_path / "run", f"search.extend={base}", "search.steps=3", "resume=true")
    assert f"search.extend={base} has changed since this run began" in message


@pytest.mark.slow
def test_an_extended_search_is_extended_in_turn(extended, tmp_path):
    name = f"tasks.normal={NORMAL}"
    message = run_search_error(ADD_DEPTH, tmp_path / "refused", f"search.extend={extended}", name)
    assert f"tasks.depth: search.extend={extended} has a task of that name" in message
    run_search(ADD_DEPTH, tmp_path / "run", f"search.extend={extended}", name, "tasks.depth=null", "search.steps=1")
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert differing(load_file(extended / "model.safetensors"), after) == []
    assert {key.split(".")[1] for key in after if key.startswith("heads.")} == {"cls", "seg", "depth", "normal"}


@pytest.mark.slow
def test_the_guides_final_model_trains_on_what_was_found(extended, monkeypatch):
    monkeypatch.chdir(extended.parents[1])
    truth = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0)) * 10
    truth[:, :9] = torch.nan
    names: dict[str, Any] = {"images": torch.randn(2, 3, 64, 64), "targets": [{"depth": one} for one in truth]}
    for code in blocks("python")[4:]:
        exec(code, names)  # the guide's own code
    loss = names["losses"]["depth"]
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in names["head"].parameters())
    features = names["network"](names["images"])
    predictions = names["head"].eval()(features, (64, 64), None, [(64, 60), (50, 64)], [(128, 120), (25, 32)])
    assert [tuple(prediction.shape) for prediction in predictions] == [(128, 120), (25, 32)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.family=A_C", "has model.family=NANO"),
        ("model.num_stages=3", "has model.num_stages=2"),
        ("tasks.seg={_target_: fbnetv5.tasks.segmentation.Segmentation}", "tasks.seg: search.extend="),
        ("search.extend=nowhere", "search.extend=nowhere"),
        ("model.weights=old.safetensors", "model.weights"),
        ("model.trunk_weights=timm", "model.trunk_weights"),
        ("job=pretrain", "adds tasks to a search, and this is job=pretrain"),
    ],
)
def test_what_does_not_fit_is_refused(finished, tmp_path, override, expected):
    job = pretrain if override == "job=pretrain" else search
    config = load_config(ADD_DEPTH, [*SMALL, f"search.extend={finished}", override])
    with pytest.raises(InputError) as caught:
        job.run(config, tmp_path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("no weights", "there is no model.safetensors yet"),
        ("training", "is a run of job=train"),
        ("no yaml", "config.yaml"),
        ("no config", "config.yaml"),
        ("damaged", "cannot read weights from "),
        ("other network", "model.safetensors"),
    ],
)
def test_a_folder_that_cannot_be_extended_is_refused(finished, tmp_path, change, expected):
    for name in ("config.yaml", "model.safetensors"):
        shutil.copy(finished / name, tmp_path)
    config, weights = tmp_path / "config.yaml", tmp_path / "model.safetensors"
    if change == "no weights":
        weights.unlink()
    elif change == "training":
        config.write_text(config.read_text().replace("job: search", "job: train"))
    elif change == "damaged":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif change == "other network":
        config.write_text(config.read_text().replace("num_stages: 2", "num_stages: 1"))
    else:
        config.write_text("a: [" if change == "no yaml" else "- a list")
    overrides = ["model.num_stages=1"] if change == "other network" else []
    with pytest.raises(InputError) as caught:
        build(tmp_path, *overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
