"""The last look at a supernet: which images it is taken on, and what it scores."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from fbnetv5.archs.cost import block_costs, network_cost, partition_costs
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.seeding import Purpose, forked
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION, Batch
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.subset import Subset
from fbnetv5.engine.batch_norm import batch_statistics
from fbnetv5.jobs.derived import clear_found
from fbnetv5.jobs.exchange import mark_of
from fbnetv5.jobs.judge import Judge, num_whole, plain_batches
from fbnetv5.jobs.last_look import halves_of, held_out_rows, take_last_look
from fbnetv5.jobs.search import build_run
from fbnetv5.jobs.supernet import SupernetRun
from fbnetv5.report.run_folder import RunFolder, read_run
from fbnetv5.report.task_family import TaskFamily
from fbnetv5.search.derive import most_likely
from tests.jobs.runs import ROOT, TINY

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SMALL = ("search.batch_size=8", "search.num_samples=2", "search.steps=2")
TARGETS = (LABEL, BOXES, SEGMENTATION)


class Partial(ShapesSource):
    """Shapes of which few are labelled for detection."""

    def labelled(self, name: str) -> range:
        return range(0, len(self), 10) if name == "boxes" else super().labelled(name)


class FewLabels(ShapesSource):
    """Shapes of which half have a class."""

    def labelled(self, name: str) -> range:
        return range(0, len(self), 2) if name == "label" else super().labelled(name)

    def num_labelled(self, name: str) -> int:
        return len(self.labelled(name))


def config_of(*overrides: str) -> RunConfig:
    return load_config(ROOT / "configs" / "quickstart.yaml", (*TINY, *SMALL, *overrides))


def judged(run: SupernetRun, count: int, size: int = 64) -> tuple[Judge, list[Batch]]:
    batches = plain_batches(run.config, ShapesSource(count, 64, 1), TARGETS, ALONE, size, normalisation=IMAGENET)
    return Judge(run.model, batches, run.config), batches


@pytest.mark.parametrize(("wanted", "labels", "boxes"), [(40, 40, 25), (1000, 250, 25)])
def test_every_task_has_its_images_and_a_quarter_of_its_own_at_most(wanted: int, labels: int, boxes: int):
    source = Partial(1000, 32, 0)
    rows = held_out_rows(source, ["label", "boxes"], wanted, seed=3)
    assert rows == sorted(set(rows))
    assert sum(row % 10 == 0 for row in rows) == boxes
    assert len(rows) >= 2 * num_whole(labels // 2)
    assert rows == held_out_rows(source, ["label", "boxes"], wanted, seed=3)
    assert rows != held_out_rows(source, ["label", "boxes"], wanted, seed=4)
    assert len(held_out_rows(source, ["label"], wanted, seed=3)) == 2 * num_whole(labels // 2)


class OneAfterTheOther(ShapesSource):
    """2,000 images with a class, 2,000 with boxes, and behind them the others with masks."""

    def labelled(self, name: str) -> range:
        return {"label": range(2000), "boxes": range(2000, 4000), "segmentation": range(4000, len(self))}[name]


@pytest.mark.parametrize("num_masks", [8, 12, 31])
def test_what_no_whole_batch_holds_is_of_the_tasks_with_the_most_labels(num_masks: int):
    source = OneAfterTheOther(4000 + num_masks, 32, 0)
    rows = held_out_rows(source, [target.name for target in TARGETS], 256, seed=0)
    assert len(rows) == 2 * num_whole(len(rows) // 2)
    assert sum(row >= 4000 for row in rows) == num_masks // 4
    assert all(248 <= sum(row in source.labelled(name) for row in rows) <= 256 for name in ("label", "boxes"))


@pytest.mark.parametrize("seed", range(5))
def test_of_no_task_more_than_a_quarter_is_held_out(seed: int):
    class Nested(ShapesSource):
        def labelled(self, name: str) -> range:
            return range(0, 96, 8) if name == "segmentation" else range(len(self))

    rows = held_out_rows(Nested(100, 32, 0), ["label", "segmentation"], 256, seed)
    assert sum(row % 8 == 0 and row < 96 for row in rows) <= 3
    assert len(rows) in (24, 25)


def test_both_rounds_have_as_many_images_of_each_task():
    source = Partial(1000, 32, 0)
    first, second = halves_of(source, ["label", "boxes"])
    assert sorted([*first, *second]) == list(range(1000))
    assert [sum(row % 10 == 0 for row in half) for half in (first, second)] == [50, 50]
    assert halves_of(ShapesSource(6, 32, 0), ["label", "boxes"]) == ([0, 2, 4], [1, 3, 5])
    assert halves_of(FewLabels(6, 32, 0), ["label", "boxes"]) == ([0, 3, 4], [1, 2, 5])


def test_another_look_removes_what_was_found_and_nothing_else(tmp_path: Path):
    mine = ("topology_cls/model.safetensors", "family_cls/mine.yaml", "topology_cls.txt", "topology_cls_mine.yaml")
    found = ("last_look.json", "family_cls/01_2.3M.yaml", "family_cls/family.json", "joint.yaml")
    for name in (*mine, *found, "family_det/12_10.0M.yaml", "family_det/01_0.71ms.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clear_found(tmp_path)
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()} == set(mine)
    assert not (tmp_path / "family_det").exists()


@pytest.mark.parametrize(("most", "whole"), [(0, 0), (1, 1), (64, 64), (65, 64), (67, 66), (130, 129), (257, 256)])
def test_so_many_images_come_in_batches_whole(most: int, whole: int):
    assert num_whole(most) == whole
    config = config_of("data.flip_pairs=[[square, disk]]")  # nothing is flipped
    batches = plain_batches(config, ShapesSource(max(whole, 1), 64, 1), TARGETS, ALONE, normalisation=IMAGENET)
    assert sum(len(batch.images) for batch in batches) == max(whole, 1)


def test_images_fill_a_crop_that_a_random_scale_did():
    config = config_of("data.short_side=32", "data.long_side=48", "data.scale=[2,3]", "data.crop=64")
    (batch,) = plain_batches(config, ShapesSource(4, 64, 1), TARGETS, ALONE, normalisation=IMAGENET)
    assert batch.images.shape[-2:] == (64, 64)


def test_crops_of_a_random_area_are_not_padded_where_nothing_is_random():
    config = config_of("data.flip_pairs=[]", "data.area=[0.2,1]", "data.short_side=32", "data.crop=64")
    (batch,) = plain_batches(config, ShapesSource(4, 64, 1), TARGETS, ALONE, normalisation=IMAGENET)
    assert batch.images[..., -1, -1].abs().sum() > 0  # the mean colour of padding is 0
    assert batch.images[..., 48:, 48:].flatten(2).std(dim=2).min() > 0.01


def test_processes_that_would_score_others_stop():
    choices = torch.tensor([[0, 1], [1, 1]])
    assert mark_of(choices) == mark_of(choices.clone())
    assert len({mark_of(choices), mark_of(choices[:1]), mark_of(choices.flip(0))}) == 3
    with pytest.raises(RuntimeError, match="the architectures of the last look on rank"):
        ALONE.require_equal([mark_of(choices), mark_of(choices.flip(0))], "the architectures of the last look")


def test_halves_of_the_held_out_images_come_in_whole_batches():
    run = build_run(config_of("data.shapes.num_images=600", "search.last_look.images=134"), ALONE)
    assert run.held_out is not None
    assert len(run.held_out) == 2 * num_whole(67) == 132
    assert len(run.source) == 600 - 132


def test_too_few_candidates_are_refused_before_anything_is_learnt():
    with pytest.raises(InputError, match="candidates=2: at least 3, or 0"):
        build_run(config_of("search.last_look.candidates=2"), ALONE)


def test_a_task_that_may_see_one_image_alone_needs_more_than_one_value():
    config = config_of("data.crop=32", "tasks={det: null, seg: null}")
    build_run(config, ALONE, source=ShapesSource(64, 64, 0))
    with pytest.raises(InputError, match="'cls' is labelled on a part of the images: one image of 32 pixels"):
        build_run(config, ALONE, source=FewLabels(64, 64, 0))


def test_weights_learn_from_none_of_the_images_of_the_last_look():
    run = build_run(config_of(), ALONE)
    assert isinstance(run.source, Subset)
    assert isinstance(run.held_out, Subset)
    assert not set(run.source.rows.tolist()) & set(run.held_out.rows.tolist())
    assert (len(run.source), len(run.held_out)) == (56, 8)


def test_without_a_last_look_all_images_are_learnt_from():
    run = build_run(config_of("search.last_look.candidates=0"), ALONE)
    assert run.held_out is None
    assert len(run.source) == 64


def test_a_pretraining_leaves_the_images_of_the_searchs_last_look():
    runs = [build_run(config_of(f"job={job}"), ALONE) for job in ("search", "pretrain")]
    first, second = (run.source for run in runs)
    assert isinstance(first, Subset)
    assert isinstance(second, Subset)
    assert first.rows.tolist() == second.rows.tolist()
    few = build_run(config_of("job=pretrain", "data.shapes.num_images=6"), ALONE)
    assert len(few.source) == 6


def test_where_crops_show_no_label_topologies_are_the_likeliest(monkeypatch, capsys):
    run = build_run(config_of(), ALONE)

    def unlabelled(*_args: object) -> None:
        raise InputError("no image that architectures are to be compared on is labelled for 'seg'")

    monkeypatch.setattr("fbnetv5.jobs.last_look.Judge", unlabelled)
    assert take_last_look(run) is None
    assert "no last look, topologies are the likeliest: no image" in capsys.readouterr().out


def test_too_few_labelled_images_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"'cls' has 6 labelled images.*last_look\.candidates=0"):
        build_run(config_of("data.shapes.num_images=6"), ALONE)


@pytest.mark.parametrize("compare", ["score", "loss"])
def test_scores_are_those_of_the_whole_network_and_leave_it_as_it_was(compare: str):
    run = build_run(config_of(f"search.compare={compare}", "runtime.precision=float64"), ALONE)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    modes = [module.training for module in run.model.modules()]
    judge, (batch,) = judged(run, 8)
    topologies = [Topology.full(2), run.space.decode([0, 1, 1, 0, 1, 0, 0, 1])]
    found = list(judge.scores(topologies))
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert modes == [module.training for module in run.model.modules()]
    assert torch.equal(torch.stack(found[::-1]), torch.stack(list(judge.scores(topologies[::-1]))))
    run.model.train()
    for topology, scores in zip(topologies, found, strict=True):
        images = batch.images.double()
        with torch.no_grad(), batch_statistics(run.model):
            features = run.model.network(images, topology.prune(run.model.head_paths))
            with forked(0, Purpose.HEADS, 0):
                losses = run.model.losses(features, images, batch.targets)
            with forked(0, Purpose.SCORES, 0):
                expected = run.model.scores(features, images, batch.targets, losses)
        expected = losses if compare == "loss" else expected
        torch.testing.assert_close(scores, torch.stack(list(expected.values())))


def test_a_score_is_the_mean_over_the_labelled_images():
    run = build_run(config_of("runtime.precision=float64", "search.compare=loss", "tasks.det=null"), ALONE)
    judge, batches = judged(run, 16, size=8)
    assert len(batches) == 2
    for target in batches[1].targets[:6]:
        del target["label"]
    judge = Judge(run.model, batches, run.config)
    parts = torch.stack([next(Judge(run.model, [one], run.config).scores([Topology.full(2)])) for one in batches])
    weights = torch.tensor([[8, 8], [2, 8]]).double()
    expected = (parts * weights).sum(dim=0) / weights.sum(dim=0)
    torch.testing.assert_close(next(judge.scores([Topology.full(2)])), expected)


def test_a_task_scores_alike_alone_and_with_others():
    run = build_run(config_of(), ALONE)
    judge, _ = judged(run, 12, size=8)
    topologies = [Topology.full(2), named_topology("linear", 2), Topology(2, frozenset({(1, 1), (2, 0), (2, 3)}))]
    every = torch.stack(list(judge.scores(topologies)))
    wanted = [[True, False, False], [False, True, True], [False, False, True]]
    found = torch.stack(list(judge.scores(topologies, wanted)))
    assert torch.equal(found.isnan(), ~torch.tensor(wanted))
    torch.testing.assert_close(found[torch.tensor(wanted)], every[torch.tensor(wanted)])


def test_topologies_are_what_the_last_look_found_or_else_the_likeliest(tmp_path: Path, capsys: pytest.CaptureFixture):
    of_look = (f"output={tmp_path / 'look'}", "search.last_look.family=5")
    run_job(config_of(*of_look))
    assert len(re.findall(r"last look, (?:cls|det|seg): (?:settled|open); \d blocks", capsys.readouterr().out)) == 3
    run_job(config_of(f"output={tmp_path / 'paper'}", "search.last_look.candidates=0"))
    look = json.loads((tmp_path / "look" / "last_look.json").read_text())
    assert not (tmp_path / "paper" / "last_look.json").exists()
    assert [len(look["candidates"]), len(look["candidates"][0])] == [12, 8]
    for name in ("cls", "det", "seg"):
        entry = look["tasks"][name]
        assert (len(entry["scores"]), len(entry["worth"]), len(entry["finalists"])) == (12, 8, 2)
        assert entry["derived"] == entry["finalists"][entry["values"].index(min(entry["values"]))]
        found = Topology.load(tmp_path / "look" / f"topology_{name}.yaml").blocks
        assert found == {
            block for block, bit in zip(sorted(Topology.full(2).blocks), entry["derived"], strict=True) if bit == "1"
        }
        history = read_run(tmp_path / "paper").histories[name]
        likeliest = Topology.load(tmp_path / "paper" / f"topology_{name}.yaml").blocks
        chosen = most_likely(torch.tensor([[1 - p, p] for p in history.last]))
        assert likeliest == {block for block, bit in zip(sorted(Topology.full(2).blocks), chosen, strict=True) if bit}
    found = read_run(tmp_path / "look")
    assert set(found.looks) == set(found.families) == {"cls", "det", "seg"}
    for name, family in found.families.items():
        _check_family(tmp_path / "look", family, int(found.infos[name]["head_path"]))
    assert not list((tmp_path / "paper").glob("family_*"))
    _check_joint(found)
    assert "What each block is worth" in (tmp_path / "look" / "report.html").read_text()
    learnt = (tmp_path / "look" / "model.safetensors").read_bytes()
    another = ("search.last_look.candidates=16", "search.last_look.neighbours=true", "search.budget=3e6")
    run_job(config_of(*of_look, "resume=true", *another))  # another look at what was learnt
    again = json.loads((tmp_path / "look" / "last_look.json").read_text())
    assert (tmp_path / "look" / "model.safetensors").read_bytes() == learnt
    for name, entry in again["tasks"].items():
        assert len(entry["scores"]) == 16
        assert len(set(entry["error"]) - {0.0}) == 1  # that of the neighbours on both rounds' images, or of unseen ones
        found = Topology.load(tmp_path / "look" / f"topology_{name}.yaml").blocks
        chosen = [bit == "1" for bit in entry["derived"]]
        assert found == {block for block, bit in zip(sorted(Topology.full(2).blocks), chosen, strict=True) if bit}
    assert "What each block is worth" not in (tmp_path / "paper" / "report.html").read_text()


def _check_family(folder: Path, family: TaskFamily, path: int) -> None:
    """What family.json says is true of the files, and of what a supernet's parts cost."""
    assert [member.name for member in family.others] == ["derived", "full"]  # two stages hold no other by hand
    assert family.members[0].seen.blocks == frozenset()
    assert family.members[0].gain == 0
    assert family.members[0].score - family.others[1].score == pytest.approx(family.others[1].gain * _scale(family))
    assert len({member.seen for member in family.members}) == len(family.members)
    scores = [member.score for member in family.members]
    assert scores == sorted(scores, reverse=True)  # what costs more scores better
    assert family.members[-1].score <= family.others[0].score
    for member in family.members:
        topology = Topology.load(folder / member.file)
        assert topology.blocks == member.topology.blocks
        assert (topology.outputs, member.topology.outputs) == ((0, 1, 2, 3), (path,))
        assert member.macs == network_cost(get_family("NANO"), member.seen, (64, 64)).macs


def _scale(family: TaskFamily) -> float:
    """What one deviation is, by the member that gains or loses most."""
    most = max((*family.members, *family.others), key=lambda member: abs(member.gain))
    return (family.members[0].score - most.score) / most.gain


def _check_joint(run: RunFolder) -> None:
    """One network for all tasks costs no more blocks than the derived topologies do, and says what it costs."""
    assert run.joint is not None
    seen = {task: topology.prune(topology.outputs) for task, topology in run.joint.topologies.items()}
    assert {task: topology.outputs for task, topology in seen.items()} == {"cls": (3,), "det": (1,), "seg": (1,)}
    family = get_family("NANO")
    of_block = block_costs(family, (64, 64))
    chosen, derived = (
        sum(of_block[path].macs for topology in each.values() for _, path in topology.blocks)
        for each in (run.joint.topologies, {task: one.topology for task, one in run.topologies.items()})
    )
    assert 0 < chosen <= derived
    trunk = network_cost(family, Topology(1, frozenset(), (3,)), (64, 64)).macs
    own = [network_cost(family, one, (64, 64)).macs for one in seen.values()]
    depths = [
        sum(cost.macs for cost in partition_costs(family, (64, 64))[: one.num_partitions]) for one in seen.values()
    ]
    assert run.joint.separate_macs == sum(own)
    assert run.joint.macs == trunk + sum(whole - depth for whole, depth in zip(own, depths, strict=True))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.last_look.joint_weights={pose: 2}", "joint_weights names pose, no task of this run"),
        ("search.last_look.joint_weights={cls: 0}", "must be above 0"),
    ],
)
def test_options_of_a_joint_network_are_checked_before_the_search(override: str, expected: str):
    with pytest.raises(InputError, match=expected):
        build_run(config_of(override), ALONE)
