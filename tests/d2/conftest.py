"""Lets D2Go be imported under pytest: mobile_cv asks for the standard input's file number, and pytest's has none."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from unittest import mock

if importlib.util.find_spec("mobile_cv") is not None:
    with Path(os.devnull).open() as nothing, mock.patch("sys.stdin", nothing):
        importlib.import_module("mobile_cv.common.misc.py")
