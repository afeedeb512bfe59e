"""Images in memory: every one once an epoch, cut and mirrored as asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.config.schema import DataConfig, FilesConfig
from fbnetv5.data.geometry import normalised
from fbnetv5.data.sources import build_source
from fbnetv5.projects.fpnas.images import (
    ImageSet,
    augment,
    check_data,
    class_names,
    decode,
    epoch_batches,
    load_split,
    save_split,
    split,
    val_batches,
)
from fbnetv5.projects.fpnas.tests.searches import COLOURS, write_images


def numbered(count: int, side: int = 6) -> ImageSet:
    """Images whose pixels say which image, row and column they are: red, green and blue."""
    pixels = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    pixels[:, 0] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    pixels[:, 1] = torch.arange(side, dtype=torch.uint8)[:, None]
    pixels[:, 2] = torch.arange(side, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count))


def test_an_epoch_has_every_image_once_in_batches_of_equal_size():
    images = numbered(23)
    batches = list(epoch_batches(images, 5, crop=4, flip=True, shuffle=torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 4, 4]
    seen = torch.cat([labels for _, labels in batches])
    assert seen.tolist() != list(range(23))
    assert sorted(seen.tolist()) == list(range(23))
    again = list(epoch_batches(images, 5, crop=4, flip=True, shuffle=torch.Generator().manual_seed(0)))
    for (pixels, _), (repeated, _) in zip(batches, again, strict=True):
        assert torch.equal(pixels, repeated)


def test_a_crop_is_a_window_of_its_own_image_mirrored_half_of_the_time():
    images = numbered(200)
    cut = augment(images.pixels, 4, flip=True, draws=torch.Generator().manual_seed(0)).long()
    assert cut.shape == (200, 3, 4, 4)
    assert torch.equal(cut[:, 0], torch.arange(200)[:, None, None].expand(-1, 4, 4))
    rows, columns = cut[:, 1], cut[:, 2]
    assert torch.equal(rows, (rows[:, :1, :1] + torch.arange(4)[:, None]).expand_as(rows))
    steps = columns[:, 0, 1] - columns[:, 0, 0]  # 1, or -1 where it is mirrored
    assert torch.equal(columns, (columns[:, :1, :1] + steps[:, None, None] * torch.arange(4)).expand_as(columns))
    assert 70 < (steps == -1).sum() < 130
    assert set(rows[:, 0, 0].tolist()) == {0, 1, 2}
    assert torch.equal(augment(images.pixels, 6, flip=False, draws=torch.Generator()), images.pixels)


def test_validation_images_are_cut_in_the_middle_in_order():
    images = numbered(7)
    batches = list(val_batches(images, 3, crop=4))
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(7))
    assert torch.equal(torch.cat([pixels for pixels, _ in batches]), normalised(images.pixels[:, :, 1:5, 1:5]))


def test_cifar10_is_split_as_in_section_4_1():
    images = ImageSet(torch.zeros(50_000, 3, 1, 1, dtype=torch.uint8), torch.arange(50_000))
    train, val = split(images, 0.1, seed=0)
    assert (len(train), len(val)) == (45_000, 5_000)
    assert sorted(torch.cat([train.labels, val.labels]).tolist()) == list(range(50_000))
    assert torch.equal(split(images, 0.1, seed=0)[1].labels, val.labels)
    assert not torch.equal(split(images, 0.1, seed=1)[1].labels, val.labels)
    with pytest.raises(InputError, match=r"validation_share=0.1 of 3 images"):
        split(numbered(3), 0.1, seed=0)


def test_class_folders_are_decoded_resized_and_kept_in_a_file(tmp_path):
    root = write_images(tmp_path / "train", count=2, side=20)
    data = DataConfig(root=str(root.parent), train=FilesConfig(images="train", labels="train"), short_side=40, crop=32)
    source = build_source(data)
    images = decode(source, 40)
    assert class_names(source) == tuple(COLOURS)
    assert images.pixels.shape == (6, 3, 40, 40)
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    colours = images.pixels.float().mean(dim=(2, 3))
    assert torch.allclose(colours, torch.tensor(list(COLOURS.values()), dtype=torch.float)[images.labels], atol=12)
    train, val = split(images, 0.5, seed=0)
    save_split(tmp_path / "images", train, val)
    for saved, part in zip(load_split(tmp_path / "images"), (train, val), strict=True):
        assert torch.equal(saved.pixels, part.pixels)
        assert torch.equal(saved.labels, part.labels)


def test_a_data_set_with_one_class_is_one_clear_sentence(tmp_path):
    write_images(tmp_path / "train", count=2, colours={"red": (200, 40, 50)})
    data = DataConfig(root=str(tmp_path), train=FilesConfig(images="train", labels="train"))
    with pytest.raises(InputError, match=r"data.train have 1 class\(es\)"):
        class_names(build_source(data))


def test_what_images_in_memory_cannot_do_is_refused():
    data = DataConfig(short_side=40, crop=32)
    assert check_data(data) == 32
    for changed, message in (
        (replace(data, area=[0.1, 1.0]), "data.area has no effect"),
        (replace(data, color="photometric"), "data.color=photometric has no effect"),
        (replace(data, crop=48), "data.crop=48 should be a side of at most data.short_side=40"),
        (replace(data, crop=None), "data.crop=None"),
    ):
        with pytest.raises(InputError, match=message):
            check_data(changed)
