"""From the ``data`` node of a config, or a folder, to sources of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import is_uri, local_path
from fbnetv5.base.types import Source
from fbnetv5.config.schema import DataConfig, FilesConfig
from fbnetv5.data.build import build_index
from fbnetv5.data.frames import choose_frames
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.mask_checks import check_masks
from fbnetv5.data.mask_codes import mask_code
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.tars import is_file, is_folder, is_tar

FIRST_VAL_SHAPE = 10**9  # number of the shapes data set's first validation image, whatever its training split holds


def build_source(config: DataConfig) -> Source:
    """Open the training split: your files under ``data.root``, or the shapes data set where that is null.

    Raises:
        InputError: a file or folder is missing, or its content is wrong.
    """
    if config.root is None:
        _require_no_files("train", config.train)
        shapes = config.shapes
        return ShapesSource(shapes.num_images, shapes.size, shapes.seed, world=shapes.world)
    return _open_split(config, "train", config.train, {})


def build_val_source(config: DataConfig, classes: Mapping[str, tuple[str, ...]]) -> Source | None:
    """Open the validation split; None where ``data.val`` names no files under ``data.root``.

    Args:
        config: says where it is; where ``data.root`` is null, it is the shapes data set's own validation split.
        classes: the class names of the training split, by target; class ids are positions in them.

    Raises:
        InputError: a file or folder is missing, its content is wrong, or its classes are not the training split's.
    """
    if config.root is None:
        _require_no_files("val", config.val)
        shapes = config.shapes
        source: Source = ShapesSource(
            shapes.num_val_images, shapes.size, shapes.seed, first=FIRST_VAL_SHAPE, world=shapes.world
        )
    elif any(vars(config.val).values()):
        source = _open_split(config, "val", config.val, classes)
    else:
        return None
    for name in source.classes.keys() & classes.keys():
        _require_same_classes(name, source.classes[name], classes[name])
    return source


def build_folder_source(place: Path) -> IndexSource:
    """Open all images below a folder or in a tar file, or one image, without labels; upright, as a person sees them.

    Raises:
        InputError: there is no such folder or file, or no image in it.
    """
    if is_file(place) and not is_tar(place):
        return IndexSource(Index.from_rows([{"path": place.name}], (), {}, str(place)), place.parent)
    return IndexSource(build_index(place, "."), place)


def _open_split(
    config: DataConfig, split: str, files: FilesConfig, classes: Mapping[str, tuple[str, ...]]
) -> IndexSource:
    """Open the files of a split; ``classes`` are those that another split has settled."""
    root = local_path(str(config.root)).absolute()
    if not is_folder(root):
        whole = "" if Path(str(config.root)) == root else f" as {root}"
        raise InputError(f"data.root={config.root}: there is no such folder{whole}")
    files = with_local_copies(files)
    if files.index is not None:
        return in_frames(config, split, Index.read(root / files.index, root), root, root / (files.images or "."))
    if files.images is None:
        raise InputError(f"give data.{split}.images, a folder below data.root, or data.{split}.index")
    index = build_index(
        root,
        files.images,
        labels=files.labels,
        boxes=files.boxes,
        masks=files.masks,
        depth_maps=files.depth_maps,
        keypoints=files.keypoints,
        label_classes=classes.get("label"),
        box_classes=classes.get("boxes"),
        mask_classes=config.mask_classes or classes.get("segmentation", ()),
        keypoint_names=classes.get("keypoints"),
        depth_scale=config.depth_scale,
        unannotated=config.unannotated,  # type: ignore[arg-type]  # one of the two, checked with the configuration
    )
    return in_frames(config, split, index, root, root)


def with_local_copies(files: FilesConfig) -> FilesConfig:
    """Return the files of a split with paths in the place of URIs; paths stay, below data.root or absolute."""
    uris = {key: value for key, value in vars(files).items() if value is not None and is_uri(value)}
    return replace(files, **{key: str(local_path(value).absolute()) for key, value in uris.items()})


def in_frames(config: DataConfig, split: str, index: Index, root: Path, images: Path) -> IndexSource:
    """Open the images of a split with their labels, each in the frame that its labels are in."""
    code = mask_code(config.mask_values, config.mask_ignore, len(index.classes.get("segmentation", ())))
    check_masks(index, root, num_classes=2 if split == "train" else 1, code=code)
    return IndexSource(index, root, images=images, frames=choose_frames(config.exif, index, root, images), code=code)


def _require_no_files(split: str, files: FilesConfig) -> None:
    if any(vars(files).values()):
        raise InputError(f"data.{split} names files, but not where they lie: give data.root=FOLDER")


def _require_same_classes(name: str, found: Sequence[str], expected: Sequence[str]) -> None:
    """Raise InputError with the first difference between the class names of two splits."""
    start = f"data.val: the classes of '{name}' are not those of the training split: "
    for position, (own, other) in enumerate(zip(found, expected, strict=False)):
        if own != other:
            raise InputError(f"{start}class {position} is '{own}' instead of '{other}'")
    if len(found) != len(expected):
        raise InputError(f"{start}{len(found)} instead of {len(expected)}")
