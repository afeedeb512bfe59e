from __future__ import annotations

import pytest

from tests.labeling.photos import label_config, write_photos


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def config_file(tmp_path, photos):
    return label_config(tmp_path, photos)
