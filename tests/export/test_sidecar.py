"""Exported files that are damaged, or lie about what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.runtime import load_exported
from fbnetv5.export.sidecar import Sidecar, read_sidecar, sidecar_path, write_sidecar

GARBAGE = bytes(range(256)) * 8


def exported(folder: Path, name: str = "model.onnx", runtime: str = "onnx", content: bytes = GARBAGE) -> Path:
    """A file that is none, with a sidecar that fits it."""
    file = folder / name
    file.write_bytes(content)
    given = {"name": "image", "shape": [1, 3, 64, 64], "resize": InputSpec(64, crop=64).to_dict()}
    outputs = [{"name": "scores", "shape": [2], "dtype": "float32"}]
    write_sidecar(
        file,
        Sidecar(
            runtime=runtime,
            precision="fp32",
            target="label",
            kind="scalar",
            classes=["a", "b"],
            input=given,
            outputs=outputs,
            macs=1,
            params=1,
        ),
    )
    return file


def edited(file: Path, key: str, value: Any) -> Path:
    document = json.loads(sidecar_path(file).read_text())
    if value is None:
        del document[key]
    else:
        document[key] = value
    sidecar_path(file).write_text(json.dumps(document))
    return file


def test_a_sidecar_comes_back(tmp_path):
    assert read_sidecar(exported(tmp_path)).size == (64, 64)


@pytest.mark.parametrize("key", [*Sidecar.__dataclass_fields__])
def test_every_key_is_needed(tmp_path, key):
    with pytest.raises(InputError, match=rf"model\.onnx\.json.*'{key}'"):
        read_sidecar(edited(exported(tmp_path), key, None))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", {}),
        ("input", {"shape": [1, 3, 64, 64]}),
        ("input", {"shape": [1, 3, 10**9, 64], "resize": {}}),
        ("input", {"shape": [1, 3, 64], "resize": {}}),
        ("input", 5),
        ("outputs", 5),
        ("outputs", [5]),
        ("outputs", [{}]),
        ("outputs", [{"name": 5}]),
        ("classes", 5),
        ("classes", "ab"),
        ("classes", [1]),
        ("kind", "unheard of"),
        ("kind", []),
        ("num_bytes", "3"),
        ("sha256", 3),
        ("runtime", []),
    ],
)
def test_a_value_of_another_kind_is_named_as_damage(tmp_path, key, value):
    with pytest.raises(InputError, match=r"model\.onnx\.json is damaged: "):
        read_sidecar(edited(exported(tmp_path), key, value))


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 10**5, '{"format": "1"}', '{"format": 99}'])
def test_a_sidecar_that_is_none(tmp_path, text):
    file = exported(tmp_path)
    sidecar_path(file).write_text(text)
    with pytest.raises(InputError, match=r"model\.onnx\.json"):
        read_sidecar(file)


@pytest.mark.parametrize("content", [GARBAGE, b"\xff" * 5000, b"", bytes(4) + b"ET12" + GARBAGE])
def test_a_file_that_is_no_program_does_not_end_the_process(tmp_path, content):
    pytest.importorskip("executorch", reason="the export extra is not installed")
    with pytest.raises(InputError, match=r"model\.pte (is no program|cannot be loaded)"):
        load_exported(exported(tmp_path, "model.pte", "executorch", content))
