"""ONNX in int8: convolutions and gates stay in bytes, and give what they do in float32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.squeeze_excite import SqueezeExcite
from torch import Tensor, nn

from fbnetv5.export.formats import Converter
from fbnetv5.export.onnx import INPUT, to_onnx
from fbnetv5.export.onnx_int8 import quantised_onnx

onnxruntime: Any = pytest.importorskip("onnxruntime", reason="the export extra is not installed")

SIZE = (16, 16)


class Block(nn.Module):
    """An inverted residual with every kind of gate, where a deployed model has its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 16, 1),
            nn.Hardswish(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16),
            nn.SiLU(),
            SqueezeExcite(16, gate_layer=nn.Hardsigmoid, act_layer=nn.Hardswish, rd_channels=8),
            nn.Conv2d(16, 4, 1),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.network(images)}


@pytest.fixture(scope="module")
def block() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval()


def images(count: int) -> list[Tensor]:
    return [2 * torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(number)) for number in range(count)]


def quantised(block: nn.Module, folder: Path, *float_parts: str) -> tuple[Any, Counter[str]]:
    """A session of the block in int8, and the operators that onnxruntime makes of it."""
    import onnx

    proto = quantised_onnx(to_onnx(block, SIZE, ["out"]), images(8), float_parts)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3  # none of its warnings that such a file is for this machine alone
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_layers_and_gates_are_computed_in_bytes_and_close_to_float(block, tmp_path):
    session, operators = quantised(block, tmp_path)
    assert operators["QLinearConv"] == 5
    assert operators["QLinearLeakyRelu"] == 3  # two hard-swish and a hard sigmoid
    assert operators["QLinearSigmoid"] == 1
    assert operators["QLinearMul"] == 4
    assert not {"Conv", "HardSigmoid", "HardSwish", "Sigmoid", "Mul"} & operators.keys()
    image = images(9)[-1]
    (found,) = session.run(None, {INPUT: image.numpy()})
    expected = block(image)["out"].detach().numpy()
    error = np.abs(found - expected) / np.ptp(expected)
    assert error.mean() < 0.01
    assert error.max() < 0.1, "single values; processors without VNNI cut off sums of two products"


def test_parts_that_are_named_stay_in_float(block, tmp_path):
    operators = quantised(block, tmp_path, "network.1", "network.4")[1]
    assert operators["QLinearLeakyRelu"] == 0
    assert operators["HardSigmoid"] + operators["HardSwish"] > 0
    assert operators["QLinearConv"] == 3


def test_files_of_all_precisions_are_traced_once_and_are_what_they_are_alone(block, monkeypatch):
    traced: list[nn.Module] = []

    def counted(model: nn.Module, *others: Any) -> Any:
        traced.append(model)
        return to_onnx(model, *others)

    monkeypatch.setattr("fbnetv5.export.formats.to_onnx", counted)
    given = [(None, ()), (images(8), ()), (images(8), ("network.1",)), (None, ())]
    converter = Converter(block, SIZE)
    files = [converter.convert("onnx", *one).data for one in given]
    assert len(traced) == 1
    assert files[0] == files[3]
    assert len({*files}) == 3
    assert files[:3] == [Converter(block, SIZE).convert("onnx", *one).data for one in given[:3]]


def test_a_hard_swish_in_bytes_is_off_by_steps_of_its_bytes(tmp_path):
    torch.manual_seed(0)
    block = nn.Module()
    block.network = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Hardswish())
    block.network[0].weight.data = torch.eye(3)[..., None, None]
    block.forward = lambda images: (block.network(images),)
    session, _ = quantised(block.eval(), tmp_path)
    image = torch.linspace(-6, 6, 3 * SIZE[0] * SIZE[1]).reshape(1, 3, *SIZE)
    (found,) = session.run(None, {INPUT: image.numpy()})
    reach = max(float(each.max()) for each in images(8))  # of what it is calibrated on, a little above the mean's
    seen = image.abs() < 3
    error = np.abs(found - nn.functional.hardswish(image).numpy())[seen.numpy()]
    assert error.max() < 2 * (2 * reach / 255)
