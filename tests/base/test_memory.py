"""Memory that a step frees serves the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from fbnetv5.base.memory import keep_freed_memory
keep_freed_memory()
np.ones(2**21)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**21)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize(("environment", "few"), [({}, True), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False)])
def test_freed_memory_is_not_faulted_in_again(monkeypatch, environment, few):
    monkeypatch.setenv("NUMPY_MADVISE_HUGEPAGE", "0")  # pages of 4 KB
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert (int(found.stdout) < 4096) == few  # pages of one array, of 20
