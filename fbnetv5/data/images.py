"""Reads image, mask and depth files into tensors, of folders and of tar files.

Pixels are read as they are stored; who reads them decides whether an EXIF orientation turns them upright, because
annotations may be in either frame (``data.orientation``). Transparency is dropped and 16-bit grey is scaled to 8 bits.
"""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE, Size, UndecodableImageError
from fbnetv5.data.mask_codes import MaskCode
from fbnetv5.data.orientation import TURNS, Extent, turn_pixels
from fbnetv5.data.tars import source_of

# what damaged bytes lead PIL's decoders to; a lack of memory or a fault of ours is neither
DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
MACHINE_ERRORS = {  # OSErrors that say nothing of the file: another attempt, or another machine, may read it
    *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),
    *(errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}
ORIENTATION = 0x0112  # the EXIF tag
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # in any case
PNG_TAGS = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}  # entries of a PNG that may hold an orientation


def read_image(path: Path, *, upright: bool = False) -> Tensor:
    """Decode a file to RGB, uint8 [3, H, W], as it is stored, or ``upright``, as a person sees it.

    Raises:
        UndecodableImageError, InputError: as :func:`read_stored`.
    """
    pixels, orientation = read_stored(path)
    return turn_pixels(pixels, orientation) if upright else pixels


def read_stored(path: Path) -> tuple[Tensor, int]:
    """Decode a file to RGB, uint8 [3, H, W], as it is stored, and its EXIF orientation, 1 to 8.

    The channels of a pixel lie side by side in memory, as decoders have them: images are resized twice as fast so.

    Raises:
        UndecodableImageError: the file is missing, empty, damaged or no image.
        InputError: the machine could not read it, for want of a disk, a mount, memory or open files.
    """
    try:
        with Image.open(source_of(path)) as image:
            pixels = np.array(to_rgb(image))
            orientation = orientation_of(image)
    except DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            raise InputError(
                f"{path}: cannot be read: {error.strerror}; this is no fault of the image, but of the disk, the mount "
                "or the limits of this machine"
            ) from error
        raise UndecodableImageError(f"{path}: cannot read this image: {_reason(path, error)}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1), orientation


AS_IT_STANDS = MaskCode()  # of masks whose values are class ids


def read_mask(path: Path, num_classes: int, size: Size, code: MaskCode = AS_IT_STANDS) -> Tensor:
    """Decode a mask to class ids, uint8 [H, W].

    Args:
        path: of the mask.
        num_classes: pixels are 0 to ``num_classes - 1``, or 255 to be ignored.
        size: (width, height) that the mask must have: the image's.
        code: what its pixels mean; by default they are class ids in one channel, grey or palette.

    Raises:
        InputError: it cannot be read, has several channels or fractions, another size or other values or colours.
    """
    try:
        with Image.open(source_of(path)) as image:
            image.load()  # what it shows stays when the file is closed
    except DECODER_ERRORS as error:
        raise InputError(f"{path}: cannot read this mask: {_reason(path, error)}") from error
    try:
        pixels = code.decode(image)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if (pixels.shape[1], pixels.shape[0]) != size:
        raise InputError(
            f"{path}: the mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, its image {size[0]}x{size[1]}"
        )
    if pixels.max() >= num_classes or pixels.min() < 0:
        wrong = pixels[((pixels >= num_classes) & (pixels != IGNORE)) | (pixels < 0)]
        if wrong.size:
            value = int(wrong[0])  # of a mask of one bit, too
            raise InputError(f"{path}: mask value {value} is neither a class (0 to {num_classes - 1}) nor {IGNORE}")
    return torch.from_numpy(pixels.astype(np.uint8, copy=False))


def mask_values(path: Path, code: MaskCode = AS_IT_STANDS) -> set[int] | None:
    """Return the class ids that a mask file holds, without 255; None if it cannot be read, as loading it says why."""
    try:
        with Image.open(source_of(path)) as image:
            return {int(value) for value in np.unique(code.decode(image))} - {IGNORE}
    except DECODER_ERRORS:
        return None


def read_depth(path: Path, scale: float, size: Size) -> Tensor:
    """Decode a 16-bit grey PNG, as KITTI and NYU Depth store depth, to metres, float32 [H, W]; NaN where it is unknown.

    Args:
        path: of the file.
        scale: the value of a pixel that is one metre away; 0 is unknown.
        size: (width, height) that the map must have: the image's.

    Raises:
        InputError: it cannot be read, has several channels, 8 bits or another size.
    """
    try:
        with Image.open(source_of(path)) as image:
            mode, values = image.mode, np.array(image)
    except DECODER_ERRORS as error:
        raise InputError(f"{path}: cannot read this depth map: {_reason(path, error)}") from error
    if not mode.startswith("I"):
        raise InputError(f"{path}: a depth map has one channel of 16 bits, this one is {mode}")
    if (values.shape[1], values.shape[0]) != size:
        raise InputError(
            f"{path}: the depth map has {values.shape[1]}x{values.shape[0]} pixels, its image {size[0]}x{size[1]}"
        )
    return torch.from_numpy(np.where(values == 0, np.nan, values / scale).astype(np.float32))


def image_header(path: Path) -> tuple[Extent, int] | None:
    """Return (width, height) as stored and the EXIF orientation, from a file's header; None if it cannot be read."""
    try:
        with Image.open(source_of(path)) as image:
            untagged = image.format == "PNG" and not PNG_TAGS & image.info.keys()  # else it is decoded to look for one
            return image.size, 1 if untagged else orientation_of(image)
    except DECODER_ERRORS:  # loading the image will say what is wrong with it
        return None


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1, stored as it is seen, where there is none that is sound."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except (*DECODER_ERRORS, AttributeError):
        return 1
    return orientation if isinstance(orientation, int) and orientation in TURNS else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB of 8 bits."""
    if image.mode.startswith("I"):  # 16-bit grey, which PIL's own conversion would cut off at 255
        grey = np.clip(np.asarray(image).astype(np.int64) // 257, 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if _is_empty(path):
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_empty(path: Path) -> bool:
    try:
        source = source_of(path)
        if isinstance(source, Path):
            return source.is_file() and source.stat().st_size == 0
        return not source.getbuffer()
    except (OSError, ValueError):  # its folder may not be entered, or its tar file is damaged
        return False
