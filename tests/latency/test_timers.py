"""Commands that time files, by a stand-in program, and the process that times them here."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from fbnetv5.base.errors import InputError
from fbnetv5.latency.bundle import File
from fbnetv5.latency.timers import CommandTimer, LocalTimer

STAND_IN = """
import sys, time
file, does = sys.argv[1], sys.argv[2]
if does == "fail":
    sys.exit("no such device\\nat all")
if does == "hang":
    time.sleep(60)
print({"says": "3 warm-ups\\nmean 12.5 of 9\\nbye", "nothing": "done", "less": "-1", "endless": "1e999",
       "columns": "latency_us=2500 runs=10\\nlatency_us=3500 runs=11", "echo": " ".join(sys.argv[3:])}[does])
"""
FILE = File(Path("block_0.pte"), (1, 24, 8, 8))


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bench it.py"
    path.write_text(STAND_IN, encoding="utf-8")
    return f"{sys.executable} '{path}' {{file}}"


def test_the_last_number_of_the_last_line_that_has_one_counts(program):
    assert CommandTimer(f"{program} says", 1, 10)(FILE) == 9
    assert CommandTimer(f"{program} columns", 1, 10, r"latency_us=(\d+)")(FILE) == 3500
    assert CommandTimer(f"{program} echo took=1.5e-1ms", 1, 10)(FILE) == 0.15
    assert CommandTimer(f"{program} echo 1,234.5 ms at 0x1F", 1, 10)(FILE) == 1234.5
    assert CommandTimer(f"{program} echo 7 ms, 12.5x faster", 1, 10)(FILE) == 7


@pytest.mark.parametrize("said", ["took 12,5 ms", "took 1.234,56 ms", "took 0,3 ms"])
@pytest.mark.parametrize("pattern", [None, r"took ([\d.,]+) ms"])
def test_a_decimal_comma_is_not_taken_for_the_end_of_a_number(said, pattern, program):
    with pytest.raises(InputError, match="a decimal comma"):
        CommandTimer(f"{program} echo {said}", 1, 10, pattern)(FILE)


def test_places_are_filled_in_and_no_shell_reads_them(program, capfd):
    timer = CommandTimer(f"{program} echo $HOME '{{name}} {{shape}}' && {program} echo {{threads}}", 7, 10)
    assert timer(FILE) == 7
    first = timer.commands[0]
    assert timer._output([*first[:2], "x", "echo", "$HOME", ";", "{name}"], "x") == "$HOME ; {name}\n"


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("fail", "failed for block_0.pte with status 1: no such device at all"),
        ("nothing", "printed no milliseconds for block_0.pte: done"),
        ("less", "printed -1 for block_0.pte"),
        ("echo status: 0", "printed 0 for block_0.pte"),
        ("endless", "printed inf for block_0.pte"),
    ],
)
def test_what_goes_wrong_is_one_line(does, message, program):
    with pytest.raises(InputError, match=message) as error:
        CommandTimer(f"{program} {does}", 1, 10)(FILE)
    assert "\n" not in str(error.value)


def test_what_the_pattern_finds_is_a_number(program):
    with pytest.raises(InputError, match=r"printed nan for block_0\.pte"):
        CommandTimer(f"{program} echo took=nan", 1, 10, r"took=(\w+)")(FILE)


def test_a_command_that_hangs_is_ended_with_what_it_started(program):
    start = time.monotonic()
    with pytest.raises(InputError, match=r"hangs: no answer for block_0\.pte within 0\.5 seconds"):
        CommandTimer(f"sh -c '{program.replace(chr(39), chr(34))} hang; true' {{file}}", 1, 0.5)(FILE)
    assert time.monotonic() - start < 5


def test_what_holds_the_output_of_a_command_that_hangs_is_not_waited_for():
    start = time.monotonic()
    with pytest.raises(InputError, match="hangs"):
        CommandTimer("sh -c 'setsid sleep 20 & echo 5' {file}", 1, 0.5)(FILE)
    assert time.monotonic() - start < 5


def test_commands_are_told_apart_without_spaces(program):
    timer = CommandTimer(f"{program} echo 'a&&b'&& {program} echo 7", 1, 10)
    assert timer(FILE) == 7
    assert [command[-1] for command in timer.commands] == ["a&&b", "7"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("bench", "has no {file}"),
        ("bench {file} {device}", "{device}, which is none of {file}, {name}, {threads}, {shape}"),
        ("bench '{file}", "cannot be read"),
        ("push {file} &&", "nothing before or after &&"),
        ("/nowhere/bench {file}", "/nowhere/bench cannot be run"),
    ],
)
def test_a_wrong_template_is_refused(template, message):
    with pytest.raises(InputError) as error:
        CommandTimer(template, 1, 10)(FILE)
    assert message in str(error.value)


@pytest.mark.parametrize("pattern", ["(", "ms", "(a)(b)"])
def test_a_wrong_pattern_is_refused(pattern):
    with pytest.raises(InputError, match=r"search\.latency\.pattern"):
        CommandTimer("bench {file}", 1, 10, pattern)


def test_a_file_that_the_runtime_refuses_is_named(tmp_path):
    file = tmp_path / "block_0.onnx"
    file.write_text("no model")
    with LocalTimer("onnx", 1) as timer, pytest.raises(InputError, match=r"block_0\.onnx cannot be loaded"):
        timer(File(file, (1, 3, 8, 8)))
