"""References between keys: what they stand for is bounded."""

from __future__ import annotations

import pytest

from fbnetv5.config.references import check_references

DOUBLING = {"x0": "a"} | {f"x{n}": f"${{x{n - 1}}}${{x{n - 1}}}" for n in range(1, 40)}


@pytest.mark.parametrize(
    "tree",
    [
        DOUBLING,
        {"a": {"x0": "b" * 1000, **{f"x{n}": f"${{.x{n - 1}}}" * 1000 for n in range(1, 5)}}},
        {"a": {"x0": ["b"] * 1000, **{f"x{n}": [f"${{..x{n - 1}}}"] * 1000 for n in range(1, 5)}}},
        {"a": "b" * 10**4, "c": {"d": ["${a}" * 100] * 100, "e": "${c.d[0]}"}},
    ],
    ids=["text", "beside", "beside from a list", "by a place in a list"],
)
def test_references_that_multiply_are_refused(tree):
    with pytest.raises(ValueError, match="multiply to more than 1,000,000"):
        check_references(tree)


def test_references_that_add_up_to_little_are_fine():
    check_references({"name": "x", "output": "runs/${name}", "a": "${a}", "b": "${oc.env:HOME}", "c": ["${..b}"] * 9})
    check_references({"x0": "a"} | {f"x{n}": f"${{x{n - 1}}}" for n in range(1, 100)})
