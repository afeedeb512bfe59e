"""A COCO json file is split in two: nothing is lost, and nothing is in both."""

from __future__ import annotations

import json

import pytest

from datasets.split_coco import main, split

NAMES = [f"cats/{number}.jpg" for number in range(200)]
DOCUMENT = {
    "images": [{"id": 7 * number, "file_name": name} for number, name in enumerate(NAMES)],
    "annotations": [{"id": number, "image_id": 7 * (number // 2), "category_id": 1} for number in range(100)],
    "categories": [{"id": 1, "name": "cat"}],
}


def test_every_image_is_in_one_part_with_its_annotations():
    rest, held = split(DOCUMENT, 0.25, 0)
    names = [[image["file_name"] for image in part["images"]] for part in (rest, held)]
    assert sorted([*names[0], *names[1]]) == sorted(NAMES)
    assert 30 < len(names[1]) < 70
    for part in (rest, held):
        ids = {image["id"] for image in part["images"]}
        own = [one for one in DOCUMENT["annotations"] if one["image_id"] in ids]
        assert (part["annotations"], part["categories"]) == (own, DOCUMENT["categories"])


def test_an_image_that_is_added_moves_no_other_and_another_seed_does():
    fewer = {**DOCUMENT, "images": DOCUMENT["images"][:150]}
    held = {image["file_name"] for image in split(DOCUMENT, 0.25, 0)[1]["images"]}
    assert {image["file_name"] for image in split(fewer, 0.25, 0)[1]["images"]} == held & set(NAMES[:150])
    assert {image["file_name"] for image in split(DOCUMENT, 0.25, 1)[1]["images"]} != held


def test_the_command_writes_both_parts(tmp_path, capsys):
    file, rest, held = (tmp_path / name for name in ("all.json", "fit.json", "held.json"))
    file.write_text(json.dumps(DOCUMENT))
    main([str(file), str(rest), str(held)])
    images = [len(json.loads(part.read_text())["images"]) for part in (rest, held)]
    assert sum(images) == len(NAMES)
    assert f"{held}: {images[1]} images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("{", [], "is no COCO json that can be read"),
        ("{}", [], "is no COCO json that can be read: KeyError('images')"),
        (json.dumps(DOCUMENT), ["--share", "1.5"], "--share=1.5 is not between 0 and 1"),
        (json.dumps(DOCUMENT), ["--share", "1e-9"], "leaves a part without any"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys, text, options, message):
    file, held = tmp_path / "all.json", tmp_path / "held.json"
    file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([str(file), str(tmp_path / "fit.json"), str(held), *options])
    assert ended.value.code != 0
    assert message in capsys.readouterr().err
    assert not held.exists()
