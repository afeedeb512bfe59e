"""OKS average precision against pycocotools, also for people that were cut out of their images."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fbnetv5.metrics.keypoint_ap import NUMBERS, FoundPerson, keypoint_ap, person_score, sigmas_of
from fbnetv5.metrics.keypoint_truth import Place, TruePerson

COCO_NAMES = (
    "nose",
    *(f"{side}_{part}" for part in ("eye", "ear", "shoulder", "elbow", "wrist") for side in ("left", "right")),
    *(f"{side}_{part}" for part in ("hip", "knee", "ankle") for side in ("left", "right")),
)


def people(seed: int, count: int = 40, num_points: int = 17) -> list[FoundPerson]:
    """People of several sizes, some of the same image, found more or less well."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        size = rng.uniform(20, 250)
        points = np.concatenate([rng.uniform(0, size, (num_points, 2)), rng.integers(0, 3, (num_points, 1))], 1)
        points[0, 2] = 2
        points[points[:, 2] == 0] = 0
        guess = points[:, :2] + rng.normal(0, 1, (num_points, 2)) * size * rng.choice([0.01, 0.05, 0.2])
        scores = rng.uniform(0, 1, (num_points, 1)).round(1)
        box = (0.0, 0.0, float(size), float(size * 1.3))
        truth = TruePerson(points, box, float(size**2 * rng.uniform(0.3, 1)))
        offset = (float(rng.integers(-20, 60)), float(rng.integers(-20, 60)))
        place = Place(int(rng.integers(0, count // 2)), offset)
        found.append(FoundPerson(f"{number}.jpg", np.concatenate([guess, scores], 1), truth, place))
    return found


def reference(found: list[FoundPerson], sigmas: list[float]) -> list[float]:
    """COCO's own evaluation of the same people, in the pixels of their images."""
    truth, results = [], []
    for number, person in enumerate(found, start=1):
        shift = np.array([*person.place.offset, 0])
        x, y, width, height = person.truth.box
        entry = {"image_id": person.place.image_id, "category_id": 1}
        annotation = {
            "id": number,
            "keypoints": (person.truth.points + shift).reshape(-1).tolist(),
            "num_keypoints": int((person.truth.points[:, 2] > 0).sum()),
            "bbox": [x + shift[0], y + shift[1], width, height],
            "area": person.truth.area,
            "iscrowd": 0,
        }
        truth.append(entry | annotation)
        keypoints = (person.points + shift).reshape(-1).tolist()
        results.append(entry | {"keypoints": keypoints, "score": person_score(person.points)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        images = sorted({person.place.image_id for person in found})
        coco.dataset = {"images": [{"id": i} for i in images], "annotations": truth, "categories": [{"id": 1}]}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_cocos(seed):
    found = people(seed)
    sigmas = sigmas_of(COCO_NAMES)
    expected = dict(zip(NUMBERS, reference(found, sigmas), strict=True))
    assert keypoint_ap(found, sigmas) == pytest.approx({k: v for k, v in expected.items() if v > -1}, abs=1e-9)


def test_other_keypoints_have_sigmas_too():
    sigmas = sigmas_of(("left_hip", "right_hip", "neck"))
    assert sigmas == [0.107, 0.107, 0.066]
    found = people(9, num_points=3)
    expected = dict(zip(NUMBERS, reference(found, sigmas), strict=True))
    assert keypoint_ap(found, sigmas) == pytest.approx({k: v for k, v in expected.items() if v > -1}, abs=1e-9)


def test_sigmas_of_cocos_17_are_cocos():
    coco = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]  # of cocoeval.py, in thousandths
    assert [round(1000 * sigma) for sigma in sigmas_of(COCO_NAMES)] == coco
    assert np.mean(sigmas_of(COCO_NAMES)) == pytest.approx(sigmas_of(["neck"])[0], abs=1e-3)


def test_sides_may_be_written_otherwise():
    assert sigmas_of(("L_Shoulder", "LEye", "Right Hip", "ear.l")) == [0.079, 0.025, 0.107, 0.035]


def test_a_persons_score_is_the_mean_of_its_certain_keypoints():
    points = np.array([[0, 0, 0.9], [0, 0, 0.5], [0, 0, 0.2], [0, 0, 0.0]])
    assert person_score(points) == pytest.approx(0.7)
    assert person_score(points[2:]) == 0


def test_people_of_one_image_are_matched_in_the_image():
    """In each of two pictures, the person of the other one is found: wrong in the pictures, right in their image."""
    truth = people(3, count=2)[0].truth
    perfect = truth.points.copy()
    perfect[:, 2] = 0.9
    other = perfect + [500, 0, 0]  # noqa: RUF005  # arrays are added
    apart = [
        FoundPerson("a", other, truth, Place("a", (0.0, 0.0))),
        FoundPerson("b", perfect - [500, 0, 0], truth, Place("b", (500.0, 0.0))),
    ]
    together = [person._replace(place=person.place._replace(image_id=7)) for person in apart]
    assert keypoint_ap(apart, sigmas_of(COCO_NAMES))["AR"] == 0
    assert keypoint_ap(together, sigmas_of(COCO_NAMES))["AR"] == 1
