"""D2Go's exporter: TorchScript finds what the eager model finds; batch normalisation is folded; int8 still works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fbnetv5.d2.convert import to_detectron2
from fbnetv5.d2.rcnn_config import to_config
from tests.d2.detectors import DET, d2_config, detector, images, needs_detectron2

pytestmark = [needs_detectron2, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::torch.jit.TracerWarning")]
INT8 = {"MODEL.META_ARCHITECTURE": "FBNetV5QuantizableRCNN", "QUANTIZATION.EAGER_MODE": False}


def built(**overrides: Any) -> tuple[Any, nn.Module]:
    """Return D2Go's config and model of a detector of ours."""
    from d2go.modeling.api import build_d2go_model

    ours = detector()
    cfg = d2_config(d2go=True)
    cfg.merge_from_other_cfg(type(cfg)(to_config(ours.spec, topology=DET, weights="")))
    cfg.merge_from_list([part for item in overrides.items() for part in item])
    model = build_d2go_model(cfg.clone()).model.eval()
    model.load_state_dict(to_detectron2(ours.state_dict()))
    return cfg, model


def batches() -> list[list[dict[str, Any]]]:
    return [[{"image": one, "height": 2 * one.shape[1], "width": 2 * one.shape[2]}] for one in images()]


def exported(tmp_path: Any, cfg: Any, model: nn.Module, kind: str) -> Any:
    from d2go.export.exporter import convert_and_export_predictor
    from mobile_cv.predictor.api import create_predictor

    return create_predictor(convert_and_export_predictor(cfg, model, kind, str(tmp_path), batches()))


def test_folding_changes_nothing_but_rounding():
    from fbnetv5.d2.export import folded

    _, model = built()
    without = folded(model)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in without.modules())
    batch = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = model.backbone(batch)["path1"], without.backbone(batch)["path1"]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", ["torchscript@tracing", "torchscript"])
def test_torchscript_finds_what_the_eager_model_finds(tmp_path, kind):
    cfg, model = built()
    assert cfg.RCNN_PREPARE_FOR_EXPORT == "fbnetv5_prepare_for_export"
    with torch.no_grad():
        expected = [model(batch)[0]["instances"] for batch in batches()]
        proposals = model.proposal_generator(*features(model, batches()[0]))[0][0]
    assert len(proposals) == 30
    predictor = exported(tmp_path, cfg, model, kind)
    for batch, eager in zip(batches(), expected, strict=True):  # of four sizes; the first was traced
        found = predictor(batch)[0]["instances"]
        assert len(found) > 20
        assert torch.equal(found.pred_classes, eager.pred_classes)
        torch.testing.assert_close(found.pred_boxes.tensor, eager.pred_boxes.tensor, atol=1e-2, rtol=1e-4)
        torch.testing.assert_close(found.scores, eager.scores, atol=1e-4, rtol=0)


def features(model: Any, batch: list[dict[str, Any]]) -> tuple[Any, Any]:
    prepared = model.preprocess_image(batch)
    return prepared, model.backbone(prepared.tensor)


def test_int8_is_close_to_float32_and_exports(tmp_path):
    from d2go.export.exporter import convert_model, export_predictor
    from mobile_cv.predictor.api import create_predictor

    from fbnetv5.d2.export import folded

    cfg, model = built(**INT8)
    quantised = convert_model(cfg, model, "torchscript_int8", batches())
    assert not any(type(module) in (nn.Conv2d, nn.Linear) for module in quantised.modules())
    feature = model.preprocess_image(batches()[0]).tensor
    trunks = (folded(model).backbone.network.trunk, quantised.backbone.network.trunk)
    for partition, in_int8 in zip(*trunks, strict=True):
        with torch.no_grad():
            expected, found = partition(feature), in_int8(feature)
        assert 0 < (found - expected).norm() < 0.2 * expected.norm()
        feature = expected
    predictor = create_predictor(export_predictor(cfg, quantised, "torchscript_int8", str(tmp_path), batches()))
    for batch in batches():
        assert len(predictor(batch)[0]["instances"]) > 0
