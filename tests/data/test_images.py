from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import UndecodableImageError
from fbnetv5.data.images import image_header, read_image, read_mask
from fbnetv5.data.mask_codes import MaskCode

RED = np.zeros((4, 6, 3), np.uint8) + np.array([200, 30, 10], np.uint8)


def test_rgb_is_read_as_stored(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), torch.from_numpy(pixels).permute(2, 0, 1))
    assert image_header(tmp_path / "a.png") == ((7, 5), 1)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", ".png"), ("P", ".png"), ("CMYK", ".jpg"), ("RGB", ".webp")])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RED).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (3, 4, 6)
    assert (image.float().mean((1, 2)) - torch.tensor([200.0, 30.0, 10.0])).abs().max() < 8


def test_grey_is_repeated_and_16_bits_are_scaled_to_8(tmp_path: Path) -> None:
    grey = np.array([[0, 100, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    for name in ("8.png", "16.png"):
        assert read_image(tmp_path / name).tolist() == [[[0, 100, 255]]] * 3


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    image = Image.fromarray(RED)
    exif = image.getexif()
    exif[0x0112] = 6  # stored on its side
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [("truncate", "truncated"), ("empty", "the file is empty"), ("text", "not an image"), ("remove", "no such file")],
)
def test_an_unreadable_image_is_named(tmp_path: Path, damage: str, message: str) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    content = {"truncate": whole[: len(whole) // 2], "empty": b"", "text": b"hello, world\n" * 20}.get(damage)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UndecodableImageError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert image_header(path) == (((64, 64), 1) if damage == "truncate" else None)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN])
def test_a_fault_of_the_machine_is_none_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing(path: Path) -> None:
        raise OSError(code, "it failed")

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", failing)
    with pytest.raises(InputError, match=r"a.png: cannot be read") as caught:
        read_image(tmp_path / "a.png")
    assert not isinstance(caught.value, UndecodableImageError)


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT, errno.EINVAL])
def test_a_fault_of_one_file_is_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def failing(path: Path) -> None:
        raise OSError(code, "it failed")

    monkeypatch.setattr(Image, "open", failing)
    with pytest.raises(UndecodableImageError):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_holds_class_ids_and_255(tmp_path: Path, mode: str) -> None:
    ids = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    image = Image.fromarray(ids)
    if mode == "P":
        image = Image.frombytes("P", (3, 2), ids.tobytes())
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(tmp_path / "m.png")
    assert torch.equal(read_mask(tmp_path / "m.png", 3, (3, 2)), torch.from_numpy(ids))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 3]], np.uint8), "mask value 3"),
        (np.zeros((2, 2), np.uint8), "the mask has 2x2 pixels, its image 2x1"),
        (np.zeros((1, 2, 3), np.uint8), "one channel of class ids, whole numbers; this one is RGB"),
    ],
)
def test_a_wrong_mask_is_refused(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "m.png", 3, (2, 1))


def test_an_unreadable_mask_is_no_undecodable_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read this mask: no such file") as caught:
        read_mask(tmp_path / "m.png", 3, (2, 1))
    assert not isinstance(caught.value, UndecodableImageError)


def test_the_values_of_a_mask_of_one_bit_are_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    with pytest.raises(
        InputError, match=r"value 1 is neither in data\.mask_values .*; a mask of one bit holds 0 and 1"
    ):
        read_mask(tmp_path / "a.png", 2, (2, 1), MaskCode({0: 0, 255: 1}))
    with pytest.raises(InputError, match="mask value 1 is neither a class"):
        read_mask(tmp_path / "a.png", 1, (2, 1))
