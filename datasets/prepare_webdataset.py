"""Writes an index of webdataset's shards, which stay as they are: uncompressed tar files of samples.

    python datasets/prepare_webdataset.py /data/imagenet 'train-*.tar' train.parquet --classes classes.txt

In a shard, files of one name up to its first dot are a sample: ``0012.jpg``, ``0012.cls``, ``0012.json``,
``0012.seg.png``. Its class is what ``.cls`` holds, a number or one of the names in ``--classes`` (a line each), else
what ``.json`` has under ``--label``; a sample that has neither is unlabelled. ``--masks seg.png`` says how masks of its
pixels end, whose classes stand in ``--mask-classes``. The index lies in the folder of the shards, and is used by
``data.root=/data/imagenet data.train.index=train.parquet``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from fbnetv5.base.documents import kind_of, parse_json, read_text, shortened
from fbnetv5.base.errors import InputError, nearest, one_line_errors
from fbnetv5.base.limits import MAX_COUNT, MAX_DOCUMENT
from fbnetv5.base.types import LABEL, SEGMENTATION
from fbnetv5.cli.arguments import parser_of
from fbnetv5.data.images import IMAGE_SUFFIXES
from fbnetv5.data.index import Index
from fbnetv5.data.tars import list_members, read_member

CLASS, METADATA = ".cls", ".json"
MAX_DIGITS = 9


@one_line_errors()
def main() -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("root", type=Path, help="folder of the shards")
    parser.add_argument("shards", help="pattern of their names in it, in quotes; ** leads through folders")
    parser.add_argument("index", help="name of the file to write, in the same folder")
    parser.add_argument("--classes", type=Path, help="names of the classes, a line each")
    parser.add_argument("--label", default="label", help="key of the class in .json (%(default)s)")
    parser.add_argument("--masks", help="what follows a sample's name in those of masks, such as seg.png")
    parser.add_argument("--mask-classes", type=Path, help="names of their classes, a line each")
    options = parser.parse_args()
    if (options.masks is None) != (options.mask_classes is None):
        raise InputError("--masks and --mask-classes come together")
    if Path(options.shards).is_absolute():
        raise InputError(f"{options.shards}: give the pattern relative to {options.root}")
    shards = sorted(path for path in options.root.glob(options.shards) if path.is_file())
    if not shards:
        raise InputError(f"{options.root}: no file here is called {options.shards}")
    names = None if options.classes is None else read_names(options.classes)
    rows = [
        row
        for shard in track(shards, "shards")
        for row in shard_rows(shard, options.root, options.label, options.masks, names)
    ]
    index = to_index(rows, names, options.mask_classes, f"{options.root / options.shards}")
    index.write(options.root / options.index)
    told = ", ".join(f"{index.num_labelled(target.name):,} with {target.name}" for target in index.targets)
    print(f"{len(index):,} images of {len(shards):,} shards, {told or 'no labels'}: {options.root / options.index}")


def shard_rows(
    shard: Path, root: Path, key: str, masks: str | None, names: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of an index of a shard's images.

    Args:
        shard: the tar file.
        root: the folder that paths are relative to.
        key: of the class in the samples' metadata.
        masks: what follows a sample's name in those of masks.
        names: of the classes, where they are known.

    Raises:
        InputError: the shard is damaged, or a sample has several images or a class that is none.
    """
    place = shard.relative_to(root)
    for sample, files in samples_of(list_members(shard)).items():
        mask = files.get(f".{masks}")
        images = [name for name in files.values() if name.lower().endswith(IMAGE_SUFFIXES) and name != mask]
        if len(images) > 1:
            raise InputError(
                f"{shard}: '{sample}' has several images ({', '.join(images)}): is one its mask (--masks)?"
            )
        for image in images:
            label = label_of(shard, files, key, names)
            yield {"path": f"{place}/{image}", "label": label, "segmentation": mask and f"{place}/{mask}"}


def samples_of(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the files of each sample by what follows its name: ``{"a/1": {".jpg": "a/1.jpg", ".seg.png": ...}}``."""
    samples: dict[str, dict[str, str]] = {}
    for name in names:
        folder, slash, file = name.rpartition("/")
        start, dot, end = file.partition(".")
        samples.setdefault(f"{folder}{slash}{start}", {})[f"{dot}{end}"] = name
    return samples


def label_of(shard: Path, files: Mapping[str, str], key: str, names: Sequence[str] | None) -> int | None:
    """Return the class id of a sample; None where it has none. Raises InputError as :func:`shard_rows`."""
    name = files.get(CLASS) or files.get(METADATA)
    if name is None:
        return None
    try:
        text = read_member(shard, name, MAX_DOCUMENT).decode().strip()
        value = text if name.endswith(CLASS) else read_key(text, key)
    except (OSError, ValueError) as error:
        raise InputError(f"{shard / name}: {error}") from error
    if value is None:
        return None
    known = MAX_COUNT if names is None else len(names)
    if names is not None and value in names:
        number = names.index(value)
        if value.isdecimal() and int(value) < known and int(value) != number:
            raise InputError(f"{shard / name}: '{value}' may be class {value} or the one of that name, {number}")
        return number
    if not value.isdecimal() or len(value) > MAX_DIGITS or int(value) >= known:
        near = nearest(value, names or ())
        raise InputError(f"{shard / name}: '{shortened(value)}' is no class (0 to {known - 1}){near}")
    return int(value)


def read_key(text: str, key: str) -> str | None:
    """Return what stands under a key of a JSON text. Raises ValueError where it is neither text nor a number."""
    document = parse_json(text)
    value = document.get(key) if isinstance(document, dict) else None
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, str))):
        raise ValueError(f"'{key}' should be a class, not {kind_of(value)}")
    return None if value is None else str(value)


def read_names(path: Path) -> list[str]:
    """Return the lines of a file that are not empty. Raises InputError where it cannot be read."""
    try:
        lines = read_text(path, MAX_DOCUMENT).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def to_index(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None, mask_classes: Path | None, origin: str
) -> Index:
    """Return the rows as an index of the targets that any of them has; classes without names are called as numbers."""
    targets, classes = [], {}
    labels = [row["label"] for row in rows if row["label"] is not None]
    if labels:
        targets.append(LABEL)
        classes[LABEL.name] = names or [str(number) for number in range(max(labels) + 1)]
    if mask_classes is not None:
        targets.append(SEGMENTATION)
        classes[SEGMENTATION.name] = read_names(mask_classes)
    known = {"path", *(target.name for target in targets)}
    return Index.from_rows(({key: row[key] for key in known} for row in rows), targets, classes, origin)


if __name__ == "__main__":
    main()
