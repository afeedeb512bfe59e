"""What an export says of the time that is left."""

from __future__ import annotations

import os
import sys
import time

import pytest

from fbnetv5.export.progress import SHARES, ExportProgress
from fbnetv5.export.quiet import silent

FILES = [("executorch", "fp32"), ("executorch", "int8"), ("onnx", "fp32")]


def test_what_is_left_follows_from_the_files_that_were_written():
    seconds = [0.0]
    progress = ExportProgress(now=lambda: seconds[0])
    progress.plan(FILES, num_layers=100)
    assert progress.start_file(FILES[0]) == (
        "executorch fp32, file 1 of 3: about 0:00:30, about 0:01:27 for all that are left"
    )
    seconds[0] = 20.0
    assert progress.seconds_left() == pytest.approx(0.3 * 100 * sum(SHARES[file] for file in FILES) - 20)
    progress.step("exporting")
    assert progress.line() == "  exporting, 0:00:20 so far, about 0:01:07 left"
    seconds[0] = 60.0
    progress.end_file()
    assert progress.seconds_left() == pytest.approx(60 * (SHARES[FILES[1]] + SHARES[FILES[2]]))
    progress.start_file(FILES[1])
    seconds[0] = 1000.0  # longer than was thought
    assert progress.seconds_left() == pytest.approx(940 / SHARES[FILES[1]] * SHARES[FILES[2]])
    progress.end_file()
    assert progress.start_file(FILES[2]).startswith("onnx fp32, file 3 of 3: about 0:01:")
    for image in progress.over("rating image", range(3), 3):
        assert progress.line().startswith(f"  rating image {image} of 3, 0:00:00 so far, about")


def test_lines_are_printed_while_nothing_else_is(capsys):
    with ExportProgress(every=0.01) as progress:
        progress.step("exporting")
        time.sleep(0.1)
    assert "  exporting, 0:00:00 so far\n" in capsys.readouterr().out


def test_silence_hides_what_is_printed_in_it_and_no_more(capfd, monkeypatch):
    with os.fdopen(1, "w", closefd=False) as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)  # with a buffer, as for a file
        print("before")
        with ExportProgress(every=0.01) as progress:
            progress.step("converting")
            with silent():
                print("hidden")
                os.write(1, b"hidden, too")
                time.sleep(0.1)
        print("after")
    first, *lines, last = capfd.readouterr().out.splitlines()
    assert (first, last) == ("before", "after")
    assert set(lines) == {"  converting, 0:00:00 so far"}
