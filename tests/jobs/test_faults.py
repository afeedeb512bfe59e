"""All of tests/faults.py: bad input is refused in one line, and none hangs. The facts are tested where they belong."""

from __future__ import annotations

import pytest

from tests.faults import KINDS, replay
from tests.on_request import ON_REQUEST

NAMES = [kind.__name__ for kind in KINDS]


@pytest.mark.slow
@ON_REQUEST
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_in_one_line(name, tmp_path):
    kind = next(kind for kind in KINDS if kind.__name__ == name)
    count, odd = replay(kind, tmp_path)
    assert odd == []
    assert count > 2
