"""Processes of benchmarks end with the one that started them, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import contextlib, itertools, sys, time
from benchmarks.processes import connected, yielded_by

def wait(connection):
    connection.send(())
    with contextlib.suppress(EOFError):
        connection.recv()

if sys.argv[1] == "waits":
    with connected(wait) as connection:
        print(connection.recv(), flush=True)
        time.sleep(60)
numbers = yielded_by(itertools.count)
print(next(numbers), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked")
@pytest.mark.parametrize("does", ["waits", "sends"])
def test_a_process_ends_with_the_one_that_was_killed(does):
    path = os.pathsep.join(map(str, (ROOT, ROOT / "scripts")))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, does],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.kill()
    try:
        _, errors = process.communicate(timeout=10)  # until nothing holds the pipes any more
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    assert errors == ""
