"""The networks that FPNAS is compared with, and the table."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.model.task_net import build_model
from fbnetv5.projects.fpnas import compare, references, search
from fbnetv5.projects.fpnas.compare_table import Measured, differences, markdown, means
from fbnetv5.projects.fpnas.problem import Problem, model_macs, model_spec, read_macro
from fbnetv5.projects.fpnas.references import MobileNetV2, ShuffleNetV2, width_for
from fbnetv5.projects.fpnas.tests.searches import CONFIG, MACRO, tiny_search, write_images
from tests.on_request import ON_REQUEST


@pytest.mark.parametrize(
    ("network", "stride", "channels"),
    [
        (MobileNetV2(), 4, 320),
        (MobileNetV2(width=0.25, strides=(2, 2, 1, 2, 1)), 8, 80),
        (ShuffleNetV2(width=1.0), 8, 464),
        (ShuffleNetV2(width=0.5, strides=(2, 2)), 32, 232),
    ],
)
def test_references_have_the_strides_and_channels_that_they_state(network, stride, channels):
    features = network.eval()(torch.zeros(1, 3, 32, 32))
    assert network.channels == (0, 0, 0, channels)
    assert network.strides[3] == stride
    assert features[3].shape == (1, channels, 32 // stride, 32 // stride)


def test_mobilenet_v2_costs_what_fpnas_does_with_its_blocks(tmp_path):
    """MobileNetV2 is a point of the space: expansion 6, kernel 3, and a residual where the shape stays."""
    data = tiny_search(tmp_path).data
    head = {"_target_": "fbnetv5.projects.fpnas.heads.classifier.PooledClassifier"}
    problem = Problem(read_macro("cifar10", 1), head, tuple("abcdefghij"), data)
    names = [[kind.name for kind in kinds] for kinds in problem.types]
    choices = [row.index("add k3e6") if "add k3e6" in row else row.index("conv k3e6") for row in names]
    macs = problem.space(1e12).macs(choices)
    model = build_model(model_spec({"_target_": "fbnetv5.projects.fpnas.references.MobileNetV2"}, problem))
    assert model_macs(model, 32) == macs
    assert macs == pytest.approx(296e6, rel=0.005)


def test_a_width_is_found_by_bisection():
    def square(width: float) -> int:
        return round(800 * width**2)

    assert width_for(800, square, tolerance=0.01, bound=900) == pytest.approx(1, abs=1e-3)
    assert width_for(8, square, tolerance=0.01, bound=900) == pytest.approx(0.1, abs=0.01)
    with pytest.raises(InputError, match=r"no width gives 150 MACs within 1.0%"):
        width_for(150, lambda width: 100 if width < 0.7 else 300, tolerance=0.01, bound=900)
    with pytest.raises(InputError, match="2 numbers, each 1 or 2"):
        ShuffleNetV2(strides=(1, 3))


def test_the_table_has_means_spreads_and_paired_differences():
    measured = [
        Measured("FPNAS", 0, 2_000_000, 100_000, 0.50, 60),
        Measured("FPNAS", 1, 1_980_000, 100_000, 0.54, 70),
        Measured("random", 0, 2_000_000, 90_000, 0.40, 60),
        Measured("random", 0, 2_000_000, 90_000, 0.44, 60),
        Measured("random", 1, 2_000_000, 90_000, 0.50, 60),
    ]
    assert differences(measured, "FPNAS", "random") == pytest.approx([8, 4])
    taken = {"method": "CoordinateDescent", "epochs": 80, "training_images": 10, "image_passes": 800}
    taken_by = [("FPNAS", {**taken, "training_seconds": 100 + 40 * seed}) for seed in (0, 1)]
    best = [Measured("best random", 1, 2_000_000, 90_000, value, 60) for value in (0.46, 0.48)]
    text = markdown([*measured, *best], taken_by, 15, (12, 4))
    assert "FPNAS less best random: 5.00 points; p = 0.0" in text
    assert "| FPNAS | 1.990 | 0.100 | 52.00 ± 2.83 | 2 | 0:01:05 |" in text
    assert "| random | 2.000 | 0.090 | 44.67 ± 5.03 | 3 | 0:01:00 |" in text
    assert "FPNAS less random: 6.00 ± 2.83, seed by seed, points; p = 0.0" in text
    assert means([*measured, replace(measured[1], accuracy=0.50)], "FPNAS") == [0.50, 0.52]  # trained twice
    assert means(measured, "random") == [0.40, 0.44, 0.50]
    assert "took 80 epochs of 10 images, 800 in all, and 0:02:00 (h:mm:ss, seconds summed over trainings" in text


@pytest.mark.parametrize("target", range(500, 800, 37))
def test_a_width_never_has_as_many_macs_as_the_bound(target):
    def steps(width: float) -> int:
        return 40 * round(20 * width)

    bound = target + 1
    assert 0.9 * target <= steps(width_for(target, steps, tolerance=0.1, bound=bound)) < bound


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("project.bound=1e4", "project.bound=10,000 MACs"),
        ("project.num_candidates=22", "project.num_candidates=22"),
        (
            "project.method={_target_: fbnetv5.projects.fpnas.methods.RandomSearch, epochs: 4}",
            "does not divide the 15 epochs",
        ),
        ("project.others={random: {_target_: fbnetv5.projects.fpnas.methods.RandomSearch}}", "'random' is no name"),
        (
            "project.others={Best-Random: {_target_: fbnetv5.projects.fpnas.methods.RandomSearch}}",
            "'Best-Random' is no",
        ),
        ("project.num_best=-1", "project.num_best=-1"),
        (
            "project.others={drawn: {_target_: fbnetv5.projects.fpnas.methods.RandomSearch, epochs: 4}}",
            "does not divide the 15 epochs",
        ),
        ("project.tolerance=0", "project.tolerance=0.0"),
        ("project.tolerance=1e-6", "no width gives 250,000 MACs"),
        ("project.mobilenet_strides=[2,1]", r"project.mobilenet_strides=\[2, 1\]"),
        ("project.shufflenet_strides=[1,3]", r"project.shufflenet_strides=\[1, 3\]"),
        ("project.train_final_lr=1", "project.train_final_lr=1.0"),
    ],
)
def test_what_is_wrong_is_said_before_the_folder_is_claimed(tmp_path, monkeypatch, override, message):
    monkeypatch.setattr(references, "MAX_HALVINGS", 3)
    write_images(tmp_path / "data" / "test", count=3)
    write_images(tmp_path / "data" / "train")
    (tmp_path / "macro.yaml").write_text(MACRO)
    config = tiny_search(tmp_path, override, config=CONFIG.with_name("compare.yaml"))
    with pytest.raises(InputError, match=message):
        compare.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_image_smaller_than_the_stride_is_said_before_the_folder_is_claimed(tmp_path):
    config = tiny_search(tmp_path, config=CONFIG.with_name("compare.yaml"))
    write_images(tmp_path / "data" / "test", count=3)
    config.data.crop = 4
    with pytest.raises(InputError, match="an image of 4 x 4 pixels"):
        compare.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_comparison_may_go_on_with_another_tolerance(tmp_path):
    config = tiny_search(tmp_path, config=CONFIG.with_name("compare.yaml"))
    search.claim_folder(config, tmp_path / "run", compare.FREE)
    free = ("project.tolerance=0.5", "project.seeds=[0, 7]", "project.mobilenet_strides=[1, 2, 1, 2, 1]")
    changed = tiny_search(tmp_path, "resume=true", *free, config=CONFIG.with_name("compare.yaml"))
    search.claim_folder(changed, tmp_path / "run", compare.FREE)
    with pytest.raises(InputError, match=r"project\.train_epochs"):
        search.claim_folder(
            tiny_search(tmp_path, "resume=true", "project.train_epochs=3", config=CONFIG.with_name("compare.yaml")),
            tmp_path / "run",
            compare.FREE,
        )


@pytest.mark.slow
@ON_REQUEST
def test_a_comparison_from_its_config_to_its_table_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    overrides = (
        "project.seeds=[3]",
        "project.num_random=1",
        "project.train_epochs=1",
        "project.iterations=1",
        "project.tolerance=0.2",
        "project.others={random search: {_target_: fbnetv5.projects.fpnas.methods.RandomSearch, epochs: 1}}",
        "project.num_trainings=2",
        "project.num_best=1",
    )
    write_images(tmp_path / "data" / "test", count=3)
    write_images(tmp_path / "data" / "train")
    (tmp_path / "macro.yaml").write_text(MACRO)
    config = tiny_search(tmp_path, *overrides, config=CONFIG.with_name("compare.yaml"))
    folder = tmp_path / "run"
    monkeypatch.setattr(references, "MAX_HALVINGS", 5)
    done, real = [], compare.do_training

    def killed_after_a_while(work):
        if len(done) == 2:
            raise KeyboardInterrupt
        real(work)
        done.append(work.training.name)

    monkeypatch.setattr(compare, "do_training", killed_after_a_while)
    with pytest.raises(KeyboardInterrupt):
        compare.run(config, folder)
    monkeypatch.setattr(compare, "do_training", lambda work: (real(work), done.append(work.training.name)))
    config.resume = True
    compare.run(config, folder)
    assert len(done) == len(set(done)) == 10
    record = json.loads((folder / "compare.json").read_text())
    own = record["trainings"]
    assert [(one["seed"], one["method"]) for one in own] == [
        (3, method)
        for method, count in (
            *(("FPNAS", 2), ("random search", 2), ("random", 1)),
            *(("MobileNetV2", 2), ("ShuffleNetV2", 2), ("best random", 1)),
        )
        for _ in range(count)
    ]
    assert all(
        abs(one["macs"] - own[0]["macs"]) <= 0.2 * own[0]["macs"] for one in own if one["method"] != "random search"
    )
    again = {one["method"]: one["accuracy"] for one in own}
    for file in ("search/model.safetensors", "search/history.csv"):  # the light files are enough to go on from
        (folder / "seed-3" / file).unlink()
    compare.run(config, folder)
    assert len(done) == 10
    own = json.loads((folder / "compare.json").read_text())["trainings"]
    assert {one["method"]: one["accuracy"] for one in own} == again
    assert (folder / "beforehand.txt").read_text().startswith("one search: its difference to random networks cannot")
    text = capsys.readouterr().out
    assert (folder / "compare.md").read_text() in text
    (folder / "images.sha256").write_text("others")
    with pytest.raises(InputError, match="of other images to train on or to test on"):
        compare.run(config, folder)
    (folder / "images.sha256").unlink()
    config.project["others"]["random search"]["epochs"] = 5
    with pytest.raises(InputError, match=r"project\.method\.epochs was 1, is now 5"):
        compare.run(config, folder)
    assert all(one["macs"] < 250e3 for one in own)
    assert not list(folder.rglob("images.safetensors"))
