"""What the labeler keeps of the teachers' answers, and what a labelling run writes, however it is cut up."""

from __future__ import annotations

import csv
import errno
import json

import numpy as np
import pytest
import torch
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import IGNORE
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.data.images import read_image, read_mask
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.sources import build_source
from fbnetv5.labeling import shards
from fbnetv5.labeling.labeler import Labeler, keep_boxes, keep_pixels
from fbnetv5.labeling.loading import Loaded
from fbnetv5.labeling.plan import Entry
from fbnetv5.labeling.samples import _shares
from fbnetv5.labeling.teacher import Boxes, Pixels
from tests.jobs.runs import launch
from tests.labeling.fakes import Brightness, MeanBoxes


def label(config_file, output, *overrides):
    run_job(load_config(config_file, [f"output={output}", *overrides]))
    return output


def labels_of(folder):
    """All files whose bytes must not depend on how a run came about."""
    files = [*folder.glob("shards/*/masks/**/*.png"), *folder.glob("shards/*/index.parquet"), *folder.glob("*.csv")]
    files += [folder / "index.parquet", folder / "drawn.png", *folder.glob("plan/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_boxes_below_the_threshold_are_dropped_and_the_others_clipped():
    found = Boxes(
        torch.tensor([[-3.0, 2, 5, 6], [1, 1, 4, 4], [1, 1, 90, 80], [25, 1, 30, 4], [2, 2, 2, 9], [1, 1, np.nan, 4]]),
        torch.tensor([0, 1, 2, 3, 4, 5]),
        torch.tensor([0.5, 0.4999, 0.9, 0.9, 0.9, 0.9]),
    )
    assert keep_boxes(found, (20, 10), 0.5) == ([[0, 2, 5, 6], [1, 1, 20, 10]], [0, 2])
    endless = Boxes(torch.tensor([[0, 0, torch.inf, 10], [-torch.inf, 0, 5, 5]]), torch.zeros(2), torch.ones(2))
    assert keep_boxes(endless, (20, 10), 0.5) == ([], [])
    empty = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert keep_boxes(empty, (20, 10), 0.5) == ([], [])


def test_pixels_below_the_threshold_are_ignored():
    found = Pixels(torch.tensor([[0, 1, 2]], dtype=torch.uint8), torch.tensor([[0.5, 0.4999, np.nan]]))
    kept = keep_pixels(found, 0.5)
    assert kept.tolist() == [[0, IGNORE, IGNORE]]
    assert kept.dtype == torch.uint8
    assert keep_pixels(Pixels(found.labels, torch.tensor([[0.0, 0.1, 1.0]])), 0.0).tolist() == [[IGNORE, 1, 2]]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "0 answers for 1 images"),
        ([Pixels(torch.zeros(4, 5, dtype=torch.uint8), torch.ones(4, 5))], r"\[4, 5\] pixels of an image of \[5, 4\]"),
        ([Pixels(torch.full((5, 4), 2, dtype=torch.uint8), torch.ones(5, 4))], "class id 2"),
    ],
)
def test_answers_that_do_not_fit_are_refused(answers, message):
    class Wrong(Brightness):
        def __call__(self, images):
            return answers

    with pytest.raises(InputError, match=message):
        Labeler(None, Wrong())([Loaded(0, Entry("a", None), torch.zeros(3, 5, 4, dtype=torch.uint8))])


def test_a_folder_becomes_an_index_that_runs_read(config_file, photos, tmp_path, capsys):
    output = label(config_file, tmp_path / "out")
    index = Index.read(output / "index.parquet")
    assert index.classes == {"label": ("cat", "dog"), "boxes": MeanBoxes.classes, "segmentation": Brightness.classes}
    assert len(index) == 14
    source = IndexSource(index, output, images=photos)
    teacher = MeanBoxes()
    for row in range(14):
        sample = source.load(row)
        assert sample.target["label"] == ("cat", "dog").index(sample.name.split("/")[0])
        found = teacher.boxes(read_image(photos / sample.name))
        assert sample.target["box_labels"].tolist() == found.labels[found.scores >= 0.5].tolist()
        level = sample.image.float().mean(0) / 255
        expected = torch.where((level - 0.5).abs() + 0.3 >= 0.5, (level > 0.5).to(torch.uint8), torch.tensor(IGNORE))
        assert torch.equal(sample.target["segmentation"].int(), expected.int())
    empty = [row["boxes"] for row in index.table.to_pylist() if row["boxes"] == []]
    assert empty  # labelled, and nothing is there
    assert index.num_labelled("boxes") == 14

    overrides = [f"data.root={output}", "data.train.index=index.parquet", f"data.train.images={photos}"]
    assert " ".join(overrides) in capsys.readouterr().out
    data = load_config(config_file, overrides).data
    assert build_source(data).load(3).name == source.load(3).name


def test_the_summary_counts_what_is_there(config_file, tmp_path, capsys):
    output = label(config_file, tmp_path / "out")
    rows = Index.read(output / "index.parquet").table.to_pylist()
    found = json.loads((output / "summary.json").read_text())
    assert (found["images"], found["unreadable"], found["labels"]) == (14, 2, {"cat": 7, "dog": 7})
    assert found["boxes"] == {
        name: sum(row["box_labels"].count(k) for row in rows) for k, name in enumerate(MeanBoxes.classes)
    }
    assert found["images_without_boxes"] == sum(row["boxes"] == [] for row in rows)
    masks = [np.asarray(Image.open(output / row["segmentation"])).ravel() for row in rows]
    pixels = np.concatenate(masks)
    assert found["pixels"] == {name: int((pixels == k).sum()) for k, name in enumerate(Brightness.classes)}
    assert found["ignored_share"] == pytest.approx((pixels == IGNORE).mean(), abs=1e-6)
    with (output / "unreadable.csv").open(newline="") as file:
        assert {row["file_name"]: row["reason"] for row in csv.DictReader(file)} == {
            "cat/broken.jpg": "not an image",
            "dog/empty.png": "the file is empty",
        }
    printed = capsys.readouterr().out
    assert "labelled 14 images" in printed
    assert "2 unreadable" in printed
    assert Image.open(output / "drawn.png").width > 100


def test_workers_do_not_change_the_labels(config_file, tmp_path):
    one, two = (label(config_file, tmp_path / str(n), f"runtime.workers={n}") for n in (0, 2))
    assert labels_of(one) == labels_of(two)


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on(config_file, tmp_path, monkeypatch):
    killed = tmp_path / "killed"
    monkeypatch.setenv("EXIT_AFTER", "6")
    assert launch(f"output={killed}", config=config_file, processes=2, tiny=False).returncode != 0
    assert 1 <= len(list(killed.glob("shards/0*"))) < 4
    monkeypatch.delenv("EXIT_AFTER")
    (killed / ".plan.unfinished").mkdir()
    (killed / ".index.parquet.unfinished").touch()
    assert launch(f"output={killed}", "resume=true", config=config_file, processes=2, tiny=False).returncode == 0
    assert labels_of(killed) == labels_of(label(config_file, tmp_path / "whole"))
    assert not list(killed.glob("**/.*"))


def test_another_configuration_is_refused(config_file, tmp_path):
    output = label(config_file, tmp_path / "out")
    before = labels_of(output)
    with pytest.raises(InputError, match="holds a run already"):
        label(config_file, output)
    with pytest.raises(InputError, match=r"label.box_threshold"):
        label(config_file, output, "resume=true", "label.box_threshold=0.7")
    label(config_file, output, "resume=true")
    assert labels_of(output) == before


@pytest.mark.parametrize("where", ["mask", "rows"])
def test_a_full_disk_leaves_no_half_shard_and_the_run_goes_on(config_file, tmp_path, monkeypatch, where):
    output = tmp_path / "out"
    written = []

    def full(*arguments):
        written.append(arguments)
        if len(written) > (6 if where == "mask" else 1):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    owner, name = (Image.Image, "save") if where == "mask" else (Index, "write")
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(InputError, match=r"shards/00001: No space left on device"):
        label(config_file, output)
    assert [path.name for path in (output / "shards").iterdir()] == ["00000"]
    monkeypatch.undo()
    label(config_file, output, "resume=true")
    assert labels_of(output) == labels_of(label(config_file, tmp_path / "whole"))


def test_images_without_a_readable_one_in_a_shard(config_file, photos, tmp_path):
    for path in [*photos.glob("*/*.jpg"), *photos.glob("*/*.png")][:-1]:
        path.write_bytes(b"")
    output = label(config_file, tmp_path / "out", "label.shard_size=3")
    assert len(Index.read(output / "index.parquet")) == 1
    for path in photos.glob("*/*.*"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 16 images can be read: .*unreadable.csv"):
        label(config_file, tmp_path / "none")


def test_images_that_differ_in_the_suffix_have_masks_of_their_own(config_file, photos, tmp_path):
    for value, suffix in ((0, "png"), (255, "bmp")):
        Image.fromarray(np.full((8, 9, 3), value, np.uint8)).save(photos / "cat" / f"same.{suffix}")
    output = label(config_file, tmp_path / "out", "label.shard_size=50")
    rows = {row["path"]: row for row in Index.read(output / "index.parquet").table.to_pylist()}
    for name, value in (("cat/same.png", 0), ("cat/same.bmp", 1)):
        assert (read_mask(output / rows[name]["segmentation"], 2, (9, 8)) == value).all()


def test_labels_from_a_csv(config_file, photos, tmp_path):
    (tmp_path / "labels.csv").write_text("file_name,label\ncat/02.jpg,b\ndog/01.jpg,a\n")
    output = label(config_file, tmp_path / "out", f"label.labels={tmp_path / 'labels.csv'}", "label.masks=null")
    index = Index.read(output / "index.parquet")
    assert index.classes["label"] == ("a", "b")
    found = {row["path"]: row["label"] for row in index.table.to_pylist() if row["label"] is not None}
    assert found == {"cat/02.jpg": 1, "dog/01.jpg": 0}
    (tmp_path / "labels.csv").write_text("file_name,label\ncat/nowhere.jpg,b\n")
    with pytest.raises(InputError, match=r"labels.csv: image 'cat/nowhere.jpg'"):
        label(config_file, tmp_path / "other", f"label.labels={tmp_path / 'labels.csv'}")
    assert not (tmp_path / "other" / "plan").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["label.images=null"], "label.images is missing"),
        (["label.images=nowhere"], "label.images=nowhere"),
        (["label.images={tmp}/nothing", "label.labels=null"], "no images here"),
        (["label.images={tmp}/flat"], "image '0.png'"),
        (["output={tmp}/photos/out"], "lies in label.images"),
        (["label.boxes=null", "label.masks=null"], "give a teacher as label.boxes, label.masks or both"),
        (["label.masks._target_=tests.labeling.fakes.ManyClasses"], "256 classes"),
        (["label.masks._target_=pathlib.Path"], "label.masks._target_=pathlib.Path"),
        (["label.masks.colour=3"], "label.masks.colour"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_plan(config_file, photos, tmp_path, overrides, message):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "flat").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "flat" / "0.png")
    overrides = [text.format(tmp=tmp_path) for text in overrides]
    with pytest.raises(InputError, match=message) as caught:
        label(config_file, tmp_path / "out", *overrides)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("**/plan"))


@pytest.mark.parametrize(("num_shards", "count"), [(1, 16), (3, 16), (100, 16), (5, 1)])
def test_samples_are_spread_over_the_shards(num_shards, count):
    shares = _shares(num_shards, count)
    assert sum(share for _, share in shares) == count
    assert [number for number, _ in shares] == sorted({number for number, _ in shares})
    assert all(0 <= number < num_shards and share >= 1 for number, share in shares)


def test_names_of_shards_sort_as_their_numbers(tmp_path):
    folders = [shards.shard_folder(tmp_path, number) for number in (0, 9, 10, 99999)]
    assert sorted(folders) == folders
