"""Weights of Detectron2's models: what is read, what only if trusted, and old names."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fbnetv5.base.errors import InputError
from fbnetv5.d2.weights import load_weights


class Renamed(nn.Linear):
    """A layer whose weights had another name in its first version, as MaskFormer's head."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *arguments):
        if (local_metadata.get("version") or 1) < 2 and f"{prefix}bias" in state_dict:  # as old files have it
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *arguments)


def model(seed: int = 0) -> nn.Module:
    layers = nn.Sequential(Renamed(3, 2), nn.BatchNorm1d(2))
    for value in layers.state_dict().values():
        value.copy_(torch.full_like(value, seed + 1))
    layers.register_buffer("pixel_mean", torch.zeros(3))
    return layers


def weights(without: str = "pixel_mean") -> dict[str, torch.Tensor]:
    return {name: value for name, value in model(5).state_dict().items() if name != without}


def write(file: Path, values: dict[str, torch.Tensor]) -> str:
    if file.suffix == ".safetensors":
        save_file(values, file)
    elif file.suffix == ".pkl":
        arrays = {name: value.numpy() for name, value in values.items()}
        file.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}))
    else:
        torch.save({"model": values, "iteration": 7}, file)
    return str(file)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pkl"])
@pytest.mark.parametrize("old", [False, True])
def test_weights_are_loaded_by_name_and_old_names_are_converted(tmp_path, name, old):
    loaded, values = model(), weights()
    if old:
        values["0.kernel"] = values.pop("0.weight")
    load_weights(loaded, write(tmp_path / name, {**values, "surplus": torch.zeros(1)}), trust_pickle=True)
    for key, value in loaded.state_dict().items():
        assert value.eq(0 if key == "pixel_mean" else 6).all(), key


def test_pickles_are_read_only_if_trusted(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": Evil()}))
    with pytest.raises(InputError, match=r"is a pickle, which can run any code .* set trust_pickle: true") as caught:
        load_weights(model(), str(tmp_path / "evil.pkl"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"0.bias": None}, r"lacks 0\.bias$"), ({"0.bias": torch.zeros(3)}, r"size mismatch for 0\.bias")],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, message):
    values = {name: value for name, value in {**weights(), **change}.items() if value is not None}
    with pytest.raises(InputError, match=message) as caught:
        load_weights(model(), write(tmp_path / "a.pth", values))
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_weights_are_refused(tmp_path):
    (tmp_path / "garbage.pkl").write_bytes(b"garbage")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    for name, message in (("garbage", "cannot read"), ("list", "holds no weights"), ("absent", "cannot read")):
        with pytest.raises(InputError, match=message):
            load_weights(model(), str(tmp_path / f"{name}.pkl"), trust_pickle=True)
