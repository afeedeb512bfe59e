"""Numbers of a configuration: finite, and within what can be meant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.config.option import check_numbers, option, require_at_least
from fbnetv5.config.read import read_project
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.projects.fna.options import SearchOptions
from fbnetv5.projects.fpnas.options import SearchConfig
from fbnetv5.projects.table5.options import AblationConfig


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


@pytest.mark.parametrize("value", [0, -1, (32, -32), (), math.nan, "3", None])
def test_options_that_must_be_above_zero(value):
    with pytest.raises(InputError, match="Method: sizes="):
        require_at_least(0, "Method", sizes=value)
    require_at_least(0, "Method", sizes=(1, 0.5), other=3)


def test_options_with_a_minimum():
    require_at_least(2, a=2)
    with pytest.raises(InputError, match="a=1 should be at least 2"):
        require_at_least(2, a=1)


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
