"""The final model: names, forward, prediction of one image, cost, first weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from fbnetv5.archs.cost import feature_sizes, measured_macs, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.network import MultiPathNet
from fbnetv5.archs.topology import Topology, named_topology
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.base.types import LABEL, Item, TargetKind
from fbnetv5.base.weights import save_weights
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.collate import collate
from fbnetv5.data.inputs import InputSpec
from fbnetv5.engine.evaluate import evaluate
from fbnetv5.model.build import input_spec
from fbnetv5.model.task_net import Fresh, ModelSpec, TaskNet, build_model, load_initial

HEADS = {
    "cls": {"_target_": "fbnetv5.heads.classifier.Classifier", "hidden_channels": 16},
    "det": {"_target_": "fbnetv5.heads.lite_rcnn.LiteRCNN", "anchor_sizes": [12, 24], "num_proposals": [32, 10]},
    "seg": {
        "_target_": "fbnetv5.heads.lite_maskformer.LiteMaskFormer",
        "embedding_channels": 32,
        "num_queries": 8,
        "hidden_channels": 64,
    },
}
INPUTS = {
    "cls": InputSpec(short_side=64, crop=64),
    "det": InputSpec(short_side=64, long_side=96, multiple=32),
    "seg": InputSpec(short_side=64, long_side=96, multiple=32),
}
RETURNS_1, RETURNS_0_3 = Topology(1, frozenset(), (1,)), Topology(1, frozenset(), (0, 3))
TOPOLOGY = Topology(2, frozenset({(1, 0), (1, 2), (2, 1), (2, 3)}))


def spec_of(task: str, **changes: object) -> ModelSpec:
    spec = ModelSpec("NANO", TOPOLOGY, HEADS[task], ("a", "b", "c"), INPUTS[task])
    return replace(spec, **changes)


def build(task: str, **changes: object) -> TaskNet:
    with forked(0):
        return build_model(spec_of(task, **changes))


def picture(height: int = 100, width: int = 140) -> torch.Tensor:
    return torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


class MeanHead(nn.Module):
    """A head of somebody else: no closed form, no options."""

    target = LABEL

    def __init__(self, channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.paths = (0, 2)
        self.layers = nn.ModuleList(nn.Conv2d(channels[path], num_classes, 1) for path in self.paths)

    def forward(self, features, image_size, targets=None, true_sizes=None, output_sizes=None):
        return list(sum(layer(features[p]).mean((2, 3)) for p, layer in zip(self.paths, self.layers, strict=True)))

    def no_weight_decay(self) -> set[str]:
        return set()


class Pathless(nn.Identity):
    """A head that forgot its paths."""

    target = LABEL

    def no_weight_decay(self) -> set[str]:
        return set()


class Dilated(nn.Module):
    """A network of somebody else whose coarsest features are finer than usual."""

    channels, strides = (8, 8, 8, 8), (4, 8, 16, 16)


def test_a_head_that_takes_strides_for_granted_is_refused_beside_others():
    own = {"family": None, "topology": None, "network": {"_target_": f"{__name__}.Dilated"}}
    assert build("det", **own).head.paths == (1,)
    with pytest.raises(InputError, match=r"Dilated has stride 16 where the head LiteRCNN reads"):
        build("det", **own, head={**HEADS["det"], "path": 3})


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"crop": 96, "crop_width": 192, "scale": [0.5, 2.0]}, TargetKind.DENSE, InputSpec(128, multiple=32)),
        ({"crop": 96, "crop_width": 192, "crop_place": "center"}, TargetKind.DENSE, InputSpec(128, 192, multiple=32)),
        ({"crop": 96}, TargetKind.SCALAR, InputSpec(128, crop=96)),
        ({"crop": 96, "long_side": 160}, TargetKind.SCALAR, InputSpec(128, 160, crop=96)),
        ({"crop": 96, "crop_width": 192}, TargetKind.SCALAR, "crop_width=192: a class"),
        ({"crop": 160, "area": [0.2, 1.0]}, TargetKind.SCALAR, "crop=160 is larger than"),
    ],
)
def test_the_input_is_what_the_training_sees(changes, kind, expected):
    data = replace(DataConfig(), short_side=128, **changes)
    if isinstance(expected, InputSpec):
        assert input_spec(data, kind) == expected
    else:
        with pytest.raises(InputError, match=expected):
            input_spec(data, kind)


def test_a_model_is_the_pruned_network_under_the_supernets_names_and_a_head():
    model = build("cls", topology=Topology(3, frozenset({(1, 0), (3, 2), (3, 3)})))
    supernet = MultiPathNet(get_family("NANO"), Topology.full(3)).state_dict()
    assert model.network.topology == Topology(3, frozenset({(3, 2), (3, 3)}), (3,))
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        assert part in ("network", "head")
        if part == "network":
            assert tensor.shape == supernet[rest].shape


@pytest.mark.parametrize("task", ["cls", "det", "seg"])
def test_training_gives_losses_and_a_gradient_to_every_parameter(task):
    targets = [
        {
            "label": index,
            "boxes": torch.zeros(0, 4),
            "box_labels": torch.zeros(0, dtype=torch.int64),
            "segmentation": torch.full((64, 96), 255, dtype=torch.uint8),
        }
        for index in range(2)
    ]
    model = build(task)
    with forked(1):
        losses = model(torch.randn(2, 3, 64, 96), targets, [(64, 96), (60, 80)])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_head_computes_in_the_images_precision():
    model, seen = build("cls").eval(), []
    model.head.register_forward_pre_hook(
        lambda _module, inputs: seen.append((inputs[0][3].dtype, torch.is_autocast_enabled("cpu")))
    )
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(1, 3, 64, 64))
    assert seen == [(torch.float32, False)]


@pytest.mark.parametrize("kind", ["tensor", "file", "pil"])
def test_the_three_forms_of_an_image_are_the_same(tmp_path, kind):
    image = picture()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "image.png")
    forms = {"tensor": image, "file": tmp_path / "image.png", "pil": Image.open(tmp_path / "image.png")}
    model = build("cls")
    prediction = model.predict_tensors(forms[kind])
    assert model.training
    assert not prediction.requires_grad
    expected = model.eval()(model.spec.input.prepare(image)[None])[0]
    torch.testing.assert_close(prediction, expected)


def test_16_bit_grey_is_scaled_from_a_file_and_from_pil(tmp_path):
    grey = Image.fromarray(torch.linspace(0, 65535, 64 * 64).reshape(64, 64).to(torch.uint16).numpy())
    grey.save(tmp_path / "grey.png")
    model = build("cls").eval()
    torch.testing.assert_close(
        model.predict_tensors(grey), model.predict_tensors(tmp_path / "grey.png"), rtol=0, atol=0
    )


@pytest.mark.parametrize(("family", "width"), [("NANO", 140), ("A", 400)])
def test_the_batch_does_not_matter(family, width):
    """A wide and a tall image, whose common size has room for both, are predicted as each by itself.

    Family A has no pixel on its last path of images whose shorter side is 32 pixels.
    """
    pictures = [picture(), picture(100 if width == 140 else 40, width).transpose(1, 2).contiguous()]
    model = build("det", family=family, head={**HEADS["det"], "score_threshold": 0.0})
    prepared = [model.spec.input.prepare(image) for image in pictures]
    items = [Item(image, {}, str(i), (pictures[i].shape[1], pictures[i].shape[2])) for i, image in enumerate(prepared)]
    found: dict = {}

    class Recorder:
        def update(self, predictions, targets, names):
            found.update(zip(names, predictions, strict=True))

        def compute(self, world):
            return {}

    alone = World(rank=0, size=1, device=torch.device("cpu"))
    evaluate(model, [collate(items, multiple=32)], alone, num_images=2, evaluator=Recorder())
    for i, image in enumerate(pictures):
        torch.testing.assert_close(found[str(i)]["boxes"], model.predict_tensors(image)["boxes"])


def test_predictions_are_in_the_images_own_pixels():
    """100x140 becomes 64x90, padded to 64x96, and comes back as 100x140."""
    mask = build("seg").predict_tensors(picture())
    assert (mask.dtype, mask.shape) == (torch.uint8, (100, 140))
    head = {**HEADS["det"], "score_threshold": 0.0}
    boxes = build("det", head=head).predict_tensors(picture())["boxes"]
    assert len(boxes) > 0
    assert boxes.min() >= 0
    assert 96 < boxes[:, 2].max() <= 140
    assert 64 < boxes[:, 3].max() <= 100


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png: cannot read this image"):
        build("cls").predict_tensors(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"expected an image of uint8 \[3, H, W\]"):
        build("cls").predict_tensors(torch.zeros(3, 8, 8))


class Layers(nn.Module):
    """What costs MACs in a model, without what a prediction is made of from its outputs."""

    def __init__(self, model: TaskNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> object:
        head = self.model.head
        features = self.model.network(images)
        return head.segments(features) if hasattr(head, "segments") else head(features, images.shape[-2:])


@pytest.mark.parametrize("task", ["cls", "det", "seg"])
@pytest.mark.parametrize("size", [None, (96, 128)])
def test_cost_is_fvcores_count(task, size):
    model = build(task)
    cost = model.cost(size)
    height, width = size or model.nominal_size
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    if task == "det":  # as many proposals as there may be
        model.head.rpn.nms_thresh = 1.0
    assert cost.macs == measured_macs(Layers(model), images)
    assert cost.params == sum(p.numel() for p in model.parameters())


def test_cost_of_a_head_without_a_closed_form_is_measured():
    model = build("cls", head={"_target_": f"{__name__}.MeanHead"})
    sizes, channels = feature_sizes(get_family("NANO"), (64, 64)), get_family("NANO").channels
    head = sum(3 * channels[path] * sizes[path][0] * sizes[path][1] for path in (0, 2))
    network = network_cost(get_family("NANO"), TOPOLOGY.prune((0, 2)), (64, 64))
    assert model.cost().macs == network.macs + head
    assert model.cost().params == network.params + sum(p.numel() for p in model.head.parameters())


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("cls", {"topology": RETURNS_1}, "topology t.yaml"),
        ("seg", {"topology": RETURNS_0_3}, "returns paths 0, 3, the head LiteMaskFormer"),
        ("cls", {"family": "AC"}, "unknown family 'AC'"),
        ("cls", {"classes": ()}, "no classes"),
        ("cls", {"head": {"_target_": "torch.nn.Identity"}}, "Identity is no head: it has no 'target'"),
        ("cls", {"head": {**HEADS["cls"], "dropout": 2.0}}, "model.head: .*dropout probability"),
        ("cls", {"head": {**HEADS["cls"], "drop": 2.0}}, "model.head.drop is no option"),
        ("cls", {"head": {**HEADS["cls"], "path": 7}}, "path 7 is out of range"),
        ("det", {"input": InputSpec(short_side=64, crop=64)}, "predicts boxes of whole images; its input cannot be"),
    ],
)
def test_parts_that_do_not_fit_are_refused(task, changes, message):
    with pytest.raises(InputError, match=message):
        build_model(spec_of(task, **changes), topology_name="t.yaml")


def test_a_head_that_does_not_say_what_it_reads_is_refused():
    with pytest.raises(InputError, match="Pathless is no head: it has no 'paths'"):
        build("cls", head={"_target_": f"{__name__}.Pathless"})


def supernet_weights(family: str = "NANO", num_stages: int = 2) -> dict[str, torch.Tensor]:
    with forked(5):
        network = MultiPathNet(get_family(family), Topology.full(num_stages))
    weights = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    return weights | {"heads.cls.classifier.classify.bias": torch.zeros(9)}


def saved(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    save_weights(folder / "w.safetensors", weights)
    return folder / "w.safetensors"


def test_first_weights_from_a_supernet(tmp_path):
    model, weights = build("cls"), supernet_weights()
    left = load_initial(model, saved(tmp_path, weights))
    assert left == Fresh(tuple(f"head.{name}" for name in model.head.state_dict()), ())
    assert all(torch.equal(t, weights[f"network.{n}"]) for n, t in model.network.state_dict().items())


def test_first_weights_from_a_trained_model_of_other_classes(tmp_path):
    with forked(7):
        trained = build_model(spec_of("cls", classes=("a", "b"))).state_dict()
    model = build("cls")
    left = load_initial(model, saved(tmp_path, trained))
    assert left.head == ("head.classifier.classify.weight", "head.classifier.classify.bias")
    assert all(torch.equal(t, trained[n]) for n, t in model.state_dict().items() if n not in left.head)


def test_blocks_that_a_supernet_lacks_start_from_its_trunk(tmp_path):
    model, weights = build("cls", topology=named_topology("panet", 7)), supernet_weights()
    left = load_initial(model, saved(tmp_path, weights), "copied")
    assert left.blocks == ("s3_p1", "s4_p0", "s5_p1", "s6_p2", "s7_p3")
    own = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in own.items() if name in weights)
    last = [model.network.trunk[3][index] for index in model.network.family.block_sources(3)]
    for ours, theirs in zip(model.network.blocks["s7_p3"], last, strict=True):
        copied = theirs.conv_dw.weight
        assert torch.equal(ours.conv_dw.weight[: len(copied)], copied)


def test_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"does not fit the model: network\.trunk"):
        load_initial(build("cls"), saved(tmp_path, supernet_weights("A")))
    before = build("cls", topology=named_topology("unet", 4))
    damaged = {name: w for name, w in supernet_weights().items() if "s1_p3.0" not in name}
    with pytest.raises(InputError, match=r"network\.blocks\.s1_p3\.\S+ is missing, .* and more"):
        load_initial(before, saved(tmp_path, damaged))
    with pytest.raises(InputError, match="cannot read weights"):
        load_initial(before, tmp_path / "absent.safetensors")
