"""People cut out of images: MPII's two formats, regions, pixels, and the way back to the image."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from fbnetv5.base.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "datasets"))  # where its modules look for each other

from people.mpii import JOINTS, read_mpii_json, read_mpii_mat
from people.pictures import Cut, Region, cut_out, people_content, person_region, picture_name

MEAN = [124, 116, 104]  # ImageNet's mean colour


def test_a_region_has_the_shape_and_the_padding_about_the_boxs_centre():
    assert person_region([10, 20, 30, 80], 0.75) == Region(-12, 10, 75, 100)  # 60 x 80, about (25, 60)
    assert person_region([10, 20, 80, 30], 1.0, padding=1.0) == Region(10, -5, 80, 80)


def test_pixels_beside_the_image_are_the_mean_colour():
    image = torch.arange(3 * 4 * 5, dtype=torch.uint8).reshape(3, 4, 5)
    picture = cut_out(image, Region(-1, 2, 4, 5))
    assert torch.equal(picture[:, :2, 1:], image[:, 2:, :3])
    assert (picture[:, 2:] == torch.tensor(MEAN)[:, None, None]).all()
    assert (picture[:, :, 0] == torch.tensor(MEAN)[:, None]).all()
    assert torch.equal(cut_out(image, Region(0, 0, 5, 4)), image)
    assert (cut_out(image, Region(50, 60, 2, 2)) == torch.tensor(MEAN)[:, None, None]).all()


def test_the_offset_leads_back_to_the_image():
    points = [(100.5, 50.25, 2), (0.0, 0.0, 0)]
    cut = Cut("sub/a.jpg", 7, points, (90, 30, 40, 60), area=1200.0, head_size=11.0, source_id=139)
    document = people_content([cut], ["nose", "tail"], 1.0, 1.25)
    (image,), (person,) = document["images"], document["annotations"]
    assert image["file_name"] == picture_name(cut) == "sub/a_7.jpg"
    assert (image["width"], image["height"], image["source_id"]) == (75, 75, 139)
    left, top = image["offset"]
    assert (left, top) == (round(110 - 37.5), round(60 - 37.5))
    assert person["keypoints"] == [100 - left, 49.75 - top, 2, 0, 0, 0]  # from the centre of the first pixel
    assert person["bbox"] == [90 - left, 30 - top, 40, 60]
    assert (person["area"], person["head_size"], person["num_keypoints"]) == (1200, 11, 1)


def entries():
    joints = [[10.0 + k, 20.0 + k] for k in range(16)]
    seen = {"image": "a.jpg", "center": [50.0, 60.0], "scale": 0.5, "joints": joints, "joints_vis": [1] * 15 + [0]}
    return [seen, seen | {"joints_vis": [0] * 16}, seen | {"image": "b.jpg"}]


def test_mpiis_json_with_its_head_sizes(tmp_path):
    path, heads = tmp_path / "valid.json", tmp_path / "gt_valid.mat"
    path.write_text(json.dumps(entries()))
    boxes = np.zeros((2, 2, 3))
    boxes[1] = np.array([[3, 30, 6], [4, 40, 8]])  # diagonals 5, 50, 10
    savemat(heads, {"headboxes_src": boxes})
    first, last = read_mpii_json(path, heads)
    assert (first.image, first.number, last.image, last.number) == ("a.jpg", 0, "b.jpg", 2)
    assert first.points[:2] == [(9.5, 19.5, 2), (10.5, 20.5, 2)]  # Matlab's 1 is 0.5 from the corner
    assert first.points[15] == (0, 0, 0)
    assert first.box == (50 - 0.5 - 50, 60 - 0.5 + 7.5 - 50, 100, 100)
    assert [first.head_size, last.head_size] == pytest.approx([3, 6])
    assert read_mpii_json(path)[0].head_size is None


def test_wrong_files_of_mpii_are_refused(tmp_path):
    path, heads = tmp_path / "valid.json", tmp_path / "gt.mat"
    path.write_text(json.dumps(entries()))
    savemat(heads, {"headboxes_src": np.zeros((2, 2, 9))})
    with pytest.raises(InputError, match=r"\(2, 2, 3\)"):
        read_mpii_json(path, heads)
    heads.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read this mat file"):
        read_mpii_mat(heads)
    path.write_text('[{"image": "a.jpg"}]')
    with pytest.raises(InputError, match="not MPII's people"):
        read_mpii_json(path)


def test_mpiis_mat_file(tmp_path):
    def point(number, x, **more):
        return {"id": number, "x": x, "y": 5.0, **more}

    def rect(points):
        return {
            **{"x1": 1.0, "y1": 2.0, "x2": 31.0, "y2": 42.0, "scale": 1.0},
            **{"objpos": {"x": 200.0, "y": 300.0}, "annopoints": {"point": np.array(points, dtype=object)}},
        }

    two = np.array(
        [
            rect([point(0, 3.0, is_visible=0), point(9, 4.0, is_visible=[])]),
            rect([point(15, 8.0, is_visible=1)]),
            {"x1": 1.0, "y1": 1.0, "x2": 2.0, "y2": 2.0, "scale": 1.0, "objpos": {"x": 1.0, "y": 1.0}},
        ],
        dtype=object,
    )
    images = np.array(
        [
            {"image": {"name": "train.jpg"}, "annorect": two},
            {"image": {"name": "test.jpg"}, "annorect": rect([point(0, 3.0)])},
            {"image": {"name": "nobody.jpg"}, "annorect": []},
        ],
        dtype=object,
    )
    path = tmp_path / "mpii.mat"
    savemat(path, {"RELEASE": {"annolist": images, "img_train": np.array([1, 0, 1])}})
    first, second = read_mpii_mat(path)
    assert (first.image, first.number, second.number) == ("train.jpg", 0, 1)
    assert first.points[0] == (2.5, 4.5, 1)
    assert first.points[JOINTS.index("head_top")] == (3.5, 4.5, 2)
    assert sum(visibility > 0 for _, _, visibility in first.points) == 2
    assert second.points[JOINTS.index("left_wrist")] == (7.5, 4.5, 2)
    assert first.head_size == pytest.approx(0.6 * 50)
    assert first.box == (199.5 - 100, 299.5 + 15 - 100, 200, 200)
