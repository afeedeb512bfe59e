"""Architectures as files, and what is computed from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fna.architecture import Architecture
from fbnetv5.projects.fna.block_spec import BlockSpec, Stem
from fbnetv5.projects.fna.network import get_architecture
from fbnetv5.projects.fna.tests.networks import mobile, residual

FILE = """
stem: {channels: 8}
stages:
- - {kind: separable, channels: 8}
- - {kind: mbconv, channels: 16, stride: 2}
"""


@pytest.mark.parametrize("architecture", [mobile(), residual("basic"), residual("bottleneck")])
def test_a_file_holds_the_whole_architecture(architecture: Architecture, tmp_path: Path):
    architecture.save(tmp_path / "a.yaml", {"found": "by hand"})
    assert Architecture.load(tmp_path / "a.yaml") == architecture
    assert Architecture.from_dict(architecture.to_dict()) == architecture


def test_defaults_need_not_be_written(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(FILE)
    architecture = Architecture.load(tmp_path / "a.yaml")
    assert architecture == Architecture(Stem(8), ((BlockSpec("separable", 8),), (BlockSpec("mbconv", 16, 3, 6, 2),)))
    assert architecture.channels == (16, 0, 0, 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("channels: 16", "channel: 16", "stages[1][0]: unknown key 'channel'"),
        ("channels: 16, ", "", "stages[1][0]"),
        ("kind: mbconv", "kind: mbconf", "stages[1][0].kind: unknown kind 'mbconf'"),
        ("stride: 2", "stride: 4", "stages[1][0].stride"),
        ("stride: 2", "kernel: 4", "stages[1][0].kernel"),
        ("stride: 2", "kernel: true", "stages[1][0].kernel"),
        ("stride: 2", "expansion: 0", "stages[1][0].expansion"),
        ("stride: 2", "groups: 2", "stages[1][0].groups: a mbconv block"),
        ("separable,", "separable, expansion: 6,", "stages[0][0].expansion: a separable block"),
        ("kind: mbconv", "kind: basic", "stages: separable and mbconv blocks cannot be mixed"),
        ("stem: {channels: 8}", "stem: {channels: x}", "stem.channels"),
        ("stem: {channels: 8}", "stem: 8", "stem: expected a mapping with the keys channels"),
        ("stem: {channels: 8}", "activation: relu", "the key 'stem' is missing"),
        ("stem:", "activation: tanh\nstem:", "activation: expected relu or relu6"),
        ("stem:", "bn_epsilon: 1\nstem:", "bn_epsilon"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(old: str, new: str, message: str, tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(InputError, match=re.escape(f"architecture {path}: {message}")):
        Architecture.load(path)


def test_unreadable_files_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="cannot read architecture"):
        Architecture.load(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(InputError, match="is not YAML"):
        Architecture.load(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(InputError, match="is not YAML"):
        Architecture.load(tmp_path / "a.yaml")


def test_groups_and_strides_are_checked_where_they_lie():
    with pytest.raises(ValueError, match=r"stages\[0\]\[1\].groups: 3 groups"):
        Architecture(Stem(8), ((BlockSpec("basic", 16), BlockSpec("basic", 16, groups=3)),))
    deep = tuple((BlockSpec("basic", 16, stride=2),) for _ in range(5))
    with pytest.raises(ValueError, match=r"stages\[4\]\[0\].stride"):
        Architecture(Stem(8), deep)


def test_paths_are_the_last_blocks_of_their_strides():
    assert mobile().channels == (8, 16, 24, 32)
    assert [block.path for block in mobile().blocks()] == [-1, 0, 0, 1, 2, 2, 2, 3, 3]
    assert get_architecture("mobilenetv2_100").channels == (24, 32, 96, 320)


@pytest.mark.parametrize(
    ("output_stride", "strides", "dilations", "seconds"),
    [
        (32, [1, 2, 2, 2], [1, 1, 1, 1], [0, 0, 0, 0]),
        (16, [1, 2, 2, 1], [1, 1, 1, 1], [0, 0, 0, 2]),
        (8, [1, 2, 1, 1], [1, 1, 1, 2], [0, 0, 2, 4]),
    ],
)
def test_strides_beyond_the_output_stride_become_dilations(
    output_stride: int, strides: list[int], dilations: list[int], seconds: list[int]
):
    dilated = residual("basic").dilated(output_stride)
    first, later = zip(*dilated.stages, strict=True)
    assert [block.stride for block in first] == strides
    assert [block.dilation for block in first] == dilations
    assert [block.second_dilation for block in first] == seconds
    assert [block.dilation for block in later] == [second or 1 for second in seconds]


def test_other_output_strides_are_refused():
    with pytest.raises(InputError, match="output_stride=4"):
        mobile().dilated(4)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown architecture 'resnet20'"):
        get_architecture("resnet20")
