"""One file of several tasks gives what the separate networks' files give, and is described and rated task by task."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from fbnetv5.archs.joint_plan import SHARES, Share
from fbnetv5.archs.topology import Block, Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.export.deployed import deploy
from fbnetv5.export.describe import describe
from fbnetv5.export.formats import SUFFIXES, Converter
from fbnetv5.export.joint import DeployedJointModel, deploy_joint
from fbnetv5.export.parts import candidate_parts, is_quantised
from fbnetv5.export.progress import ExportProgress
from fbnetv5.export.rating import FixedSizeModel
from fbnetv5.export.runtime import AnyExported, ExportedJointModel, load_exported
from fbnetv5.export.sensitivity import part_errors
from fbnetv5.export.sidecar import read_sidecar, sidecar_path, write_sidecar
from fbnetv5.export.xnnpack import XNNPACKJointNetwork, for_xnnpack
from fbnetv5.model.folder import FinalModel, save_model
from fbnetv5.model.joint_net import JointModel, JointSpec, TaskSpec, build_joint_model, separate_model
from scripts import run_exported
from scripts.export import main
from tests.export.models import CONFIG, random_joint, settled
from tests.export.test_deployed import photo
from tests.on_request import ON_REQUEST

pytest.importorskip("executorch", reason="the export extra is not installed")
pytestmark = pytest.mark.usefixtures("short_family")

SIZE = (64, 96)
CLASSES = {
    task: ShapesSource(1, 64, 0).classes[target]
    for task, target in {"cls": "label", "det": "boxes", "seg": "segmentation"}.items()
}
OUTPUTS = {
    "cls": ["scores"],
    "det": ["boxes", "box_labels", "scores", "count"],
    "seg": ["segmentation", "confidence"],
}


TWICE = {"shape": frozenset({(2, 0)}), "colour": frozenset({(1, 1), (2, 0)})}  # (2, 0) has another input for each task
FEWEST = {
    "shape": frozenset[Block](),
    "colour": frozenset({(1, 0)}),
}  # ExecuTorch's lowering takes half a second a layer


def two_classifiers(blocks: Mapping[str, frozenset[Block]] = TWICE) -> JointModel:
    """A model of few layers whose tasks share the weights of blocks."""
    head = {"_target_": "fbnetv5.heads.linear_classifier.LinearClassifier", "path": 0}
    classes = {"shape": ("a", "b"), "colour": ("a", "b", "c")}
    tasks = {task: TaskSpec(Topology(2, blocks[task], (0,)), head, classes[task]) for task in blocks}
    with forked(0):
        spec = JointSpec("SHORT", "blocks", tasks, InputSpec(short_side=64, multiple=32))
        return settled(build_joint_model(spec), {"label": 1})


def padded_image() -> Tensor:
    """An input whose image ends before its right edge."""
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    image[..., 80:] = 0
    return image


def opened(model: FinalModel, file: Path, runtime: str, images: list[Tensor] | None = None) -> AnyExported:
    """The file of a model in a runtime, opened; in int8 where there are images to calibrate it on."""
    deployed: Any = deploy_joint(model, SIZE) if isinstance(model, JointModel) else deploy(model, SIZE)
    lowered = Converter(deployed, SIZE).convert(runtime, images)
    precision = "fp32" if images is None else "int8"
    file = file.with_suffix(SUFFIXES[runtime])
    file.write_bytes(lowered.data)
    facts = describe(
        model, deployed, SIZE, lowered, runtime=runtime, precision=precision, num_calibration=0, float_parts=()
    )
    write_sidecar(file, facts)
    return load_exported(file)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], task: str) -> None:
    """Within the tolerances of docs/EXPORT.md."""
    for name, value in expected.items():
        own = found[f"{task}_{name}"]
        if name == "segmentation":
            assert (own == value).float().mean() > 0.999
        else:
            torch.testing.assert_close(own, value, rtol=1e-4, atol=1e-3 if name == "boxes" else 1e-4)


@pytest.mark.parametrize("share", SHARES)
@torch.no_grad()
def test_deployed_it_is_the_separate_networks_to_the_bit(share: Share):
    joint, image = random_joint("SHORT", share=share, classes=CLASSES), padded_image()
    deployed = deploy_joint(joint, SIZE)
    found = deployed(image)
    assert list(found) == [f"{task}_{name}" for task, names in OUTPUTS.items() for name in names]
    for task in CLASSES:
        for name, value in deploy(separate_model(joint, task), SIZE)(image).items():
            assert torch.equal(found[f"{task}_{name}"], value)
    changed = for_xnnpack(deployed)
    assert isinstance(changed.network, XNNPACKJointNetwork)
    for task, features in deployed.network(image).items():
        for path, feature in features.items():
            torch.testing.assert_close(changed.network(image)[task][path], feature, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("runtime", "blocks"), [pytest.param("executorch", FEWEST, marks=[pytest.mark.slow, ON_REQUEST]), ("onnx", TWICE)]
)
@torch.no_grad()
def test_a_file_gives_what_its_model_does(runtime: str, blocks: Mapping[str, frozenset[Block]], tmp_path: Path):
    joint, image = two_classifiers(blocks), photo(90, 70)  # upright: padded on the right
    exported = opened(joint, tmp_path / "model", runtime)
    assert isinstance(exported, ExportedJointModel)
    assert exported.classes == joint.classes
    expected = FixedSizeModel(joint, SIZE).predict(image)
    for task, scores in exported.predict(image).items():
        torch.testing.assert_close(scores, expected[task], rtol=1e-4, atol=1e-5)
    for task in joint.spec.tasks:
        assert_same(exported.run(padded_image()), deploy(separate_model(joint, task), SIZE)(padded_image()), task)


@ON_REQUEST
@pytest.mark.parametrize("runtime", ["executorch", "onnx"])
@torch.no_grad()
def test_a_file_gives_what_the_separate_files_do(runtime: str, tmp_path: Path):
    joint = random_joint("SHORT", classes=CLASSES)
    found = opened(joint, tmp_path / "joint", runtime).run(padded_image())
    for task in CLASSES:
        assert_same(found, opened(separate_model(joint, task), tmp_path / task, runtime).run(padded_image()), task)


@ON_REQUEST
@pytest.mark.parametrize("runtime", ["executorch", "onnx"])
@torch.no_grad()
def test_int8_is_close(runtime: str, tmp_path: Path):
    joint, generator = two_classifiers(), torch.Generator().manual_seed(1)
    images = [torch.randn(1, 3, *SIZE, generator=generator) for _ in range(8)]
    exported = opened(joint, tmp_path / "model", runtime, images)
    assert exported.sidecar.quantisation
    for name, expected in deploy_joint(joint, SIZE)(images[0]).items():
        assert 0 < (exported.run(images[0])[name] - expected).abs().max() < 0.1


@pytest.fixture(scope="module")
def run(short_family: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of three tasks on the shapes, and its export."""
    folder = tmp_path_factory.mktemp("runs") / "joint"
    model = random_joint("SHORT", classes=CLASSES)
    save_model(folder, model, model.spec)
    (folder / "config.yaml").write_text(CONFIG.format(name="joint"))
    main([str(folder), "--format", "torchscript", "export.num_evaluated=4", "export.size=[64,96]"])
    return folder


@torch.no_grad()
def test_the_job_compares_and_rates_every_task(run: Path):
    exported, joint = load_exported(run / "export" / "model_fp32.pt"), random_joint("SHORT", classes=CLASSES)
    for task in CLASSES:
        assert_same(exported.run(padded_image()), deploy(separate_model(joint, task), SIZE)(padded_image()), task)
    document = json.loads((run / "export" / "model_fp32.pt.json").read_text())
    assert document["format"] == 2
    assert [(each["task"], each["output"]) for each in document["outputs"]] == [
        (task, name) for task, names in OUTPUTS.items() for name in names
    ]
    mains = {"cls": "top1", "det": "AP", "seg": "mIoU"}
    for task, facts in document["tasks"].items():
        assert facts["classes"] == list(CLASSES[task])
        assert facts["metrics"]["num_images"] == 4
        assert facts["metrics"]["main"] == mains[task]
        assert facts["metrics"]["drop_in_points"] == pytest.approx(0, abs=0.05)
        differences = dict(facts["agreement"])
        assert differences.pop("max_box_difference", 0) < 0.1
        assert not any(value > 1e-4 for value in differences.values())
    assert document["tasks"]["det"]["thresholds"]["overlap_of_detections"] == 0.5
    card = (run / "README.md").read_text()
    assert "| model_fp32.pt | torchscript | fp32 |" in card
    assert "det AP " in card


def test_a_photo_is_predicted_and_drawn_in_one_pass(run: Path, tmp_path: Path):
    Image.fromarray(photo(90, 70).permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    file = run / "export" / "model_fp32.pt"
    run_exported.main([str(file), str(tmp_path / "photo.png"), "--output", str(tmp_path / "out")])
    (row,) = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())["images"]
    assert row["tasks"].keys() == CLASSES.keys()
    assert Image.open(tmp_path / "out" / "predictions" / row["tasks"]["seg"]["mask"]).size == (70, 90)
    assert Image.open(tmp_path / "out" / "drawn" / "photo.png").size[1] >= 480


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": {}}, "is damaged"),
        ({"tasks": {"cls": {"target": "label"}}}, "'tasks.cls.kind' is missing"),
        ({"tasks": 3}, "is damaged"),
        ({"tasks": {"cls": 3}}, "is damaged"),
        ({"outputs": [{"name": "x", "task": "other", "output": "scores"}]}, "of none of the tasks"),
        ({"outputs": [{"name": "x", "task": "cls"}]}, "'output' is missing"),
    ],
)
def test_a_damaged_sidecar_is_named(run: Path, tmp_path: Path, change: dict[str, Any], message: str):
    source, file = run / "export" / "model_fp32.pt", tmp_path / "model.pt"
    file.write_bytes(source.read_bytes())
    sidecar_path(file).write_text(json.dumps(json.loads(sidecar_path(source).read_text()) | change))
    with pytest.raises(InputError, match=message):
        read_sidecar(file)


@torch.no_grad()
def test_maps_alone_are_coarse():
    joint, image = random_joint("SHORT", classes=CLASSES), padded_image()
    whole, coarse = deploy_joint(joint, SIZE)(image), deploy_joint(joint, SIZE, map_stride=4)(image)
    assert torch.equal(coarse["det_boxes"], whole["det_boxes"])
    corners = coarse["seg_segmentation"][::4, ::4]
    assert torch.equal(coarse["seg_segmentation"], corners.repeat_interleave(4, 0).repeat_interleave(4, 1))
    with pytest.raises(InputError, match="gives none"):
        deploy_joint(two_classifiers(), SIZE, map_stride=4)


def test_parts_are_those_of_all_tasks():
    parts = candidate_parts(deploy_joint(random_joint("SHORT", classes=CLASSES), SIZE))
    expected = {"network.trunk.0", "network.branches.seg.blocks.s1_p3", "heads.det.rpn.head", "heads.cls.classifier"}
    assert expected <= set(parts)
    assert not any(is_quantised(name, []) for name in ("network", "heads.det", "heads"))
    assert all(is_quantised(name, []) for name in parts)


@torch.no_grad()
def test_a_part_has_an_error_for_each_task(monkeypatch: pytest.MonkeyPatch):
    deployed = deploy_joint(two_classifiers(), SIZE)

    def rounded(model: DeployedJointModel, images: Any, float_parts: list[str]) -> DeployedJointModel:
        model = copy.deepcopy(model)
        for part in set(candidate_parts(model)) - set(float_parts):
            for parameter in model.get_submodule(part).parameters():
                parameter.mul_(16).round_().div_(16)
        return model

    monkeypatch.setattr("fbnetv5.export.sensitivity.quantised_pt2e", rounded)
    errors = part_errors(deployed, [padded_image()], ExportProgress())
    assert errors["colour"]["heads.shape.classifier"] == 0 < errors["shape"]["heads.shape.classifier"]
    assert errors["shape"]["network.blocks.s1_p1"] == 0 < errors["colour"]["network.blocks.s1_p1"]
    assert all(own["network.trunk.0"] > 0 for own in errors.values())
