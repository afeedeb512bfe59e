from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, LABEL, SEGMENTATION, Batch, Sample, Source, Target
from fbnetv5.config.schema import DataConfig, RunConfig, RuntimeConfig, ShapesConfig, TrainConfig
from fbnetv5.config.search import SearchConfig
from fbnetv5.data.augmentation import build_augmentation
from fbnetv5.data.build import build_index
from fbnetv5.data.collate import collate
from fbnetv5.data.dataset import MultitaskDataset
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.loader import _batches, build_eval_loader, build_loader, build_train_loader, dead_workers_in_one_line
from fbnetv5.data.packing import pack
from fbnetv5.data.sampler import StepSampler
from fbnetv5.data.shapes import ShapesSource
from fbnetv5.data.sources import build_folder_source, build_source
from tests.data.conftest import HEIGHT, WIDTH, Folder
from tests.processes import FORKS

WHOLE = InputSpec(short_side=32, long_side=96, multiple=32)
CROP = InputSpec(short_side=32, crop=32)


def world(rank: int = 0, size: int = 1) -> World:
    return World(rank, size, torch.device("cpu"))


ALONE = world()


def run_config(*, batch_size: int = 4, workers: int = 0, **data: Any) -> RunConfig:
    defaults = {"short_side": 32, "crop": 32, "shapes": ShapesConfig(num_images=20, size=48)}
    return RunConfig(
        name="test",
        data=DataConfig(**{**defaults, **data}),
        search=SearchConfig(batch_size=batch_size),
        train=TrainConfig(batch_size=batch_size),
        runtime=RuntimeConfig(workers=workers),
    )


def train_batches(config: RunConfig, source: Source, target: Target = LABEL, steps: int = 3) -> list[Batch]:
    return list(loaded(config, source, target, range(steps)))


def loaded(config: RunConfig, source: Source, target: Target, steps: range, at: World = ALONE) -> Iterator[Batch]:
    sizes: dict[str, Any] = {"batch_size": config.train.batch_size, "workers": config.runtime.workers, "seed": 0}
    return build_train_loader(config.data, source, target, at, steps=steps, **sizes)


def searched(config: RunConfig, source: Source, targets: list[Target]) -> Batch:
    """The first batch of a search."""
    sizes: dict[str, Any] = {"batch_size": config.search.batch_size, "workers": 0, "seed": 0}
    return next(build_loader(config.data, source, targets, ALONE, steps=range(1), **sizes))


def eval_batches(source: Source, target: Target | None = None, spec: InputSpec = WHOLE, **options: Any) -> list[Batch]:
    at = options.pop("world", world())
    return list(
        build_eval_loader(
            source,
            [target] if target else [],
            spec,
            at,
            **{"batch_size": 4, "workers": 0, "undecodable": "error", **options},
        )
    )


@pytest.fixture
def odd(tmp_path: Path) -> IndexSource:
    """Images of every mode and of extreme shapes, all labelled, with a mask and a box each."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    colours = Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8))
    images = {
        "grey": colours.convert("L"),
        "rgba": colours.convert("RGBA"),
        "palette": colours.convert("P"),
        "grey16": Image.fromarray(random.integers(0, 65536, (40, 60)).astype(np.uint16)),
        "pixel": colours.crop((0, 0, 1, 1)),
        "wide": Image.fromarray(random.integers(0, 256, (8, 3000, 3), np.uint8)),
        "high": Image.fromarray(random.integers(0, 256, (3000, 8, 3), np.uint8)),
        "line": Image.fromarray(random.integers(0, 256, (1, 500, 3), np.uint8)),
    }
    rows = []
    for name, image in images.items():
        image.save(tmp_path / "images" / f"{name}.png")
        width, height = image.size
        Image.fromarray(random.integers(0, 2, (height, width), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
        labels = {"label": 0, "boxes": [[0, 0, width, height]], "box_labels": [0]}
        rows.append({"path": f"images/{name}.png", "segmentation": f"masks/{name}.png", **labels})
    classes = {"label": ["x"], "boxes": ["x"], "segmentation": ["x", "y"]}
    return IndexSource(Index.from_rows(rows, [LABEL, BOXES, SEGMENTATION], classes, "test"), tmp_path)


@pytest.mark.parametrize("target", [LABEL, BOXES, SEGMENTATION])
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"scale": [0.5, 2.0], "color": "photometric"},
        {"area": [0.1, 1.0]},
        {"crop": None, "long_side": 96, "scale": [0.5, 1.5], "color": "photometric"},
    ],
)
def test_every_image_can_be_trained_on(odd: IndexSource, target: Target, data: dict[str, Any]) -> None:
    config = run_config(batch_size=8, **data)
    (batch,) = train_batches(config, odd, target, steps=1)
    assert sorted(batch.names) == sorted(odd.load(index).name for index in range(len(odd)))
    assert batch.images.isfinite().all()
    assert all(side % 32 == 0 for side in batch.images.shape[-2:])
    assert all(min(size) >= 1 for size in batch.sizes)
    for entry in batch.targets:
        assert set(target.keys) <= entry.keys()
        if target is SEGMENTATION:
            assert entry["segmentation"].shape == batch.images.shape[-2:]


@pytest.mark.parametrize("spec", [WHOLE, CROP])
def test_every_image_can_be_evaluated(odd: IndexSource, spec: InputSpec) -> None:
    batches = eval_batches(odd, SEGMENTATION, spec, batch_size=3)
    assert [len(batch) for batch in batches] == [3, 3, 2]
    stored = [odd.load(index) for index in range(len(odd))]
    assert [name for batch in batches for name in batch.names] == [sample.name for sample in stored]
    assert [size for batch in batches for size in batch.original_sizes] == [tuple(s.image.shape[1:]) for s in stored]
    entries = [entry for batch in batches for entry in batch.targets]
    assert all(torch.equal(e["segmentation"], s.target["segmentation"]) for e, s in zip(entries, stored, strict=True))
    for batch in batches:
        assert all(side % spec.multiple == 0 for side in batch.images.shape[-2:])
        for image, (height, width) in zip(batch.images, batch.sizes, strict=True):
            assert image[:, height:].abs().sum() == image[:, :, width:].abs().sum() == 0


@pytest.mark.parametrize("spec", [WHOLE, CROP])
def test_padding_does_not_depend_on_what_else_is_in_the_batch_but_for_its_size(
    odd: IndexSource, spec: InputSpec
) -> None:
    (together,) = eval_batches(odd, spec=spec, batch_size=8)
    for row, alone in enumerate(eval_batches(odd, spec=spec, batch_size=1)):
        height, width = alone.sizes[0]
        assert together.sizes[row] == alone.sizes[0]
        assert torch.equal(together.images[row, :, :height, :width], alone.images[0, :, :height, :width])


@pytest.mark.parametrize(("num_images", "size"), [(7, 3), (4, 2), (2, 3)])
def test_ranks_share_the_images_without_repeats(num_images: int, size: int) -> None:
    source = ShapesSource(num_images, 32, seed=0)
    ranks = [eval_batches(source, world=world(rank, size), batch_size=2) for rank in range(size)]
    names = [[name for batch in batches for name in batch.names] for batches in ranks]
    assert names == [[f"shapes/{i}" for i in range(rank, num_images, size)] for rank in range(size)]


def test_targets_are_read_only_when_asked_for() -> None:
    source = ShapesSource(2, 32, seed=0)
    assert eval_batches(source)[0].targets == [{}, {}]
    assert eval_batches(source, BOXES)[0].targets[0].keys() == {"boxes", "box_labels"}


def test_workers_and_the_global_generator_do_not_matter_to_evaluation() -> None:
    source = ShapesSource(5, 48, seed=0)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    alone, shared = eval_batches(source, BOXES), eval_batches(source, BOXES, workers=2)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a.images, b.images) for a, b in zip(alone, shared, strict=True))
    assert [b.names for b in alone] == [b.names for b in shared]


def test_a_damaged_image_stops_evaluation_or_is_left_out(folder: Folder) -> None:
    for name in ("a.jpg", "b.jpg"):
        (folder.images / name).write_bytes(b"")
    source = build_folder_source(folder.images)
    with pytest.raises(InputError, match=r"a.jpg: cannot read this image"):
        eval_batches(source)
    batches = eval_batches(source, undecodable="skip", batch_size=2, workers=1)
    assert [batch.names for batch in batches] == [[], ["c.jpg"]]
    assert [len(batch.skipped) for batch in batches] == [2, 0]
    assert len(batches[0].to("cpu")) == 0


def test_training_takes_the_images_that_are_labelled_for_its_target(folder: Folder) -> None:
    source = IndexSource(build_index(**folder.all_labels), folder.root)  # c.jpg has no label
    batches = train_batches(run_config(batch_size=2), source, steps=6)
    assert [sorted(batch.names) for batch in batches] == [["images/a.jpg", "images/b.jpg"]] * 6  # epoch by epoch
    assert all(entry.keys() == {"label"} for batch in batches for entry in batch.targets)
    assert batches[0].original_sizes == [(HEIGHT, WIDTH)] * 2
    assert batches[0].sizes == [(32, 32)] * 2
    with pytest.raises(InputError, match="no image of the training split is labelled with 'depth'"):
        train_batches(run_config(), source, Target("depth", SEGMENTATION.kind))


def test_a_damaged_image_is_replaced_in_training_when_told_so(folder: Folder) -> None:
    (folder.images / "a.jpg").write_bytes(b"")
    source = IndexSource(build_index(**folder.all_labels), folder.root)
    with pytest.raises(InputError, match=r"a.jpg: cannot read this image"):
        train_batches(run_config(batch_size=2), source, steps=1)
    (batch,) = train_batches(run_config(batch_size=2, undecodable="skip"), source, steps=1)
    assert batch.names == ["images/b.jpg"] * 2
    assert len(batch.skipped) == 1


def test_a_mask_that_says_nothing_stays_in_training_and_is_unlabelled_in_a_search(folder: Folder) -> None:
    for name in ("a.png", "b.png"):
        folder.write_mask(name, np.full((HEIGHT, WIDTH), 255, np.uint8))
    source = IndexSource(build_index(**folder.all_labels), folder.root)
    config = run_config(batch_size=2)
    for entry in train_batches(config, source, SEGMENTATION, steps=1)[0].targets:
        assert (entry["segmentation"] == 255).all()
    targets = searched(config, source, [SEGMENTATION]).targets
    assert [entry.keys() for entry in targets] == [set(), set()]


def test_whole_images_are_padded_with_their_masks(odd: IndexSource) -> None:
    config = run_config(batch_size=8, crop=None, long_side=96, flip=False)
    (batch,) = train_batches(config, odd, SEGMENTATION, steps=1)
    assert len(set(batch.sizes)) > 2
    for image, entry, (height, width) in zip(batch.images, batch.targets, batch.sizes, strict=True):
        known = entry["segmentation"] != 255
        assert known.sum() == height * width == known[:height, :width].sum()
        assert image[:, ~known].abs().sum() == 0


def same_batches(found: Iterator[Batch] | list[Batch], expected: list[Batch]) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return all(a.names == b.names and torch.equal(a.images, b.images) for a, b in pairs)


@pytest.mark.parametrize("data", [{"color": "randaugment"}, {"crop": None, "scale": [0.5, 1.0]}])
def test_training_resumes_and_is_shared_exactly(data: dict[str, Any]) -> None:
    config, source = run_config(**data), ShapesSource(10, 48, seed=1)
    whole = train_batches(config, source, steps=4)
    assert same_batches(loaded(config, source, LABEL, range(2, 4)), whole[2:])
    assert same_batches(loaded(run_config(workers=2, **data), source, LABEL, range(4)), whole)
    ranks = [list(loaded(config, source, LABEL, range(4), world(rank, 2))) for rank in range(2)]
    for first, second, batch in zip(*ranks, whole, strict=True):
        assert first.names + second.names == batch.names
        assert first.sizes + second.sizes == batch.sizes


def test_a_search_sees_all_images_in_crops_of_one_size() -> None:
    config = run_config(batch_size=20)
    batch = searched(config, build_source(config.data), [LABEL, BOXES, LABEL])
    assert sorted(batch.names) == sorted(f"shapes/{index}" for index in range(20))
    assert batch.images.shape == (20, 3, 32, 32)
    assert all(entry.keys() == {"label", "boxes", "box_labels"} for entry in batch.targets)


class Deadly:
    """Images of which one sends the process that loads it a signal."""

    def __init__(self, signal_number: int = signal.SIGKILL) -> None:
        self.signal_number = signal_number
        self.source = ShapesSource(20, 48, 0)
        self.classes = self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def load(self, index: int, names: Any = None) -> Any:
        if index == 7:
            os.kill(os.getpid(), self.signal_number)
        return self.source.load(index, names)

    def labelled(self, name: str) -> Any:
        return self.source.labelled(name)

    def num_labelled(self, name: str) -> int:
        return self.source.num_labelled(name)


def bereaved(messages: Queue[Any]) -> None:
    """Hand on what is said of a loader's process that dies."""
    try:
        with dead_workers_in_one_line():  # as a run does
            train_batches(run_config(workers=1), Deadly(), steps=5)
    except InputError as error:
        messages.put(str(error))


def test_a_killed_loader_process_is_one_line() -> None:
    messages = FORKS.Queue()
    process = FORKS.Process(target=bereaved, args=(messages,))  # torch tells of the death a second time, at any place
    process.start()
    try:
        said = messages.get(timeout=60)
    finally:
        process.kill()
    assert re.fullmatch(r"a process that loads images has died .*; try runtime\.workers=0, or fewer", said)


def test_loaders_of_evaluations_outlive_sigterm_as_those_of_trainings_do() -> None:
    batches = eval_batches(Deadly(signal.SIGTERM), workers=1)
    assert sum(map(len, batches)) == 20


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError])
def test_so_is_one_that_is_killed_while_it_hands_over_a_batch(error: type[Exception]) -> None:
    def handing_over() -> Iterator[Any]:
        yield from ()
        raise error

    with pytest.raises(InputError, match=r"has died \(a DataLoader worker ended while it handed over a batch\)"):
        next(_batches(handing_over()))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [{"crop": 24}, {"crop": None, "long_side": 96}])
def test_a_batch_is_its_images_normalised_one_by_one(odd: IndexSource, shape: dict[str, Any]) -> None:
    """Images travel as bytes: the values are those of items that are normalised before, and padding is 0."""
    config = run_config(**shape)
    targets = [LABEL, BOXES, SEGMENTATION]
    batch = searched(config, odd, targets)
    dataset = MultitaskDataset(odd, targets, build_augmentation(config.data, targets), seed=0)
    (draws,) = StepSampler(len(odd), config.search.batch_size, num_steps=1, seed=0)
    expected = collate([dataset[draw] for draw in draws], multiple=1 if config.data.crop else 32, targets=targets)
    assert batch.images.dtype == torch.float32
    assert batch.images.is_contiguous()
    assert same_values(batch, expected)


class InMemory:
    """Images that are drawn once."""

    def __init__(self, num_images: int) -> None:
        self.source = ShapesSource(num_images, 32, seed=0)
        self.classes = self.source.classes
        self.samples = [self.source.load(index) for index in range(num_images)]

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, index: int, names: Any = None) -> Sample:
        return self.samples[index]


def in_few_files(counts: Queue[Any]) -> None:
    """Hold the paper's batch of 8 processes, 48 images each, with masks, boxes and labels, in 1,024 open files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    source: Any = InMemory(48)
    data = run_config(short_side=16, crop=16).data
    given: dict[str, Any] = {"steps": range(8), "batch_size": 48, "seed": 0}
    held, alone = (
        list(build_loader(data, source, [LABEL, BOXES, SEGMENTATION], ALONE, workers=workers, **given))
        for workers in (8, 0)
    )
    counts.put(sum(same_values(*pair) for pair in zip(held, alone, strict=True)))


def same_values(found: Batch, expected: Batch) -> bool:
    """Whether two batches have the same images and targets, of the same types."""
    assert found.names == expected.names
    torch.testing.assert_close(found.images, expected.images, rtol=0, atol=0)
    torch.testing.assert_close(found.targets, expected.targets, rtol=0, atol=0)
    return True


def test_the_papers_batches_take_few_open_files() -> None:
    counts = FORKS.Queue()
    process = FORKS.Process(target=in_few_files, args=(counts,))
    process.start()
    try:
        assert counts.get(timeout=120) == 8
    finally:
        process.kill()  # it would wait for ever for tensors that it could not take


def test_a_packed_batch_is_the_batch(odd: IndexSource) -> None:
    """Masks of many sizes, images without boxes, without any target, and what is no tensor."""
    (batch,) = eval_batches(odd, SEGMENTATION, batch_size=8)
    for row, target in enumerate(batch.targets[:6]):
        target |= {"boxes": torch.rand(row, 4), "box_labels": torch.arange(row), "label": row, "ids": [row]}
    batch.targets[7] = {}
    packed = pack(batch)
    assert [column.name for column in packed.columns] == ["segmentation", "boxes", "box_labels"]
    assert same_values(packed.to(torch.device("cpu")).unpack(), batch)
    empty = Batch(torch.empty(0, 3, 1, 1), skipped=["why"])
    assert pack(empty).unpack() == empty
