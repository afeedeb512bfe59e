from __future__ import annotations

import os
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.data.folders import class_folders, class_order, find_masks, list_images, read_labels


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_images_are_found_by_suffix_in_subfolders_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPEG", "a.png", "n/1/c.webp", "n/d.bmp", "notes.txt", "._a.png", "e.jpg")
    assert list_images(tmp_path) == ["a.png", "b.JPEG", "e.jpg", "n/1/c.webp", "n/d.bmp"]


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, ".trash/a.png", "b/.thumbs/c.png", "b/d.png")
    assert list_images(tmp_path) == ["b/d.png"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.png", "photos/b/2.png", "more/3.png")
    (tmp_path / "photos" / "b" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "a" / "other").symlink_to(tmp_path / "photos" / "b")
    (tmp_path / "photos" / "self").symlink_to("self")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "more")
    assert list_images(tmp_path / "photos") == ["a/1.png", "a/other/2.png", "b/2.png", "more/3.png"]


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "locked/2.png")
    scandir = os.scandir

    def locked(folder: Path) -> object:
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(InputError, match="locked: cannot list this folder: Permission denied"):
        list_images(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images here"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list_images(tmp_path / "nowhere")


def test_the_class_is_the_first_folder() -> None:
    assert class_folders(["n01/a.jpg", "n02/x/b.jpg"]) == {"n01/a.jpg": "n01", "n02/x/b.jpg": "n02"}
    with pytest.raises(InputError, match=r"image 'c.jpg'"):
        class_folders(["n01/a.jpg", "c.jpg"])


def test_masks_are_the_png_files_of_the_same_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "n/b.png", "unused.png")
    assert find_masks(tmp_path, ["a.jpg", "n/b.jpg", "c.jpg"]) == {"a.jpg": "a.png", "n/b.jpg": "n/b.png"}
    touch(tmp_path, "c.PNG")
    assert find_masks(tmp_path, ["a.jpg", "c.jpg"]) == {"a.jpg": "a.png", "c.jpg": "c.PNG"}


def test_masks_that_belong_to_no_image_or_to_two_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(InputError, match="no mask here has the name of an image"):
        find_masks(tmp_path, ["b.jpg"])
    with pytest.raises(InputError, match=r"a.png: the mask of both 'a.jpg' and 'a.webp'"):
        find_masks(tmp_path, ["a.jpg", "a.webp"])


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_labels_are_read_by_column_name(tmp_path: Path) -> None:
    content = "\ufefflabel,source,file_name\ndog,x,a.jpg\n,x,b.jpg\n'cat, black',x,c.jpg\n".replace("'", '"')
    assert read_labels(write(tmp_path / "labels.csv", content.encode())) == {"a.jpg": "dog", "c.jpg": "cat, black"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the labels file is empty"),
        (b"name,label\na.jpg,dog\n", "no column 'file_name'"),
        (b"file_name\na.jpg\n", "no column 'label'"),
        (b"file_name,label\na.jpg,dog\na.jpg,dog\n", "line 3: image 'a.jpg'"),
        (b"file_name,label\n\xff\xfe,dog\n", "cannot read this labels file"),
        (None, "cannot read this labels file: No such file"),
    ],
)
def test_a_wrong_labels_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "labels.csv"
    if content is not None:
        write(path, content)
    with pytest.raises(InputError, match=f"labels.csv: {message}"):
        read_labels(path)


def test_class_ids_follow_numbers_by_value_and_names_by_the_alphabet() -> None:
    assert class_order(["10", "9", "0", "9"]) == ("0", "9", "10")
    assert class_order(["b", "10", "a"]) == ("10", "a", "b")
    assert class_order(["2", "1", "001", "01"]) == ("001", "01", "1", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('file_name,label\na.png,"x\nb.png,y\n', "a quote not closed"),
        ('file_name,label\na.png,"x\nb.png,"y\n', "a quote not closed"),
        ("file_name,label\na.png,x,y\n", "line 2 has more values than there are columns"),
    ],
)
def test_a_csv_that_would_be_misread_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=rf"labels\.csv: .*{message}"):
        read_labels(tmp_path / "labels.csv")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):  # noqa: PTH123  # a path cannot be of bytes
        pass
    with pytest.raises(InputError, match=r"udcff\.png': the name is not UTF-8"):
        list_images(tmp_path)


def test_a_pipe_among_photos_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: no file, but a pipe"):
        list_images(tmp_path)
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"labels\.csv: .* pipe"):
        read_labels(tmp_path / "labels.csv")


def test_labels_that_differ_in_blanks_alone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file_name,label\na.jpg,cat\nb.jpg, dog\nc.jpg,cat \n")
    with pytest.raises(InputError, match=r"labels\.csv: the labels 'cat' and 'cat ' differ in blanks alone"):
        read_labels(tmp_path / "labels.csv")
