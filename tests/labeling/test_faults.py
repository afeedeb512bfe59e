"""What goes wrong around a labelling run: it stops in one line, no label is wrong, and the run goes on later."""

from __future__ import annotations

import csv
import errno
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import load_config
from fbnetv5.data.index import Index
from fbnetv5.labeling import shards
from fbnetv5.labeling.loading import ImageFiles
from fbnetv5.labeling.plan import Entry
from tests.labeling.fakes import MeanBoxes
from tests.labeling.test_labeler import label, labels_of


def refused(message, config_file, output, *overrides):
    with pytest.raises(InputError, match=message) as caught:
        label(config_file, output, *overrides)
    assert "\n" not in str(caught.value)


def unreadable(output):
    with (output / "unreadable.csv").open(newline="") as file:
        return {row["file_name"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("bright", "sure"), r"of boxes were sure, bright \(2\); now they are bright, sure \(2\).*output=FOLDER"),
        (("sure", "bright", *"abcdefg"), r"were sure, bright \(2\); now they are \.\.\. a, b, c, d, e \.\.\. \(9\)"),
        (("sure",), r"were sure, bright \(2\); now they are sure \(1\)"),
    ],
)
def test_a_teacher_of_other_classes_does_not_go_on(config_file, tmp_path, monkeypatch, classes, message):
    output = label(config_file, tmp_path / "out")
    shutil.rmtree(output / "shards" / "00001")
    before = labels_of(output)
    monkeypatch.setattr(MeanBoxes, "classes", classes)
    refused(message, config_file, output, "resume=true")
    assert labels_of(output) == before


def test_a_shard_of_other_classes_is_not_joined(config_file, tmp_path, monkeypatch):
    output = label(config_file, tmp_path / "out")
    monkeypatch.setattr(MeanBoxes, "classes", ("bright", "sure"))
    other = label(config_file, tmp_path / "other")
    monkeypatch.undo()
    shutil.copy(other / "shards" / "00001" / "index.parquet", output / "shards" / "00001")
    refused("shards/00001 holds labels of other classes", config_file, output, "resume=true")


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_are_gone_with_their_folder_are_not_unreadable(config_file, photos, tmp_path, monkeypatch, workers):
    output, answer = tmp_path / "out", MeanBoxes.__call__

    def unmounted(self, images):
        if not (tmp_path / "elsewhere").exists():
            photos.rename(tmp_path / "elsewhere")
            photos.mkdir()  # an empty mount point
        return answer(self, images)

    monkeypatch.setattr(MeanBoxes, "__call__", unmounted)
    refused(r"photos: the images are gone: it is empty", config_file, output, f"runtime.workers={workers}")
    monkeypatch.undo()
    photos.rmdir()
    (tmp_path / "elsewhere").rename(photos)
    label(config_file, output, "resume=true")
    assert labels_of(output) == labels_of(label(config_file, tmp_path / "whole"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_machine_that_cannot_read_stops_the_run(config_file, tmp_path, monkeypatch, workers):
    original = Image.open

    def failing(path, *arguments):
        if path.name == "12.png":
            raise OSError(errno.EIO, "Input/output error")
        return original(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", failing)
        overrides = ("label.shard_size=4", f"runtime.workers={workers}")
        refused(r"12.png: cannot be read: Input/output error.*resume=true", config_file, tmp_path / "out", *overrides)
    done = [path.name for path in (tmp_path / "out" / "shards").iterdir()]
    label(config_file, tmp_path / "out", "resume=true", *overrides)
    assert done == ["00000"]
    assert set(unreadable(tmp_path / "out")) == {"cat/broken.jpg", "dog/empty.png"}


def test_a_single_image_that_is_missing_is_listed(photos):
    loaded = ImageFiles(photos)[0, Entry("cat/gone.jpg", None)]
    assert (loaded.image, loaded.reason, loaded.failure) == (None, "no such file", "")


def test_images_too_long_and_thin_are_listed(config_file, photos, tmp_path):
    for name, size in (("line.png", (3000, 1)), ("pole.png", (2, 101)), ("long.png", (100, 2))):
        Image.new("RGB", size).save(photos / "cat" / name)
    output = label(config_file, tmp_path / "out")
    found = unreadable(output)
    assert found["cat/line.png"] == "3000x1 pixels: too long and thin for a teacher"
    assert found["cat/pole.png"] == "2x101 pixels: too long and thin for a teacher"
    assert "cat/long.png" in Index.read(output / "index.parquet").table["path"].to_pylist()
    assert json.loads((output / "summary.json").read_text())["unreadable"] == 4


def damage(output, how):
    place = output / "shards" / "00000"
    if how in ("file", "empty folder"):
        shutil.rmtree(place)
        place.write_text("") if how == "file" else place.mkdir()
    else:
        (place / how).write_text("{}}")


@pytest.mark.parametrize("how", ["file", "empty folder", "tally.json", "index.parquet", "unreadable.csv"])
def test_a_damaged_shard_is_named_and_done_again(config_file, tmp_path, how):
    output = label(config_file, tmp_path / "out")
    before = labels_of(output)
    damage(output, how)
    refused(r"out/shards/00000 is damaged; delete it and resume", config_file, output, "resume=true")
    place = output / "shards" / "00000"
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    label(config_file, output, "resume=true")
    assert labels_of(output) == before


def test_a_file_in_the_place_of_the_shards_is_named(config_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shards").touch()
    refused("out/shards is damaged; delete it", config_file, tmp_path / "out")


def test_shards_out_of_reach_are_not_to_be_deleted(config_file, tmp_path, monkeypatch):
    output = label(config_file, tmp_path / "out")

    def failing(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shards.pq, "read_schema", failing)
    refused("shards/00000 cannot be read: Input/output error; mend that", config_file, output, "resume=true")


def test_a_start_without_a_plan_does_not_claim_the_folder(config_file, tmp_path):
    (tmp_path / "nothing").mkdir()
    refused("no images here", config_file, tmp_path / "out", f"label.images={tmp_path / 'nothing'}")
    assert not (tmp_path / "out").exists()
    label(config_file, tmp_path / "out")


def test_what_killed_runs_left_is_removed(config_file, tmp_path):
    output = label(config_file, tmp_path / "out")
    names = ("config.yaml", "index.parquet", "unreadable.csv", "summary.json", "drawn.png")
    for name in names:
        (output / f".{name}.a1b2.tmp").touch()
    (output / ".plan.a1b2").mkdir()
    (output / "shards" / ".00001.a1b2").mkdir()
    (output / ".mine").touch()
    label(config_file, output, "resume=true")
    assert [path.name for path in output.glob("**/.*")] == [".mine"]


def test_class_folders_may_be_spelled_in_another_way(config_file, photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    for number, spelling in enumerate((tmp_path / "link", photos / ".." / photos.name)):
        output = label(config_file, tmp_path / str(number), f"label.labels={spelling}")
        assert Index.read(output / "index.parquet").classes["label"] == ("cat", "dog")


def test_odd_names_are_kept_and_drawn(config_file, photos, tmp_path):
    for name in ("a\nb.png", "c\rd.png"):
        Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(photos / "cat" / name)
    (photos / "cat" / "e\rf.png").touch()
    output = label(config_file, tmp_path / "out", "label.num_drawn=20")
    assert {"cat/a\nb.png", "cat/c\rd.png"} <= set(Index.read(output / "index.parquet").table["path"].to_pylist())
    assert unreadable(output)["cat/e\rf.png"] == "the file is empty"
    assert (output / "drawn.png").exists()


@pytest.mark.parametrize("key", ["label.box_threshold", "label.pixel_threshold"])
def test_thresholds_are_probabilities(config_file, key):
    with pytest.raises(InputError, match=f"{key}=1.01 is too large: at most 1"):
        load_config(config_file, [f"{key}=1.01"])
    assert load_config(config_file, [f"{key}=1"]).label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_images": 5}, r"images\.parquet holds \d+ images"),
        ({"num_images": "5"}, "no positive whole numbers"),
        ({"shard_size": 0}, "no positive whole numbers"),
        ({"label_classes": 5}, "should be a list of names"),
        ({"classes": [1]}, "cannot convert"),
        ("[" * 10**5, "nests too deep"),
        ("{", "not JSON"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_damaged_plan_is_refused(config_file, tmp_path, change, message):
    output = label(config_file, tmp_path / "out")
    file = output / "plan" / "plan.json"
    if isinstance(change, dict):
        change = json.dumps(json.loads(file.read_text()) | change)
    file.write_bytes(change if isinstance(change, bytes) else change.encode())
    refused(rf"cannot read .*plan\.json: .*{message}.*delete .* to start anew", config_file, output, "resume=true")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tally.json", b"[" * 10**5),
        ("tally.json", b'{"num_images": -1}'),
        ("tally.json", b'{"labels": [NaN]}'),
        ("index.parquet", b"[" * 10**5),
        ("index.parquet", b'{"targets": [1]}'),
        ("index.parquet", b"\xff"),
    ],
)
def test_a_shard_of_damaged_documents_is_refused(config_file, tmp_path, name, content):
    """Of an index, it is the metadata that are damaged."""
    output = label(config_file, tmp_path / "out")
    file = output / "shards" / "00000" / name
    if file.suffix == ".parquet":
        shards.pq.write_table(shards.pq.read_table(file).replace_schema_metadata({b"fbnetv5": content}), file)
    else:
        file.write_bytes(content)
    refused(r"out/shards/00000 is damaged; delete it and resume", config_file, output, "resume=true")
