"""Renaming, merging and dropping a teacher's classes."""

from __future__ import annotations

import pytest
import torch

from fbnetv5.base.errors import InputError
from fbnetv5.labeling.teacher import Boxes, Pixels
from fbnetv5.labeling.teachers.class_map import ClassMap

NAMES = ("__background__", "person", "N/A", "dog", "cat")


def boxes(*labels: int) -> Boxes:
    corners = torch.arange(4.0 * len(labels)).view(-1, 4)
    return Boxes(corners, torch.tensor(labels), torch.linspace(0.1, 0.9, len(labels)))


def test_without_a_map_every_class_stays():
    mapping = ClassMap(NAMES)
    assert mapping.classes == NAMES
    assert mapping.boxes(boxes(4, 0, 2)).labels.tolist() == [4, 0, 2]


def test_names_of_no_class_are_dropped_and_the_ids_close_up():
    mapping = ClassMap(NAMES, unused=("__background__", "N/A"))
    assert mapping.classes == ("person", "dog", "cat")
    given = boxes(1, 2, 3, 4, 0)
    found = mapping.boxes(given)
    assert found.labels.tolist() == [0, 1, 2]
    assert torch.equal(found.boxes, given.boxes[[0, 2, 3]])
    assert torch.equal(found.scores, given.scores[[0, 2, 3]])


def test_classes_are_renamed_merged_and_dropped():
    mapping = ClassMap(NAMES, {"cat": "pet", "person": None, "dog": "pet"}, "keep", unused=("N/A",))
    assert mapping.classes == ("pet", "__background__")
    assert mapping.boxes(boxes(4, 3, 1, 0)).labels.tolist() == [0, 0, 1]


def test_pixels_of_dropped_classes_have_probability_0():
    mapping = ClassMap(NAMES, {"dog": "animal"}, "drop")
    labels = torch.tensor([[0, 3], [3, 4]], dtype=torch.uint8)
    found = mapping.pixels(Pixels(labels, torch.full((2, 2), 0.75)))
    assert mapping.classes == ("animal",)
    assert found.labels.dtype == torch.uint8
    assert found.labels[labels == 3].tolist() == [0, 0]
    assert found.scores.tolist() == [[0, 0.75], [0.75, 0]]


def test_equal_names_are_one_class():
    mapping = ClassMap(("a", "b", "a"))
    assert mapping.classes == ("a", "b")
    assert mapping.boxes(boxes(0, 1, 2)).labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("class_map", "others", "message"),
    [
        ({"person": "human"}, "error", "misses 2 of the teacher's 3 classes: dog, cat"),
        ({"persom": "human"}, "keep", "'persom'"),
        ({"N/A": "gap"}, "keep", "'N/A' is no class of the teacher"),
        ({"dog": 3}, "keep", "'dog' becomes 3"),
        ({"dog": "pet"}, "ignore", "others is 'ignore'"),
        ({"dog": None}, "drop", "drops every class"),
        (["dog"], "drop", "should map classes of the teacher to yours"),
    ],
)
def test_maps_that_cannot_be_meant_are_refused(class_map, others, message):
    with pytest.raises(InputError, match=message) as caught:
        ClassMap(NAMES, class_map, others, unused=("__background__", "N/A"))
    assert "\n" not in str(caught.value)
