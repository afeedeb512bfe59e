"""Loaders side by side: the program's, plain torchvision and Detectron2's mapper, on the same images, augmented alike.

Each decodes an image, augments it, normalises it (but for Detectron2, whose models do so) and hands batches from its
workers over to this process.
"""

from __future__ import annotations

import importlib.util
import resource
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fbnetv5.base.distributed import World, pick_device
from fbnetv5.base.errors import InputError
from fbnetv5.base.normalisation import IMAGENET
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION, Target
from fbnetv5.config.schema import DataConfig
from fbnetv5.data.index import IndexSource
from fbnetv5.data.loader import build_loader
from fbnetv5.data.subset import Subset

SIDE, CROP, BATCH = 256, 224, 32
AREA = (0.08, 1.0)
OURS, PIXELS, PICTURES, DETECTRON2 = "fbnetv5", "torchvision, tensors", "torchvision, PIL", "Detectron2"
Loader = Callable[[int], Iterable[Any]]  # from the number of a round to its batches


@dataclass(frozen=True)
class Setting:
    """What is read of an image; and how it is cut, as a crop of any area or, at one scale, as a crop of one size."""

    name: str
    targets: tuple[Target, ...]
    area: bool


SETTINGS = (
    Setting("classes; crops of 8 to 100 % of an image become 224x224", (LABEL,), area=True),
    Setting("classes, boxes, masks; 224x224 of a short side of 256", (LABEL, BOXES, SEGMENTATION), area=False),
)


@dataclass(frozen=True)
class Size:
    """The size of a benchmark: images that each loader loads a round, rounds that count, processes that load."""

    num_images: int
    rounds: int
    workers: int


def measure_loaders(source: IndexSource, setting: Setting, size: Size) -> dict[str, list[float]]:
    """Return the images a second of CPU time, that of workers included, of each loader, a number a round.

    Each loads as many of the labelled images in turn, again and again where they are few. A first round is not counted.

    Raises:
        InputError: there are not even enough for a batch.
    """
    labelled = set.intersection(*(set(source.labelled(target.name)) for target in setting.targets))
    rows = sorted(labelled)[: size.num_images]
    if len(rows) < BATCH:
        raise InputError(f"{source.index.origin}: {len(rows)} images have labels of each kind: too few, give {BATCH}")
    loaders: dict[str, Loader] = {
        OURS: _ours(source, setting, rows, size),
        PIXELS: _torchvision(source, setting, rows, size, as_tensor=True),
    }
    if setting.area:  # torchvision's own recipes crop PIL images
        loaders[PICTURES] = _torchvision(source, setting, rows, size, as_tensor=False)
    if not setting.area and has_detectron2():
        from benchmarks.loaders_d2 import mapped

        loaders[DETECTRON2] = _loader(mapped([entry_of(source, row, setting) for row in rows], SIDE, CROP), size, list)
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(size.rounds + 1):
        for name, loader in loaders.items():
            began = _cpu_seconds()
            for _ in loader(number):
                pass
            speeds[name].append(size.num_images / (_cpu_seconds() - began))
    return {name: values[1:] for name, values in speeds.items()}


def _cpu_seconds() -> float:
    """Return the seconds that this process and those of its workers that have ended took of a core."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def has_detectron2() -> bool:
    """Whether Detectron2 is installed."""
    return importlib.util.find_spec("detectron2") is not None


def ratios(speeds: dict[str, list[float]], other: str) -> list[float]:
    """Return how many times as fast as another the program's loader is, a number a round."""
    return [ours / theirs for ours, theirs in zip(speeds[OURS], speeds[other], strict=True)]


def _ours(source: IndexSource, setting: Setting, rows: Sequence[int], size: Size) -> Loader:
    data = DataConfig(short_side=SIDE, crop=CROP, area=list(AREA) if setting.area else None)
    alone, few = World(0, 1, pick_device("cpu")), Subset(source, rows)
    num_steps = size.num_images // BATCH
    given: dict[str, Any] = {"batch_size": BATCH, "workers": size.workers, "seed": 0}

    def batches(number: int) -> Iterable[Any]:
        steps = range(number * num_steps, (number + 1) * num_steps)
        return build_loader(data, few, setting.targets, alone, steps=steps, **given)

    return batches


def _torchvision(source: IndexSource, setting: Setting, rows: Sequence[int], size: Size, *, as_tensor: bool) -> Loader:
    entries = [entry_of(source, row, setting) for row in rows]
    dataset = Plain(entries, _steps(setting, as_tensor=as_tensor))
    return _loader(dataset, size, None if setting.area else _listed)


def _loader(dataset: Any, size: Size, collate: Callable[..., Any] | None) -> Loader:
    """Return torch's own loader of a data set, shuffled."""

    def batches(number: int) -> Iterable[Any]:
        random = torch.Generator().manual_seed(number)
        sampler = RandomSampler(dataset, num_samples=size.num_images, generator=random)
        return DataLoader(dataset, BATCH, sampler=sampler, collate_fn=collate, num_workers=size.workers)

    return batches


def _steps(setting: Setting, *, as_tensor: bool) -> v2.Compose:
    """Return torchvision's own transforms, on uint8 tensors or on PIL images as long as they can."""
    if setting.area:
        cut: list[v2.Transform] = [v2.RandomResizedCrop(CROP, scale=AREA, antialias=True)]
    else:
        cut = [v2.Resize(SIDE, antialias=True), v2.RandomCrop(CROP, pad_if_needed=True)]
    steps = [*cut, v2.RandomHorizontalFlip()]
    steps = [v2.PILToTensor(), *steps] if as_tensor else [*steps, v2.PILToTensor()]
    if not setting.area:
        steps.append(v2.SanitizeBoundingBoxes(labels_getter=lambda inputs: inputs[1]["box_labels"]))
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET.mean, IMAGENET.std)])


def entry_of(source: IndexSource, row: int, setting: Setting) -> dict[str, Any]:
    """Return files and labels of a row as plain data: image, label; and mask, boxes, box_labels."""
    names = [key for target in setting.targets for key in target.keys]
    entry = {name: source.index.value(name, row) for name in names}
    if SEGMENTATION.name in entry:
        entry["mask"] = source.root / entry.pop(SEGMENTATION.name)
    return entry | {"image": source.images / source.index.value("path", row)}


class Plain(Dataset):
    """A data set as torchvision's tutorials write them: PIL, tv_tensors and transforms.v2."""

    def __init__(self, entries: Sequence[dict[str, Any]], transform: v2.Compose) -> None:
        self.entries, self.transform = entries, transform

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Any:
        entry = self.entries[index]
        with Image.open(entry["image"]) as opened:
            image = opened.convert("RGB")
        if "mask" not in entry:
            return self.transform(image), entry["label"]
        with Image.open(entry["mask"]) as opened:
            mask = tv_tensors.Mask(functional.pil_to_tensor(opened)[0])
        corners = torch.tensor(entry["boxes"]).reshape(-1, 4)
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(image.height, image.width))
        target = {"boxes": boxes, "box_labels": torch.tensor(entry["box_labels"]), "mask": mask}
        return self.transform(image, target | {"label": entry["label"]})


def _listed(batch: Sequence[tuple[Tensor, Any]]) -> tuple[Tensor, list[Any]]:
    return torch.stack([image for image, _ in batch]), [target for _, target in batch]
