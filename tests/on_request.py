"""Tests of networks of which others like them are tested always: with ``FBNETV5_ALL_NETWORKS=1``."""

from __future__ import annotations

import os

import pytest

ON_REQUEST = () if "FBNETV5_ALL_NETWORKS" in os.environ else (pytest.mark.skip("FBNETV5_ALL_NETWORKS is not set"),)
