"""Lite MaskFormer and the classifier as meta-architectures against our own models; skipped without Detectron2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad

from fbnetv5.archs.topology import Topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import forked
from fbnetv5.base.types import IGNORE
from fbnetv5.data.geometry import normalised
from fbnetv5.data.inputs import InputSpec
from fbnetv5.model.task_net import ModelSpec, TaskNet, build_model
from tests.d2.detectors import needs_detectron2

pytestmark = needs_detectron2

SEG, CLS = "fbnetv5.heads.lite_maskformer.LiteMaskFormer", "fbnetv5.heads.classifier.Classifier"
OPTIONS = {SEG: {"embedding_channels": 32, "num_queries": 10, "hidden_channels": 64, "dropout": 0.0}, CLS: {}}
TOPOLOGY = {SEG: "configs/topologies/seg.yaml", CLS: "configs/topologies/cls.yaml"}
SIZES = [(60, 90), (64, 64), (75, 50)]


def config(head: str, *changes: Any) -> Any:
    import fbnetv5.d2
    from fbnetv5.d2.runner import FBNetV5Runner

    fbnetv5.d2.register()
    cfg = FBNetV5Runner.get_default_cfg()
    for key, value in OPTIONS[head].items():
        cfg.MODEL.FBNETV5.HEAD[key] = value
    keys = {
        "MODEL.META_ARCHITECTURE": "FBNetV5Segmentation" if head == SEG else "FBNetV5Classification",
        "MODEL.DEVICE": "cpu",
        "MODEL.FBNETV5.FAMILY": "NANO",
        "MODEL.FBNETV5.TOPOLOGY": TOPOLOGY[head],
        "MODEL.FBNETV5.NUM_CLASSES": 5,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 5,
        "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
        "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
        "INPUT.FORMAT": "RGB",
    }
    cfg.merge_from_list([*(part for item in keys.items() for part in item), *changes])
    return cfg


def built(head: str, *changes: Any) -> Any:
    from d2go.modeling.api import build_d2go_model

    return build_d2go_model(config(head, *changes)).model


def ours(head: str, theirs: nn.Module) -> TaskNet:
    """Build our own model with the weights of another one, all of them by name."""
    spec = ModelSpec(
        "NANO",
        Topology.load(TOPOLOGY[head]),
        {"_target_": head, **OPTIONS[head]},
        tuple("abcde"),
        InputSpec(64, multiple=32),
    )
    model = build_model(spec)
    model.load_state_dict(theirs.state_dict(), strict=True)
    return model


def pictures(sizes: list[tuple[int, int]]) -> list[Tensor]:
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (4, 4, 3), np.uint8) for _ in sizes]
    drawn = [Image.fromarray(n).resize((width, height)) for n, (height, width) in zip(noise, sizes, strict=True)]
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in drawn]


def settle(model: nn.Module, inputs: list[dict[str, Any]]) -> Any:
    """Give the normalisation statistics of images, as after a training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(inputs)
    return model.eval()


def labelled() -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    masks = [torch.from_numpy(random.choice([0, 1, 2, 3, 4, 255], size)) for size in SIZES]
    return [{"image": image, "sem_seg": mask, "label": 2} for image, mask in zip(pictures(SIZES), masks, strict=True)]


def segmentation() -> Any:
    """Build a model that finds several classes."""
    with forked(0):
        model = built(SEG)
        nn.init.normal_(model.head.segmentation_module.classify.weight, std=20)
        nn.init.normal_(model.head.segmentation_module.embed[4].weight, std=20)
        return settle(model, labelled())


def test_an_exported_classifier_takes_batches_of_any_number():
    from fbnetv5.d2.classification import Probabilities

    with forked(0):
        model = settle(built(CLS), [{"image": 255 * torch.rand(3, 64, 64), "label": 2} for _ in range(4)])
    one, two = torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64)
    traced = torch.jit.trace(Probabilities(model), one)
    torch.testing.assert_close(traced(two), model.probabilities(two))


def test_scores_have_the_stored_size_and_our_own_classes():
    model = segmentation()
    own = ours(SEG, model).eval()
    inputs = [{"image": image, "height": 2 * image.shape[1], "width": 2 * image.shape[2]} for image in pictures(SIZES)]
    for entry in inputs:
        with torch.no_grad():
            (output,) = model([entry])
        assert output["sem_seg"].shape == (5, entry["height"], entry["width"])
        height, width = entry["image"].shape[1:]
        images = pad(normalised(entry["image"]), missing(entry["image"], -(-height // 32) * 32, -(-width // 32) * 32))
        with torch.no_grad():
            (expected,) = own(
                images[None], true_sizes=[(height, width)], output_sizes=[(entry["height"], entry["width"])]
            )
        assert len(expected.unique()) > 1
        assert (output["sem_seg"].argmax(0) == expected).float().mean() > 0.999  # but for ties up to rounding
    with torch.no_grad():
        together = model(inputs)  # padded to a common size
    assert [output["sem_seg"].shape for output in together] == [(5, e["height"], e["width"]) for e in inputs]


def test_losses_are_our_own():
    with forked(0):
        model = built(SEG).train()
    own = ours(SEG, model).train()
    inputs = labelled()
    losses = model(inputs)
    height, width = 96, 96
    images = torch.stack([pad(normalised(e["image"]), missing(e["image"], height, width)) for e in inputs])
    targets = [
        {"segmentation": pad(e["sem_seg"].to(torch.uint8), missing(e["image"], height, width), value=IGNORE)}
        for e in inputs
    ]
    expected = own(images, targets)
    assert losses.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-4, atol=1e-5)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def missing(image: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    return 0, width - image.shape[2], 0, height - image.shape[1]


def test_another_value_can_be_ignored():
    with forked(0):
        model = built(SEG, "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", 7)
    mask = torch.tensor([[7, 1], [2, 7]])
    (target,) = model._target({"sem_seg": mask}, (2, 3)).values()
    assert target.tolist() == [[IGNORE, 1, IGNORE], [2, IGNORE, IGNORE]]


@pytest.mark.parametrize("head", [SEG, CLS])
def test_torchscript_equals_the_eager_model(head, tmp_path):
    from d2go.export.exporter import convert_and_export_predictor
    from mobile_cv.predictor.api import create_predictor

    same_size = [
        {**entry, "image": entry["image"][:, :50, :50], "sem_seg": entry["sem_seg"][:50, :50]} for entry in labelled()
    ]
    with forked(0):
        model = settle(built(head), same_size)
    key = "sem_seg" if head == SEG else "scores"
    first = [{"image": pictures(SIZES)[0], "height": 120, "width": 180}]
    predictor = create_predictor(
        convert_and_export_predictor(config(head), model, "torchscript", str(tmp_path), [first])
    )
    for image in pictures(SIZES):  # of other sizes, too, than the one that was traced
        inputs = [{"image": image, "height": 100, "width": 80}]
        with torch.no_grad():
            expected, found = model(inputs)[0][key], predictor(inputs)[0][key]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_int8_is_near_the_eager_model(tmp_path):
    from d2go.export.exporter import convert_and_export_predictor
    from mobile_cv.predictor.api import create_predictor

    model = segmentation()
    inputs = [{"image": pictures(SIZES)[0], "height": 60, "width": 90}]
    with torch.no_grad():
        expected = model(inputs)[0]["sem_seg"]
    cfg = config(SEG, "QUANTIZATION.EAGER_MODE", False, "QUANTIZATION.BACKEND", "qnnpack")
    path = convert_and_export_predictor(cfg, model, "torchscript_int8", str(tmp_path), [inputs])
    with torch.no_grad():
        found = create_predictor(path)(inputs)[0]["sem_seg"]
    correlation = torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1]
    assert 0.8 < correlation < 0.99999  # of weights that nothing has trained
    content = torch.jit.load(str(next(Path(path).rglob("model.jit")))).inlined_graph
    assert "quantized::conv2d" in str(content)


def test_a_classifier_learns_and_predicts_as_our_own():
    same = [{**entry, "image": entry["image"][:, :48, :48]} for entry in labelled()]
    with forked(0):
        model = built(CLS).train()
    own = ours(CLS, model).train()
    images = torch.stack([normalised(entry["image"]) for entry in same])
    expected = own(images, [{"label": 2}] * 3)["loss_label"]
    torch.testing.assert_close(model(same)["loss_label"], expected, rtol=1e-4, atol=1e-5)
    own.load_state_dict(model.state_dict())
    with torch.no_grad():
        for found, scores in zip(model.eval()(same), own.eval()(images), strict=True):
            torch.testing.assert_close(found["scores"], scores, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_built_or_fed_is_refused():
    for message, head, *changes in (
        ("MODEL.FBNETV5.TOPOLOGY is missing", SEG, "MODEL.FBNETV5.TOPOLOGY", ""),
        ("MODEL.FBNETV5.NUM_CLASSES is 0", CLS, "MODEL.FBNETV5.NUM_CLASSES", 0),
    ):
        with pytest.raises(InputError, match=message):
            built(str(head), *changes)
    inputs = [{"image": torch.zeros(3, 64, 64), "file_name": "a.jpg"}]
    with pytest.raises(InputError, match=r"a\.jpg has no mask"):
        built(SEG).train()(inputs)
    with pytest.raises(InputError, match="mask value 5 is neither a class"):
        built(SEG).train()([{**inputs[0], "sem_seg": torch.full((64, 64), 5)}])
    with pytest.raises(InputError, match=r"a\.jpg has no label"):
        built(CLS).train()(inputs)
    with pytest.raises(InputError, match="label 5 is none of 0 to 4"):
        built(CLS).train()([{**inputs[0], "label": 5}])
    with pytest.raises(InputError, match="differ in size"):
        built(CLS).eval()([*inputs, {"image": torch.zeros(3, 32, 64)}])
