"""Finds images, class folders, mask files and labels csv files below a folder, or in its tar files."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import require_regular
from fbnetv5.data.images import IMAGE_SUFFIXES
from fbnetv5.data.tars import SUFFIX as TAR_SUFFIX
from fbnetv5.data.tars import is_folder, is_tar, list_members

MASK_SUFFIX = ".png"


def list_images(folder: Path) -> list[str]:
    """Return the images below a folder, sorted, relative to it.

    A file is an image by its suffix.

    Raises:
        InputError: as :func:`list_files`, or there is no image.
    """
    names = list_files(folder, IMAGE_SUFFIXES)
    if not names:
        raise InputError(f"{folder}: no images here ({', '.join(IMAGE_SUFFIXES)})")
    return names


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files below a folder that end in one of ``suffixes``, in any case, sorted, relative to it.

    Hidden files and folders are left out, and links to a folder that they lie in. Where a folder has no such file,
    those in its tar files are listed, ``shard-0.tar/a.jpg``; a tar file may also stand in the place of the folder.

    Raises:
        InputError: there is no such folder, or a folder or a tar file in it cannot be listed.
    """
    return sorted(_walk_files(folder, suffixes))


def walk_images(folder: Path) -> Iterator[str]:
    """Yield what :func:`list_images` returns in an order of its own, the same each time, a folder after the other.

    It holds the names of one folder or tar file in memory, never those of all.

    Raises:
        InputError: as :func:`list_files`.
    """
    return _walk_files(folder, IMAGE_SUFFIXES)


def class_folders(images: Iterable[str]) -> dict[str, str]:
    """Return the class of each image, which is the name of the first folder that it lies in (``n01440764/1.JPEG``).

    Of an image in a tar file, that is a folder within (``shard-0.tar/n01440764/1.JPEG``).

    Raises:
        InputError: an image lies in no class folder.
    """
    classes = {}
    for name in images:
        folder, separator, _ = name.rpartition(f"{TAR_SUFFIX}/")[2].partition("/")
        if not separator:
            raise InputError(f"image '{name}' lies in no class folder")
        classes[name] = folder
    return classes


def find_masks(folder: Path, images: Iterable[str], *, what: str = "mask") -> dict[str, str]:
    """Return the mask of each image that has one: the PNG of the same name below ``folder``, relative to it.

    Args:
        folder: of the masks, searched with its subfolders.
        images: names of the images.
        what: a word for messages, as depth maps are named like masks.

    Raises:
        InputError: there is no such folder, no image has a mask, or two images would share one.
    """
    available = maps_below(folder)
    masks: dict[str, str] = {}
    owner: dict[str, str] = {}
    for image in images:
        mask = available.get(str(PurePosixPath(image).with_suffix(MASK_SUFFIX)), "")
        if not mask:
            continue
        if mask in owner:
            raise InputError(f"{folder / mask}: the {what} of both '{owner[mask]}' and '{image}'; rename one image")
        owner[mask] = image
        masks[image] = mask
    if not masks:
        raise InputError(f"{folder}: no {what} here has the name of an image (a.jpg needs a{MASK_SUFFIX})")
    return masks


def maps_below(folder: Path) -> dict[str, str]:
    """Return the PNG files below a folder by their names with the suffix in small letters."""
    names = sorted(list_files(folder, (MASK_SUFFIX,)))  # of a.PNG and a.png the latter counts
    return {name[: -len(MASK_SUFFIX)] + MASK_SUFFIX: name for name in names}


def read_labels(path: Path) -> dict[str, str]:
    """Read a csv file with the columns ``file_name`` and ``label``: file name -> class name; empty = unlabelled.

    Raises:
        InputError: the file is missing, empty, not csv, has a quote that is not closed, a line with too many values,
            lacks a column or lists an image twice, or two labels differ in blanks alone.
    """
    labels: dict[str, str] = {}
    try:
        require_regular(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames is None:
                raise InputError(f"{path}: the labels file is empty")
            missing = {"file_name", "label"} - set(reader.fieldnames)
            if missing:
                raise InputError(f"{path}: no column '{min(missing)}'; it has {', '.join(reader.fieldnames)}")
            for row in reader:
                name = row["file_name"]
                if None in row:
                    raise InputError(
                        f"{path}: line {reader.line_num} has more values than there are columns; a value with a comma "
                        "stands in quotes"
                    )
                if name in labels:
                    raise InputError(f"{path}: line {reader.line_num}: image '{name}' is listed more than once")
                labels[name] = row["label"] or ""
    except InputError:
        raise
    except csv.Error as error:
        quote = "; is a quote not closed?" if "unexpected end" in str(error) or "expected after" in str(error) else ""
        raise InputError(f"{path}: after line {reader.line_num}: {error}{quote}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot read this labels file: {reason}") from error
    _check_blanks(labels.values(), path)
    return {name: label for name, label in labels.items() if label}


def _check_blanks(labels: Iterable[str], path: Path) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        other = seen.setdefault(label.strip(), label)
        if other != label:
            raise InputError(f"{path}: the labels '{other}' and '{label}' differ in blanks alone; write one of them")


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct class names in the order of their ids: numbers by value, names by the alphabet."""
    names = sorted(set(labels))  # names of the same value, such as 1 and 01, then stay in this order
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _walk_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    if not is_folder(folder):
        raise InputError(f"{folder}: no such folder")
    if is_tar(folder):
        yield from _walk_tar(folder, "", suffixes)
        return
    has_files = False
    for name in _walk(folder, "", suffixes, frozenset()):
        has_files = True
        yield name
    if not has_files:
        for name in _walk(folder, "", (TAR_SUFFIX,), frozenset()):
            yield from _walk_tar(folder / name, f"{name}/", suffixes)


def _walk_tar(tar: Path, prefix: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    return (prefix + name for name in list_members(tar) if name.lower().endswith(suffixes))


def _walk(folder: Path, prefix: str, suffixes: tuple[str, ...], above: frozenset[str]) -> Iterator[str]:
    """Yield the files of a folder, then those of its folders; ``above`` are the real paths of those it lies in."""
    place = os.path.realpath(folder)
    if place in above:  # a link that leads back here, again and again
        return
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _kind(entry)) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot list this folder: {error.strerror or error}") from error
    for name, kind in found:
        if kind != _FOLDER and name.lower().endswith(suffixes):
            _check_file(folder, prefix + name, kind)
            yield prefix + name
    for name, kind in found:
        if kind == _FOLDER:
            yield from _walk(folder / name, f"{prefix}{name}/", suffixes, above | {place})


def _check_file(folder: Path, name: str, kind: str) -> None:
    """Raise InputError for what an index cannot name: a pipe, or an image whose path is not UTF-8."""
    place = folder / name.rpartition("/")[2]
    if kind == _OTHER:
        raise InputError(f"{place}: no file, but a pipe, a device or a socket; move it elsewhere")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        if not name.lower().endswith(IMAGE_SUFFIXES):
            return
        raise InputError(f"{str(place)!r}: the name is not UTF-8, which an index cannot hold; rename it") from error


_FOLDER, _FILE, _OTHER = "folder", "file", "other"


def _kind(entry: os.DirEntry[str]) -> str:
    """Return what an entry of a folder is; of a link, what it leads to. One that leads nowhere counts as a file."""
    try:
        if entry.is_dir():
            return _FOLDER
        return _FILE if entry.is_file() or not Path(entry.path).exists() else _OTHER
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return _FILE
        raise
