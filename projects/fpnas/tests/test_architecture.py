"""Macro structures and architectures: MobileNetV2 as reference, files, multipliers, bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fbnetv5.base.errors import InputError
from fbnetv5.projects.fpnas.architecture import Architecture
from fbnetv5.projects.fpnas.macro import MACROS, NUM_BLOCKS, Macro, Place
from fbnetv5.projects.fpnas.scale import classifier_macs, main
from fbnetv5.projects.fpnas.space import block_type, valid_types


def residual(macro: Macro, conv: str = "k3e6") -> Architecture:
    """The architecture with a residual connection wherever there can be one, as MobileNetV2 has them."""
    return Architecture.of(macro, [f"{'add' if at.keeps_shape else 'conv'} {conv}" for at in macro.positions])


def test_there_are_16_blocks_and_10_of_them_keep_the_shape():
    assert NUM_BLOCKS == 16
    assert sum(position.keeps_shape for position in MACROS["imagenet"].positions) == 10
    assert sum(map(len, map(valid_types, MACROS["imagenet"].positions))) == 10 * 21 + 6 * 4


def test_strides_are_those_of_the_papers_networks():
    assert sorted(set(MACROS["imagenet"].strides)) == [4, 8, 16, 32]
    assert sorted(set(MACROS["cifar10"].strides)) == [1, 2, 4]  # three fewer strides of 2


def test_the_macro_is_mobilenet_v2s():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.mobilenet_v2(num_classes=10)
    ours = residual(MACROS["imagenet"]).cost((224, 224)).params + 320 * 1280 + 2 * 1280 + 1280 * 10 + 10
    assert ours == sum(parameter.numel() for parameter in model.parameters())


def test_mobilenet_v2_has_300_million_macs():
    """Table 2: 300 M MACs on ImageNet."""
    assert classifier_macs(residual(MACROS["imagenet"]), (224, 224), 1000) == pytest.approx(300e6, rel=0.01)


def test_costs_of_all_types_are_those_of_the_blocks():
    macro, size = MACROS["cifar10"], (32, 32)
    macs = macro.type_macs(size)
    architecture = residual(macro, "k5e8")
    chosen = [
        row[valid_types(at).index(kind)]
        for row, at, kind in zip(macs, macro.positions, architecture.types, strict=True)
    ]
    assert macro.fixed_cost(size).macs + sum(chosen) == architecture.cost(size).macs


def test_a_file_gives_back_what_was_saved(tmp_path: Path):
    architecture = residual(MACROS["cifar10"]).with_type(4, block_type("split-cross-concat k5e8"))
    architecture.save(tmp_path / "a.yaml", {"accuracy": 0.9})
    assert Architecture.load(tmp_path / "a.yaml") == architecture
    assert Architecture.from_dict(architecture.as_dict()) == architecture


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("type", "add k3e7", "there is no block type 'add k3e7'"),
        ("type", "add k3e6", "block 1 cannot be 'add k3e6'"),
        ("type", 3, "block 1: type is 3, not a name"),
        ("channels", 0, "block 1: channels"),
        ("stride", 3, "block 1: stride"),
        ("strides", 1, "block 1: unknown key 'strides'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, key: str, value: object, message: str):
    document = residual(MACROS["cifar10"]).as_dict()
    document["blocks"][0][key] = value
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=message) as caught:
        Architecture.load(tmp_path / "a.yaml")
    assert str(tmp_path / "a.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"expected a mapping with the keys stem, first, blocks, got a list"),
        ("stem: {channels: 8, stride: 1}", "the key 'first' is missing"),
        ("{stem: 1, first: 2, blocks: []}", "blocks should be a list"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_file_that_describes_nothing_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        Architecture.load(tmp_path / "a.yaml")


def test_a_missing_file_and_a_missing_type_are_said():
    with pytest.raises(InputError, match=r"cannot read architecture nowhere\.yaml"):
        Architecture.load("nowhere.yaml")
    with pytest.raises(InputError, match="1 block types"):
        Architecture.of(MACROS["cifar10"], ["conv k3e6"])


def test_twice_as_wide_doubles_all_channels():
    macro = MACROS["cifar10"]
    wide = macro.scaled(2.0)
    assert [place.channels for place in wide.places] == [2 * place.channels for place in macro.places]
    assert (wide.stem.channels, wide.first.channels) == (64, 32)
    assert wide.strides == macro.strides


def test_scaling_to_a_bound_is_as_wide_as_it_can_be():
    architecture, size = residual(MACROS["imagenet"]), (224, 224)
    for bound in (150e6, 300e6):
        scaled, multiplier = architecture.scaled_to(bound, lambda a: classifier_macs(a, size, 1000))
        assert classifier_macs(scaled, size, 1000) < bound
        assert classifier_macs(architecture.scaled(multiplier + 0.001), size, 1000) >= bound
    assert scaled == architecture.scaled(multiplier)


def test_a_bound_that_no_width_meets_is_said():
    with pytest.raises(InputError, match="a bound of 1,000,000 MACs"):
        residual(MACROS["imagenet"]).scaled_to(1e6, lambda a: a.cost((224, 224)).macs)


def test_an_image_smaller_than_the_stride_is_said():
    with pytest.raises(InputError, match="16 x 31 pixels"):
        residual(MACROS["imagenet"]).cost((16, 31))


def test_the_scale_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    residual(MACROS["imagenet"]).save(tmp_path / "a.yaml")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    main([*files, "--bound", "200e6"])
    assert classifier_macs(Architecture.load(tmp_path / "b.yaml"), (224, 224), 1000) < 200e6
    main([*files, "--bound", "100e6", "--size", "32", "--macro", "cifar10", "--divisor", "4"])
    moved = Architecture.load(tmp_path / "b.yaml")
    assert set(moved.macro.strides) == {1, 2, 4}
    assert moved.types == residual(MACROS["cifar10"]).types
    with pytest.raises(SystemExit):
        main([*files, "--bound", "200"])
    assert capsys.readouterr().err.startswith("error: a bound of 200 MACs is met by no width")


def test_dilation_takes_the_place_of_strides():
    macro = Macro(Place(8, 2), Place(8), (Place(8, 2), Place(8, 2), Place(8), Place(8, 2), Place(8)))
    assert macro.strides == (4, 8, 8, 16, 16)
    dilated = macro.dilated(4)
    assert set(dilated.strides) == {4}
    assert [place.dilation for place in dilated.places] == [1, 1, 2, 2, 4]
    with pytest.raises(InputError, match="output_stride=2"):
        macro.dilated(2)
