"""Images of an export: those that a file is rated on, and those that int8 is calibrated with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from torch import Tensor

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size, Source, UndecodableImageError
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.data.subset import Subset
from fbnetv5.export.tasks import tasks_of
from fbnetv5.jobs.evaluate import classes_of
from fbnetv5.model.folder import FinalModel


def rated_source(config: RunConfig, model: FinalModel) -> Source | None:
    """Return up to ``export.num_evaluated`` validation images a task, of all tasks together; None where there is none.

    What cannot be read is left out here, where ``data.undecodable`` says so, so that all is rated on the same images.
    """
    source = build_val_source(config.data, classes_of(model))
    if source is None:
        return None
    labelled = [source.labelled(task.target.name) for task in tasks_of(model).values()]
    chosen = sorted(set[int]().union(*(spread(rows, config.export.num_evaluated) for rows in labelled)))
    if config.data.undecodable == "skip":
        chosen = [row for row, _ in _readable(config, source, chosen)]
    return Subset(source, chosen) if chosen else None


def training_source(config: RunConfig, model: FinalModel) -> Source | None:
    """Open the training split, for calibration and the images' sizes; None if it is of other classes, without int8.

    Raises:
        InputError: int8 is wanted, and the classes are not the model's.
    """
    needed = "int8" in config.export.precisions
    if not needed and (config.export.size is not None or model.spec.input.crop is not None):
        return None
    source = build_source(config.data)
    for target, classes in classes_of(model).items():
        found = tuple(source.classes.get(target, ()))
        if found == classes or (not found and len(tasks_of(model)) > 1):  # which may have learnt from several splits
            continue
        names = f"{', '.join(found[:3]) or 'none'} ... instead of {', '.join(classes[:3])} ..."
        if needed:
            raise InputError(
                f"int8 is calibrated on the training split under data, whose classes of '{target}' are not the "
                f"model's ({names}): give the data that the model was trained on"
            )
        print(f"the classes of data.train are not the model's ({names}): the input has the model's nominal size")
        return None
    return source


def sizes_of(config: RunConfig, source: Source) -> list[Size]:
    """Return the (height, width) in pixels of the images that :func:`calibration_images` yields."""
    return [(image.shape[1], image.shape[2]) for image in calibration_images(config, source)]


def calibration_images(config: RunConfig, source: Source) -> Iterator[Tensor]:
    """Yield up to ``export.num_calibration`` images of a source, evenly spaced."""
    rows = spread(range(len(source)), config.export.num_calibration)
    return (image for _, image in _readable(config, source, rows))


def _readable(config: RunConfig, source: Source, rows: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Yield rows and their images; ``data.undecodable`` says what becomes of those that cannot be read."""
    for row in rows:
        try:
            yield row, source.load(row, ()).image
        except UndecodableImageError as error:
            if config.data.undecodable == "error":
                raise
            print(f"skipped: {error}", file=sys.stderr)


def spread(rows: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` of the rows, evenly spaced."""
    count = min(count, len(rows))
    return [rows[len(rows) * i // count] for i in range(count)]
