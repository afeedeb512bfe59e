"""From the ``data`` node of a config to a source of images, and from a source to a rank's batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from torch.utils.data import DataLoader

from fbnetv5.config import DataConfig, RunConfig
from fbnetv5.data.build import build_index
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.multitask import Batch, MultitaskDataset, Source, Target, checked, collate
from fbnetv5.data.sampler import StepSampler
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.transforms import train_transform
from fbnetv5.engine.distributed import World
from fbnetv5.errors import InputError


def build_source(config: DataConfig) -> Source:
    """Open the training split: your files under ``data.root``, or the shapes world where that is null.

    Raises:
        InputError: a file or folder is missing, or its content is wrong.
    """
    if config.root is None:
        if any(vars(config.train).values()):
            raise InputError("data.train names files, but not where they lie: give data.root=FOLDER")
        return ShapesSource(config.shapes.num_images, config.shapes.size, config.shapes.seed)
    root = Path(config.root).expanduser().absolute()
    if not root.is_dir():
        raise InputError(f"data.root={config.root}: there is no such folder")
    files = config.train
    if files.index is not None:
        return IndexSource(Index.read(root / files.index), root)
    if files.images is None:
        raise InputError("give data.train.images, a folder below data.root, or data.train.index")
    index = build_index(
        root,
        files.images,
        labels=files.labels,
        boxes=files.boxes,
        masks=files.masks,
        mask_classes=config.mask_classes,
        unannotated=config.unannotated,  # type: ignore[arg-type]  # one of the two, checked with the configuration
    )
    return IndexSource(index, root)


def build_loader(
    config: RunConfig, source: Source, targets: Iterable[Target], world: World, start_step: int, num_steps: int
) -> Iterator[Batch]:
    """Yield this rank's batches of the steps ``start_step`` .. ``num_steps - 1``.

    Raises:
        InputError: an image cannot be read or its targets are wrong; the message names it.
    """
    data, runtime = config.data, config.runtime
    dataset = MultitaskDataset(
        source,
        list(dict.fromkeys(targets)),
        train_transform(data.short_side, data.crop, flip=data.flip, area=_area(data)),
        seed=config.seed,
        undecodable=data.undecodable,  # type: ignore[arg-type]  # one of the two, checked with the configuration
    )
    sampler = StepSampler(
        len(source),
        config.search.batch_size,
        num_steps=num_steps,
        seed=config.seed,
        start_step=start_step,
        rank=world.rank,
        world_size=world.size,
    )
    pin = world.device.type == "cuda"
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=runtime.workers, collate_fn=collate, pin_memory=pin)
    return (checked(batch) for batch in loader)


def _area(config: DataConfig) -> tuple[float, float] | None:
    if config.area is None:
        return None
    if len(config.area) != 2 or not 0 < config.area[0] <= config.area[1] <= 1:
        raise InputError(f"data.area={config.area} should be two shares of an image, such as [0.08, 1.0]")
    return config.area[0], config.area[1]
