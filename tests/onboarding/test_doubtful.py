"""Folders whose labels could be taken for something that they are not: what is taken, and what is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fbnetv5.onboarding.listing import list_folder
from fbnetv5.onboarding.masks import PARTNERS, mask_files
from fbnetv5.onboarding.survey import survey
from tests.onboarding.folders import HEIGHT, WIDTH, coco, mask, photo, photos, text, voc, write_coco

NAMES = [f"{k}.jpg" for k in range(6)]
TRIANGLE = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 20, 30]]}


def notes(found) -> str:
    return "\n".join([*found.notes, *(note for one in found.found.values() for note in one.notes)])


def test_boxes_of_photos_that_were_resized_since_keep_the_size_they_are_for(root):
    photos(root, NAMES)
    for name in NAMES:
        text(root / name.replace("jpg", "xml"), voc(name, [("cat", (121, 81, 200, 140), 0)], (4 * WIDTH, 4 * HEIGHT)))
    found = survey(root).found["boxes"]
    assert found.values["0.jpg"][0][:4] == (120, 80, 200, 140)
    assert set(found.sizes.values()) == {(4 * WIDTH, 4 * HEIGHT)}  # by which a check stops
    assert "6 images have another size than their labels say: 0.jpg: 60x40, not 240x160" in found.notes

    text(root / "boxes.csv", "image,xmin,ymin,xmax,ymax,class,width,height\n0.jpg,120,80,200,140,cat,240,160\n")
    for name in NAMES:
        (root / name.replace("jpg", "xml")).unlink()
    found = survey(root).found["boxes"]
    assert (found.values["0.jpg"][0][:4], found.sizes["0.jpg"]) == ((120, 80, 200, 140), (240, 160))


def test_objects_outside_of_their_photo_are_counted(root):
    photos(root, NAMES)
    for name in NAMES:
        text(
            root / name.replace("jpg", "xml"),
            voc(name, [("cat", (70, 1, 80, 9), 0), ("dog", (1, 1, 9, 9), 0)], (60, 40)),
        )
    assert "6 boxes that are inverted or outside of their image are left out" in survey(root).found["boxes"].notes
    for name in NAMES:
        (root / name.replace("jpg", "xml")).unlink()
        text(root / name.replace("jpg", "txt"), "0 1.3 0.5 0.1 0.1\n1 0.5 0.5 0.2 0.2\n")
    assert "6 boxes that are inverted or outside of their image are left out" in survey(root).found["boxes"].notes


def test_sizes_that_are_no_whole_numbers_are_not_named_as_they_stand(root, init):
    photos(root, NAMES)
    content = coco(NAMES, [{"image": k, "category_id": 3, "bbox": [5, 5, 20, 20]} for k in range(6)], ["cat"])
    content["images"][0]["width"] = float(WIDTH)
    text(root / "instances.json", json.dumps(content))
    read, _ = init(root)
    assert sum("boxes" in sample.target for sample in read.samples().values()) == 6


def test_boxes_in_pixels_are_no_shares(root):
    photos(root, NAMES)
    for name in NAMES:
        text(root / name.replace("jpg", "txt"), "0 31 20 12 8\n1 10 10 0 4\n")
    found = survey(root)
    assert not found.found
    assert "6 txt files left out: YOLO's lines, but in pixels" in notes(found)


def test_a_damaged_list_of_names_is_named(root):
    photos(root, NAMES)
    for name in NAMES:
        text(root / name.replace("jpg", "txt"), "1 0.5 0.5 0.2 0.2\n")
    text(root / "data.yaml", "names: [cat, dog\nnc: 2\n")
    found = survey(root)
    assert found.found["boxes"].classes == ("class_0", "class_1")
    assert "data.yaml cannot be read, and names no classes: while parsing" in notes(found)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "webp"])
def test_masks_that_are_no_png_files_are_neither_masks_nor_photos(root, suffix):
    photos(root / "images", NAMES)
    photos(root / "masks", [name.replace("jpg", suffix) for name in NAMES])
    for name in NAMES:
        text(root / "labels" / name.replace("jpg", "txt"), "0 0.5 0.5 0.2 0.2\n")
    found = survey(root)
    assert f"masks: 6 .{suffix} files left out: masks are PNG, since JPEG changes ids" in notes(found)
    assert all(name.startswith("images/") for name in found.listing.images)
    assert all(name.startswith("images/") for name in found.found["boxes"].values)


def test_of_masks_of_one_class_each_one_is_taken_and_that_is_said(root):
    photos(root / "images", NAMES)
    for name in NAMES:
        for kind in ("cat", "dog"):
            mask(root / "masks" / kind / name.replace("jpg", "png"), np.full((HEIGHT, WIDTH), 255 * (kind == "dog")))
    assert "6 masks left out, as another one is of their image, such as masks/dog/0.png: the mask of an" in notes(
        survey(root)
    )


def test_labels_of_other_programs_are_named(root):
    photos(root, NAMES)
    text(root / "annotations.xml", "<annotations><version>1.1</version></annotations>")
    text(root / "export.json", '[{"id": 1, "annotations": []}]')
    said = notes(survey(root))
    assert "annotations.xml: it begins with <annotations>, not with VOC's <annotation>" in said
    assert "1 json files without COCO's images and annotations passed over, such as export.json" in said


def test_times_and_track_ids_in_front_are_no_classes(root):
    photos(root, NAMES)
    for name in NAMES:
        text(root / name.replace("jpg", "txt"), "1 0.5 0.5 0.2 0.2\n")
    text(root / "0.txt", "30000000 0.5 0.5 0.2 0.2\n")
    found = survey(root)
    assert found.found["boxes"].classes == ("class_0", "class_1")
    assert "1 txt files hold lines that are no labels" in notes(found)


@pytest.mark.parametrize("values", [[f"{k:032x}" for k in range(6)], [k / 7 for k in range(6)]])
def test_a_number_of_each_image_is_no_class(root, values):
    for k, name in enumerate(NAMES):
        photo(root / ("a", "b")[k % 2] / name, seed=k)
    text(root / "sums.csv", "\n".join(["file,sum", *map("{},{}".format, NAMES, values)]) + "\n")
    found = survey(root)
    assert found.found["labels"].classes == ("a", "b")
    assert "sums.csv: left out: labels need columns such as file_name and label; it has file, sum" in notes(found)


def test_a_run_length_of_another_size_leaves_its_image_without_a_mask(root, init):
    photos(root, NAMES)
    run = {"counts": [WIDTH * HEIGHT // 2, WIDTH * HEIGHT // 2], "size": [HEIGHT, WIDTH]}
    others = [run, run, {**run, "size": [HEIGHT + 1, WIDTH]}, *[run] * 3]
    boxes = [
        {"image": k, "category_id": 3, "bbox": [30, 0, 30, 40], "segmentation": one} for k, one in enumerate(others)
    ]
    write_coco(root / "a.json", NAMES, boxes, ["cat"])
    found = survey(root)
    assert {*found.found["masks"].values} == {*NAMES} - {"2.jpg"}
    assert {*found.found["boxes"].values} == {*NAMES}
    init(root)


def test_categories_whose_keypoints_are_no_names_have_none(root):
    photos(root, NAMES)
    boxes = [{"image": k, "category_id": 3, "bbox": [5, 5, 9, 9], "keypoints": [1, 1, 2, 3, 3, 2]} for k in range(6)]
    write_coco(root / "a.json", NAMES, boxes, [{"name": "cat", "keypoints": [0, 1]}])
    assert {*survey(root).found} == {"boxes"}


def test_photos_of_one_name_in_two_formats_have_a_mask_each(root, init):
    for split in ("train", "val"):
        names = ["a.jpg", "a.png"]
        photos(root / split, names, seed=len(split))
        outlines = [{"image": k, "category_id": 3, **TRIANGLE} for k in range(2)]
        write_coco(root / f"{split}.json", names, outlines, ["cat"])
    read, _ = init(root)
    assert len(read.train) == len(read.val) == 2
    assert all(
        (source.load(row).target["segmentation"] == 1).any() for source in (read.train, read.val) for row in (0, 1)
    )


@pytest.mark.parametrize(
    ("header", "row", "is_read"),
    [
        ("image,x,y,width,height,label", "10,10,20,10,cat", True),
        ("image,left,top,width,height,label", "10,10,20,10,cat", True),
        ("image,bbox_left,bbox_top,bbox_width,bbox_height,label", "10,10,20,10,cat", True),
        ("image,x_center,y_center,width,height,label", "20,15,20,10,cat", False),
        ("image,label,cx,cy,w,h", "cat,20,15,20,10", False),
    ],
)
def test_csv_files_of_boxes_are_never_read_as_classes(root, header, row, is_read):
    photos(root, NAMES)
    text(root / "boxes.csv", "\n".join([header, *(f"{name},{row}" for name in NAMES)]) + "\n")
    found = survey(root)
    assert set(found.found) == ({"boxes"} if is_read else set())
    if is_read:
        assert found.found["boxes"].values["0.jpg"][0] == (10, 10, 30, 20, "cat", False)
        assert found.found["boxes"].sizes["0.jpg"] == (WIDTH, HEIGHT)
    else:
        assert "boxes.csv: left out: boxes need columns such as" in notes(found)


def test_labels_of_a_clip_that_is_not_here_are_not_those_of_another(root):
    for clip in ("clip_0", "clip_1"):
        photos(root / "images" / clip, [f"000{k}.jpg" for k in range(3)])
    for clip in ("clip_1", "clip_3"):
        for k in range(3):
            text(root / "labels" / clip / f"000{k}.txt", "0 0.5 0.5 0.5 0.5\n")
    found = survey(root)
    assert {name.split("/")[1] for name in found.found["boxes"].values} == {"clip_1"}
    assert "3 txt files without an image of their own" in notes(found)


@pytest.mark.parametrize(
    ("name", "near", "image"),
    [
        ("clip_0/1.jpg", "labels.csv", "clip_0/1.jpg"),
        ("/home/me/clip_1/1.jpg", "labels.csv", "clip_1/1.jpg"),
        ("clip_3/1.jpg", "labels.csv", None),
        ("frames/1.jpg", "clip_1/labels.csv", "clip_1/1.jpg"),  # another folder's name, but in that of the file
        ("1.jpg", "clip_1/labels.csv", "clip_1/1.jpg"),
        ("train/2.jpg", "labels.csv", "train2017/2.jpg"),
        ("somewhere/2.jpg", "val.csv", "val2017/2.jpg"),
        ("/data/else/3.jpg", "labels.csv", "clip_1/3.jpg"),  # the only one that is called so
    ],
)
def test_folders_tell_which_of_several_images_is_meant(root, name, near, image):
    for place in ("clip_0/1.jpg", "clip_1/1.jpg", "train2017/2.jpg", "val2017/2.jpg", "clip_1/3.jpg"):
        photo(root / place)
    assert list_folder(root).image_of(name, near) == image


def test_masks_with_soft_edges_are_of_two_classes(root):
    photos(root / "images", NAMES)
    ramp = np.zeros((HEIGHT, WIDTH))
    ramp[:, 30:] = 255
    for k, name in enumerate(NAMES):
        ramp[k * 5 : k * 5 + 5, 20:30] = np.linspace(k, 250 + k % 6, 50).reshape(5, 10)
        mask(root / "masks" / name.replace("jpg", "png"), ramp)
    found = survey(root).found["masks"]
    assert found.classes == ("background", "foreground")
    assert "soft edges" in "".join(found.notes)
    assert found.values["images/0.jpg"].table[127:129] == (0, 1)


def test_depth_maps_under_other_names_are_no_images(root):
    photos(root / "images", NAMES)
    for k in range(6):
        text(root / "labels" / f"{k}.txt", "0 0.5 0.5 0.5 0.5\n")
        for folder in ("d", "disp"):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full((HEIGHT, WIDTH), 900, np.uint16)).save(root / folder / f"{k}.png")
        mask(root / "disparity" / f"{k}.png", np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 200)
    found = survey(root)
    assert set(found.found) == {"boxes"}
    assert set(found.found["boxes"].values) == {f"images/{name}" for name in NAMES}
    assert "d: 6 PNG files of 16 bits left out: are they depth maps?" in notes(found)
    assert "disparity: 6 PNG files left out" in notes(found)


def test_the_first_class_of_boxes_is_not_the_background_of_masks(root):
    photos(root / "images", NAMES)
    for k in range(6):
        text(root / "labels" / f"{k}.txt", f"{k % 3} 0.5 0.5 0.5 0.5\n")
        mask(root / "masks" / f"{k}.png", np.where(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 9, 0, 255))
    text(root / "classes.txt", "cat\ndog\nbird\n")
    found = survey(root).found
    assert found["boxes"].classes == ("cat", "dog", "bird")
    assert found["masks"].classes == ("background", "foreground")


def test_images_where_nothing_is_are_background_in_masks_too(root):
    photos(root, NAMES)
    write_coco(root / "all.json", NAMES, [{"image": k, "category_id": 3, **TRIANGLE} for k in range(5)], ["cat"])
    found = survey(root).found
    assert found["masks"].values["5.jpg"].regions == ()
    (root / "all.json").unlink()
    for k in range(6):
        text(root / f"{k}.txt", "0 0.1 0.1 0.5 0.1 0.3 0.5\n" if k else "")
    found = survey(root).found
    assert found["masks"].values["0.jpg"].regions == ()
    assert len(found["masks"].values) == 6


def test_points_alone_say_which_frame_they_are_in(root, init):
    for k, name in enumerate(NAMES):
        photo(root / name, seed=k, orientation=6)
    people = [{"name": "person", "keypoints": ["left_eye", "right_eye"]}]
    points = [50.5, 10.5, 2, 55.5, 12.5, 2]
    content = coco(NAMES, [{"image": k, "category_id": 3, "keypoints": points} for k in range(6)], people)
    text(root / "people.json", json.dumps(content))
    read, _ = init(root)
    for sample in read.samples().values():
        assert tuple(sample.image.shape[1:]) == (HEIGHT, WIDTH)  # as it is stored, as the file says
        assert sample.target["keypoints"][0, 0] == 51  # from the corner, where COCO counts from a pixel's centre


def test_a_file_of_outlines_without_boxes_is_told_so(root):
    photos(root, NAMES)
    content = coco(
        NAMES, [{"image": k, "category_id": 3, "segmentation": TRIANGLE["segmentation"]} for k in range(4)], ["cat"]
    )
    content["annotations"] += [{"id": 90, "image_id": [1], "category_id": {}, "bbox": [1, 1, 5, 5]}]
    text(root / "all.json", json.dumps(content))
    said = notes(survey(root))
    assert "all.json: left out, as none of its 5 annotations has a usable box, class and image" in said


def test_what_lies_beside_labels_stops_nothing(root):
    photos(root, NAMES)
    write_coco(
        root / "all.json",
        NAMES,
        [{"image": k, "category_id": 3, **TRIANGLE, "segmentation": [[[1, 2]] * 8]} for k in range(5)],
        ["cat"],
    )
    for name in ("train.txt", "classes.txt"):
        (root / name).symlink_to(root / "nowhere.txt")
    (root / b"notes_\xe9.txt".decode("utf-8", "surrogateescape")).write_text("x")
    assert set(survey(root).found) == {"boxes"}


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("with_mask", "without_mask"), ("with_mask", "without_mask")),
        (("label_ok", "missing_label", "torn"), ("label_ok", "missing_label", "torn")),
        (("tread_depth_ok", "worn"), ("tread_depth_ok", "worn")),
        (("coin_instances/images/a", "coin_instances/images/b"), ("a", "b")),
    ],
)
def test_classes_may_be_called_as_masks_are(root, folders, classes):
    for number, folder in enumerate(folders):
        photos(root / folder, [f"{number}_{k}.png" for k in range(4)], seed=10 * number)
    assert survey(root).found["labels"].classes == classes


def test_masks_may_lie_beside_their_photos(root):
    for folder in ("benign", "malignant"):
        photos(root / folder, [f"{folder} ({k}).png" for k in range(4)])
        for k in range(4):
            mask(root / folder / f"{folder} ({k})_mask.png", np.full((HEIGHT, WIDTH), 255 * (k % 2)))
    mask(root / "benign" / "benign (1)_mask_1.png", np.full((HEIGHT, WIDTH), 255))
    found = survey(root)
    assert set(found.found) == {"masks"}
    assert len(found.listing.images) == len(found.found["masks"].values) == 8
    assert "1 masks without an image of their own, such as benign/benign (1)_mask_1.png" in notes(found)


def test_class_folders_of_grey_images_of_the_same_names_are_not_all_compared(root, monkeypatch):
    opened = []
    monkeypatch.setattr("fbnetv5.onboarding.masks._mode", lambda path: opened.append(path) or "L")
    for number in range(30):
        for k in range(2):
            mask(root / f"c{number}" / f"{k}.png", np.full((HEIGHT, WIDTH), k))
    mask_files(list_folder(root))
    assert len(opened) <= 30 * 2 * (1 + PARTNERS)  # not of each of the 30 others
