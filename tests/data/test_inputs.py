from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.data.geometry import resized_size
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.transforms import eval_transform, train_transform

SPEC = InputSpec(short_side=800, long_side=1333, multiple=32, mean=(0.5, 0.5, 0.25), std=(0.5, 0.25, 1.0))
SIZES = [(48, 64), (65, 48), (20, 24), (1, 1), (8, 300)]


def noise(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("short_side", "crop"), [(40, 32), (20, 32)])
def test_a_crop_is_what_evaluation_takes(size: tuple[int, int], short_side: int, crop: int) -> None:
    image = noise(*size)
    expected, _ = eval_transform(short_side, crop)(image, {}, [])
    assert torch.equal(InputSpec(short_side=short_side, crop=crop).prepare(image), expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_image_is_what_training_takes(size: tuple[int, int]) -> None:
    image = noise(*size)
    expected, _ = train_transform(40, None, long_side=90, flip=False)(image, {}, [])
    prepared = InputSpec(short_side=40, long_side=90, multiple=32).prepare(image)
    assert torch.equal(prepared, expected)
    assert prepared.shape == (3, *resized_size(*size, 40, 90))


def test_pixels_are_normalised_with_the_specs_own_statistics() -> None:
    image = noise(8, 8)
    spec = InputSpec(short_side=8, mean=SPEC.mean, std=SPEC.std)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    torch.testing.assert_close(spec.prepare(image), (image / 255 - mean) / std)
    padded = InputSpec(short_side=8, crop=16, mean=SPEC.mean, std=SPEC.std).prepare(image)
    assert padded[:, 8:].abs().max() < 0.01  # its own mean colour


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (InputSpec(short_side=256, crop=224), (224, 224)),
        (InputSpec(short_side=800, long_side=1333, multiple=32), (800, 1344)),
        (InputSpec(short_side=500, multiple=32), (512, 512)),
        (InputSpec(short_side=300), (300, 300)),
    ],
)
def test_the_size_that_costs_are_stated_at(spec: InputSpec, size: tuple[int, int]) -> None:
    assert spec.nominal_size() == size


@pytest.mark.parametrize("spec", [SPEC, InputSpec(short_side=256, crop=224)])
def test_plain_data_and_back(spec: InputSpec) -> None:
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_plain_data() -> None:
    assert InputSpec(short_side=256, crop=224).to_dict() == {
        "short_side": 256,
        "long_side": None,
        "crop": 224,
        "multiple": 1,
        "mean": list(IMAGENET.mean),
        "std": list(IMAGENET.std),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shortside": 3}, "unknown key 'shortside'"),
        ({"short_side": None}, "input.short_side"),
        ({"short_side": "256"}, "input.short_side is '256'"),
        ({"short_side": 256.0}, "input.short_side is 256.0"),
        ({"crop": True}, "input.crop"),
        ({"crop": 0}, "input.crop"),
        ({"multiple": None}, "input.multiple is None"),
        ({"mean": [0.5, 0.5]}, "input.mean is .*three numbers"),
        ({"mean": [0.5, 0.5, "x"]}, "input.mean is .*three numbers"),
        ({"std": [1.0, 0.0, 1.0]}, "input.std is .*above 0"),
        ({"std": [1.0, float("nan"), 1.0]}, "input.std is .*three numbers"),
    ],
)
def test_other_data_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputSpec.from_dict({**SPEC.to_dict(), **change})


def test_missing_data_are_refused() -> None:
    for key in SPEC.to_dict():
        data = SPEC.to_dict()
        del data[key]
        with pytest.raises(InputError, match=f"input.{key} is missing"):
            InputSpec.from_dict(data)
    with pytest.raises(InputError, match="input should be an object"):
        InputSpec.from_dict([])  # type: ignore[arg-type]
