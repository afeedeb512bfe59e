"""What the user gets wrong: one line on stderr, status 1, and the last good files stay as they are."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.cli import launch
from fbnetv5.config.read import load_config
from fbnetv5.jobs.search_checks import check_budget
from tests.jobs.runs import ROOT, TINY, metrics
from tests.processes import undrawn

QUICKSTART = ROOT / "configs" / "quickstart.yaml"


@pytest.fixture(autouse=True)
def clean_hydra():
    yield
    GlobalHydra.instance().clear()


@pytest.fixture
def error_of(capsys, tmp_path, monkeypatch):
    """Run the command line in this process; return its one line of error."""

    def run(*overrides: str, config: Path = QUICKSTART, output: Path | None = None) -> str:
        arguments = [
            f"--config={config}",
            *TINY,
            "runtime.workers=0",
            f"output={output or tmp_path / 'run'}",
            *overrides,
        ]
        monkeypatch.setattr("sys.argv", ["train_net.py"])
        with pytest.raises(SystemExit) as exit_info:
            launch.main(arguments)
        assert exit_info.value.code == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def data(tmp_path) -> Path:
    """Eight images with boxes, masks and labels in the formats that people have."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    names = [f"{i}.png" for i in range(8)]
    for i, name in enumerate(names):
        Image.new("RGB", (64, 64), (i * 30, 90, 200)).save(root / "images" / name)
        Image.new("L", (64, 64), i % 2).save(root / "masks" / name)
    (root / "labels.csv").write_text("file_name,label\n" + "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    write_boxes(root, [10, 10, 20, 20])
    return root


def write_boxes(root: Path, box: list[float], category: int = 1) -> None:
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(8)]
    annotations = [
        {"id": i, "image_id": i, "category_id": category if i == 5 else 1, "bbox": box if i == 5 else [4, 4, 8, 8]}
        for i in range(8)
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "boxes.json").write_text(json.dumps(content))


def files(root: Path, **changed: str | None) -> list[str]:
    """Overrides that read the folder of ``data``."""
    split = {"images": "images", "labels": "labels.csv", "boxes": "boxes.json", "masks": "masks", **changed}
    given = [f"data.train.{key}={value}" for key, value in split.items() if value is not None]
    return [f"data.root={root}", "data.mask_classes=[background, thing]", *given]


SENTENCES = {  # the tone: what, where, what to do
    "search.stepz=3": "unknown key 'search.stepz'; did you mean 'search.steps'?",
    "search.steps=many": "search.steps: Value 'many' of type 'str' could not be converted to Integer",
    "data.crop=96": "data.crop=96 is larger than data.short_side=64",
    "tasks.cls.path=deep": "tasks.cls.path=deep should be of type int",
    "tasks.cls.path=7": "tasks.cls.path=7 is no path: 0 to 3",
    "search.batch_size=30": "search.batch_size=30 must be a multiple of search.num_samples=8",
    "search.budget_macs=5": "search.budget_macs is now called search.budget, in the unit of search.cost",
    "search.cost=latncy": "search.cost=latncy is none of macs, params, latency; did you mean 'latency'?",
    "data.root=/no/such/folder": "data.root=/no/such/folder: there is no such folder",
    "seed=1,2": "seed has several values; --multirun runs them all",
    "job=serch": (
        "job=serch is unknown; choose from search, pretrain, train, evaluate, label, export; did you mean 'search'?"
    ),
}


@pytest.mark.parametrize("override", SENTENCES)
def test_messages_say_what_is_wrong_and_what_to_do(error_of, override):
    assert SENTENCES[override] in error_of(override, "search.steps=1")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("serch.steps=3", "'serch'"),
        ("+model.famly=A", "'model.famly'"),
        ("search.algorithm.baseline=mean", "search.algorithm.baseline=mean"),
        ("search.algorithm.cost_wieght=2", "search.algorithm.cost_wieght"),
        ("search.algorithm.cost_weight=-2", "cost_weight=-2"),
        ("search.algorithm._target_=nowhere.Method", "search.algorithm._target_=nowhere.Method"),
        ("tasks.cls.paht=2", "tasks.cls.paht"),
        ("tasks.cls._target_=no.such.Task", "tasks.cls._target_=no.such.Task"),
        ("model.family=AC", "'AC'"),
        ("search.epochs=2", "search.steps and search.epochs"),
        (
            "search.num_samples=1",
            "search.group=2 does not divide the 1 architectures of a process: those of a group see "
            "the same images. Set search.group=1, or set search.num_samples to a multiple of 2",
        ),
        ("search.task_weights={dte: 2}", "search.task_weights names dte"),
        ("data.area=[0.5]", "data.area=[0.5]"),
        ("search.budget=-1", "search.budget=-1.0"),
        ("search.budget_share=0.01", "search.budget_share=0.01 is less than any block costs"),
        ("search.budget=4", "search.budget=4 is less than any block costs"),
        ("search.last_look.joint_budget=20", "search.last_look.joint_budget=20 is less than any block costs"),
        ("tasks.det.anchor_sizes=[[24],[48]]", "tasks.det.anchor_sizes=[[24], [48]] should be a list of numbers"),
        ("search.latency.repeats=0", "search.latency.repeats=0"),
        ("runtime.log_every=0", "runtime.log_every=0"),
        ("runtime.device=gpu", "runtime.device=gpu"),
        ("seed=-1", "seed=-1"),
        ("optimizer={nesterov: true, momentum: 0}", "optimizer.nesterov=true"),
        ("optimizer.clip_norm=0", "optimizer.clip_norm=0 would stop all learning; null"),
        ("tasks.det.anchor_sizes=32", "tasks.det.anchor_sizes=32"),
        ("tasks.cls.path=true", "tasks.cls.path=True"),
        ("tasks.cls=5", "tasks.cls has no _target_"),
        ("tasks.type={_target_: fbnetv5.tasks.segmentation.Segmentation}", "'type'"),
        ("data.train.images=images", "data.root=FOLDER"),
        ("model.weights=/no/such/file.safetensors", "/no/such/file.safetensors"),
        ("search.steps=0", "search.steps=0"),
    ],
)
def test_a_message_names_the_key(error_of, override, named):
    assert named in error_of(override, *([] if "search." in override else ["search.steps=1"]))


def test_config_file(error_of, tmp_path):
    assert "there is no such file" in error_of(config=tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("defaults: [/fbnetv5/schema, _self_]\nname: [unclosed\n")
    assert "broken.yaml" in error_of(config=broken)
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text("defaults: [/quickstart, _self_]\nserach: {steps: 3}\n")
    assert "'serach'" in error_of(config=misspelt)


def test_a_config_that_builds_on_nothing(tmp_path):
    bare = tmp_path / "bare.yaml"
    bare.write_text("name: mine\noutput: runs/mine\n")
    with pytest.raises(InputError, match=r"defaults"):
        load_config(bare)


def test_the_shipped_configs_want_the_folder_of_the_data(error_of):
    for name in ("search/pets.yaml", "search/fbnetv5_a.yaml", "pretrain/a.yaml"):
        steps = ("search.epochs=null", "optimizer.schedule.unit=step")
        assert "give data.root=FOLDER" in error_of(*steps, config=ROOT / "configs" / name)


def test_an_output_that_cannot_be_written(error_of, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in error_of(output=tmp_path / "file" / "run")


def test_a_box_outside_its_image(error_of, data):
    write_boxes(data, [50, 50, 40, 40])
    message = error_of(*files(data))
    assert re.search(r"boxes\.json.*images/5\.png.* outside of the image of 64x64 pixels", message)


def test_an_image_that_cannot_be_decoded_is_named(error_of, data):
    (data / "images" / "2.png").write_bytes((data / "images" / "2.png").read_bytes()[:50])
    assert "images/2.png" in error_of(*files(data))


def test_an_image_that_cannot_be_decoded_is_skipped_where_the_config_says_so(data, tmp_path, monkeypatch, capsys):
    (data / "images" / "2.png").write_bytes(b"not an image")
    monkeypatch.setattr("sys.argv", ["train_net.py"])
    skip = ["data.undecodable=skip", "search.steps=2", "runtime.workers=0", f"output={tmp_path / 'run'}"]
    with undrawn():
        launch.main([f"--config={QUICKSTART}", *TINY, *files(data), *skip])
    messages = capsys.readouterr().err
    (named,) = [line for line in messages.splitlines() if line.startswith("skipped: ")]
    assert "images/2.png" in named
    assert "times since step 0 another image replaced one that could not be read" in messages
    assert metrics(tmp_path / "run")[-1]["skipped"] > 0
    assert (tmp_path / "run" / "topology_cls.yaml").exists()


def test_a_folder_without_images(error_of, data):
    shutil.rmtree(data / "images")
    (data / "images").mkdir()
    assert re.search(r"data/images\b.*no image", error_of(*files(data)))


def test_a_task_without_any_label(error_of, data):
    message = error_of(*files(data, boxes=None))
    assert "'det' needs 'boxes'" in message


def test_a_nan_loss_names_task_and_step_and_keeps_the_checkpoint(error_of, tmp_path):
    message = error_of("optimizer.lr=1e30", "optimizer.clip_norm=null", "runtime.checkpoint_every=1")
    assert "the loss of task '" in message
    assert " at step " in message
    states = sorted((tmp_path / "run" / "checkpoints").glob("step-*/state.pt"))
    assert states
    assert not list((tmp_path / "run").glob("topology_*"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> tuple[Path, Path]:
    """The folder of a finished search, and a copy of what it held."""
    folder, copy = (tmp_path_factory.mktemp("finished") / name for name in ("run", "copy"))
    steps = ["search.steps=2", "search.batch_size=8", "search.num_samples=2", "runtime.workers=0"]
    with undrawn():
        launch.run_job(load_config(QUICKSTART, [*TINY, *steps, f"output={folder}"]))
    shutil.copytree(folder, copy)
    return folder, copy


@pytest.fixture
def finished(searched) -> Path:
    """The same folder for every test, as the search left it."""
    folder, copy = searched
    shutil.rmtree(folder)
    return shutil.copytree(copy, folder)


SAME = ("search.steps=2", "search.batch_size=8", "search.num_samples=2")


def test_a_run_is_not_overwritten(error_of, finished):
    before = (finished / "topology_cls.yaml").read_bytes()
    assert "holds a run already" in error_of(*SAME, "data.root=nowhere", output=finished), "before data are read"
    assert (finished / "topology_cls.yaml").read_bytes() == before


def test_a_checkpoint_of_another_config(error_of, finished):
    config = (finished / "config.yaml").read_bytes()
    message = error_of(*SAME, "resume=true", "seed=5", "optimizer.lr=0.3", output=finished)
    assert "optimizer.lr was 0.1, is now 0.3; seed was 0, is now 5" in message
    assert (finished / "config.yaml").read_bytes() == config


def test_a_damaged_checkpoint(error_of, finished):
    (state,) = (finished / "checkpoints").glob("step-*/state.pt")
    state.write_bytes(state.read_bytes()[:100])
    assert "cannot read" in error_of(*SAME, "resume=true", output=finished)


def test_weights_of_another_network(error_of, finished):
    message = error_of(*SAME, f"model.weights={finished / 'model.safetensors'}", "model.num_stages=3")
    assert "network.blocks.s3_p0.0.conv" in message


def test_weights_of_a_larger_network(error_of, finished):
    message = error_of(*SAME, f"model.weights={finished / 'model.safetensors'}", "model.num_stages=1")
    assert re.search(r"network\.blocks\.s2_p\d.* is not in the model", message)


def test_a_refused_run_leaves_no_folder(error_of, tmp_path):
    error_of("data.root=/no/such/folder", output=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_the_saved_config_gives_the_same_run_again(finished):
    again = load_config(finished / "config.yaml")
    assert again.search.steps == 2
    assert again.tasks["det"]["num_sampled"] == 16


def test_a_topology_file_says_where_it_comes_from(finished):
    info = yaml.safe_load((finished / "topology_det.yaml").read_text())["info"]
    assert info["task"] == "det"
    assert info["searched_with"]["family"] == "NANO"


def test_a_budget_in_macs_is_no_budget_in_milliseconds():
    check_budget("budget", 5.9, "latency", [2.0, 4.0])
    check_budget("budget", 2e7, "macs", [2.0, 4.0])
    with pytest.raises(InputError, match=r"search\.budget=2e\+07 is in milliseconds .* search\.budget=3, or null"):
        check_budget("budget", 2e7, "latency", [2.0, 4.0])
