"""Lets D2Go be imported under pytest: mobile_cv asks for the standard input's file number, and pytest's has none.

With ``--none-skipped``, as `make test-d2` has it, the tests fail where one of them was skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from unittest import mock

import pytest

if importlib.util.find_spec("mobile_cv") is not None:
    with Path(os.devnull).open() as nothing, mock.patch("sys.stdin", nothing):
        importlib.import_module("mobile_cv.common.misc.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--none-skipped", action="store_true", help="fail where a test was skipped")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        session.config.getoption("--none-skipped", default=False)
        and reporter is not None
        and reporter.stats.get("skipped")
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
