"""Tests of which others like them are made always: ``make test-all`` makes these too."""

from __future__ import annotations

import os

import pytest

ALL_TESTS = "FBNETV5_ALL_TESTS" in os.environ
ON_REQUEST = pytest.mark.skipif(not ALL_TESTS, reason="FBNETV5_ALL_TESTS is not set")


def some_on_request(names: list[str], others: set[str]) -> list[object]:
    """The names as parameters, of which ``others`` are tested on request."""
    return [pytest.param(name, marks=ON_REQUEST if name in others else ()) for name in names]
