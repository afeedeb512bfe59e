"""The configs of labelling runs name classes and options that there are."""

from __future__ import annotations

import inspect

import pytest

from fbnetv5.cli.launch import JOBS
from fbnetv5.config.read import load_config
from fbnetv5.config.targets import find_class
from tests.jobs.runs import ROOT

CONFIGS = sorted((ROOT / "configs" / "label").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_are_read_and_their_teachers_found(path):
    config = load_config(path, ["label.images=photos"])
    assert config.job in JOBS
    assert (config.label.box_threshold, config.label.pixel_threshold) == (0.5, 0.5)
    for key in ("boxes", "masks"):
        entry = getattr(config.label, key)
        options = {name: value for name, value in entry.items() if name != "_target_"}
        inspect.signature(find_class(key, entry)).bind(**options)  # fails for an option that is unknown or missing
