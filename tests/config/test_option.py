"""Numbers of a configuration: finite, and within what can be meant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.config.option import check_count, check_numbers, option
from fbnetv5.config.read import read_project
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.model.task_net import build_head
from fbnetv5.projects.fna.options import SearchOptions
from fbnetv5.projects.fpnas.options import SearchConfig
from fbnetv5.projects.table5.options import AblationConfig
from fbnetv5.tasks.build import build_tasks

DETECTION = "fbnetv5.tasks.detection.Detection"


@dataclass
class Inner:
    """A node."""

    rates: list[float] = option(list, "rates")


@dataclass
class Schema:
    """Keys of a project."""

    rate: float = option(0.5, "a rate")
    count: int = option(3, "a count")
    inner: Inner = option(Inner, "a node")
    method: dict[str, Any] = option(dict, "a class and its options")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("node", "key"),
    [
        (lambda value: {"rate": value}, "project.rate"),
        (lambda value: {"inner": {"rates": [0.1, value]}}, r"project.inner.rates\[1\]"),
        (lambda value: {"method": {"_target_": "a.B", "options": [{"match": value}]}}, r"method.options\[0\].match"),
    ],
)
def test_a_number_that_is_not_finite_is_named_wherever_it_stands(node, key, wrong):
    with pytest.raises(InputError, match=f"{key}={wrong} is no finite number"):
        read_project(node(wrong), Schema)


@pytest.mark.parametrize("schema", [SearchOptions, SearchConfig, AblationConfig])
def test_no_project_takes_a_number_that_is_not_finite(schema):
    numbers = [name for name, kind in schema.__annotations__.items() if kind.removesuffix(" | None") == "float"]
    required = {"space": "s", "seed": "s", "bound": 1.0, "name": "n"}
    given = {name: value for name, value in required.items() if name in schema.__annotations__}
    for name in numbers:
        with pytest.raises(InputError, match=f"project.{name}=nan"):
            read_project({**given, name: math.nan}, schema)


def test_a_whole_number_fits_a_tensor():
    with pytest.raises(InputError, match=r"project\.count is too large"):
        read_project({"count": 2**63}, Schema)
    check_numbers("key", [2**63 - 1, "nan", None, True])


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"_target_": DETECTION, "anchor_sizes": [-32, 64]}, r"tasks.det.anchor_sizes=\[-32, 64\]"),
        ({"_target_": DETECTION, "anchor_sizes": []}, r"tasks.det.anchor_sizes=\[\]"),
        ({"_target_": DETECTION, "aspect_ratios": [0.0, 1.0]}, "tasks.det.aspect_ratios=.*"),
        ({"_target_": DETECTION, "roi_size": 0}, "tasks.det.roi_size=0"),
        ({"_target_": DETECTION, "num_proposals": 0}, "tasks.det.num_proposals=0"),
        ({"_target_": "fbnetv5.tasks.classification.Classification", "hidden_channels": 0}, "hidden_channels=0"),
    ],
)
def test_counts_and_sizes_of_a_task_are_above_zero(entry, key):
    with pytest.raises(InputError, match=f"{key} should be above 0"):
        build_tasks({"det": entry})


@pytest.mark.parametrize("option", [{"num_proposals": [30, 0]}, {"anchor_sizes": [-1]}, {"num_sampled": 0}])
def test_counts_and_sizes_of_a_head_are_above_zero(option):
    with pytest.raises(InputError, match=f"model.head.{next(iter(option))}=.* should be above 0"):
        build_head({"_target_": "fbnetv5.heads.lite_rcnn.LiteRCNN", **option}, (8, 8, 8, 8), 3)


def test_what_may_be_zero_by_default_may_be_zero():
    check_count("key.num_extra", 0, 0)
    check_count("key.num_extra", 0, None)
    check_count("key.path", 0, 2)
    check_count("key.num_levels", 1, 3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"_target_": "builtins.int", "x": 1}, "key._target_=builtins.int is no class"),
        ({"_target_": "datetime.timedelta", "days": "many"}, "key"),
        (
            {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 0},
            "cannot be built .*ZeroDivision",
        ),
        ({"_target_": "fractions.Fraction", "numerator": math.nan}, "key.numerator=nan is no finite number"),
        ({"_target_": 5}, "key._target_ should be the dotted name"),
        ({"_target_": ["a"]}, "key._target_ should be the dotted name"),
    ],
)
def test_a_class_that_does_not_fit(entry, message):
    with pytest.raises(InputError, match=message):
        build_target("key", entry)


def test_a_class_of_another_purpose_is_named_with_what_it_lacks():
    entry = {"_target_": "fractions.Fraction"}
    with pytest.raises(InputError, match=r"key\._target_=fractions\.Fraction is no task: it has no 'path'"):
        require_members("key", entry, build_target("key", entry), ("path",), "task")
