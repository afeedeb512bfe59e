"""What a file's milliseconds come from: a process here that runs it, or a command that asks another device."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import Protocol

from fbnetv5.base.errors import InputError
from fbnetv5.latency.bundle import File

NUMBER = re.compile(r"(?<![\w.,])[-+]?(\d{1,3}(,\d{3})+(\.\d*)?|\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(?![\w,.]*[xX])")
OTHER_COMMA = re.compile(r",(?!\d{3}(?!\d))\d")  # one that does not separate thousands
PLACES = ("file", "name", "threads", "shape")
THEN = "&&"
GRACE = 1.0  # seconds in which what was killed lets go of its output
SHOWN = 160  # characters of what a command printed


class Timer(Protocol):
    """Asks for a file's milliseconds, once."""

    def __call__(self, file: File) -> float:
        """Return the milliseconds of one call.

        Raises:
            InputError: there are none; the message says why.
        """


class LocalTimer:
    """Files timed by a runtime on this machine, in a process of its own; a context.

    Args:
        runtime: executorch, onnx or litert.
        threads: CPU threads.
        clock: wall, or cpu: of all threads together, which other work on the machine hardly changes.
    """

    def __init__(self, runtime: str, threads: int, clock: str = "wall") -> None:
        self._arguments = [sys.executable, "-m", "fbnetv5.latency.serve", runtime, str(threads), clock]

    def __enter__(self) -> LocalTimer:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._arguments, stdin=pipe, stdout=pipe, text=True, env=environment)
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, file: File) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = json.dumps({"file": str(file.path.resolve()), "shape": file.shape})
        try:
            self._process.stdin.write(asked + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InputError(f"the process that times {file.path.name} has ended; what it printed says why")
        answer = json.loads(line)
        if "error" in answer:
            raise InputError(answer["error"])
        return float(answer["ms"])


class CommandTimer:
    """Files timed by a command, without a shell: commands that ``&&`` separates run one after another.

    ``{file}`` in a word stands for the file's path, ``{name}`` for its name, ``{threads}``, and ``{shape}`` for its
    input's, such as 1x3x224x224. The last command prints milliseconds: the last number on the last line of its output
    that has one, or what ``pattern`` finds.

    Args:
        template: the commands.
        threads: CPU threads.
        timeout: seconds that each of them may take.
        pattern: regular expression of the milliseconds in the output, its one group; the last place counts.

    Raises:
        InputError: the template has no ``{file}``, another place, or cannot be split; or the pattern is none.
    """

    def __init__(self, template: str, threads: int, timeout: float, pattern: str | None = None) -> None:
        self.threads, self.timeout = threads, timeout
        self.commands = _split(template)
        try:
            self.pattern = None if pattern is None else re.compile(pattern)
        except re.error as error:
            raise InputError(f"search.latency.pattern={pattern} is no regular expression: {error}") from None
        if self.pattern is not None and self.pattern.groups != 1:
            raise InputError(f"search.latency.pattern={pattern} should have one group, ( ), of the milliseconds")

    def __call__(self, file: File) -> float:
        places = {
            "file": str(file.path.resolve()),
            "name": file.path.name,
            "threads": str(self.threads),
            "shape": "x".join(map(str, file.shape)),
        }
        output = ""
        for command in self.commands:
            output = self._output([_filled(word, places) for word in command], file.path.name)
        ms = self._milliseconds(output)
        if ms is None:
            raise InputError(f"the command printed no milliseconds for {file.path.name}: {_shown(output)}")
        if not 0 < ms < math.inf:
            raise InputError(f"the command printed {ms:g} for {file.path.name}, which are no milliseconds")
        return ms

    def _output(self, words: list[str], name: str) -> str:
        """Run one command, and return what it prints to stdout."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                text=True,
                errors="replace",
                start_new_session=True,  # so that what it starts can be ended with it
            )
        except OSError as error:
            raise InputError(f"{words[0]} cannot be run: {error.strerror or error}") from None
        try:
            output, complaint = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise InputError(f"{words[0]} hangs: no answer for {name} within {self.timeout:g} seconds") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):  # what has left the group may hold the pipes
                    process.communicate(timeout=GRACE)
                for end in (process.stdout, process.stderr):
                    if end is not None:
                        end.close()
        if process.returncode:
            said = _shown(complaint or output)
            raise InputError(f"{words[0]} failed for {name} with status {process.returncode}: {said}")
        return output

    def _milliseconds(self, output: str) -> float | None:
        found = self._last(output)
        if found is None:
            return None
        if OTHER_COMMA.search(found):
            raise InputError(f"the command printed {_shown(found)}: a decimal comma? LC_ALL=C has it print a point")
        try:
            return float(found.replace(",", ""))
        except ValueError:
            return None

    def _last(self, output: str) -> str | None:
        """Return the last number, with what stands behind a comma after it."""
        if self.pattern is not None:
            texts = [match.group(1) for match in self.pattern.finditer(output)]
            return texts[-1] if texts else None
        for line in reversed(output.splitlines()):
            if matches := list(NUMBER.finditer(line)):
                last = matches[-1]
                return line[last.start() :] if OTHER_COMMA.match(line, last.end()) else last.group()
        return None


def _split(template: str) -> list[list[str]]:
    try:
        lexer = shlex.shlex(template, posix=True, punctuation_chars="&")
        lexer.whitespace_split, lexer.commenters = True, ""
        words = list(lexer)
    except ValueError as error:
        raise InputError(f"search.latency.command cannot be read: {error}") from None
    for place in re.findall(r"\{(\w*)\}", template):
        if place not in PLACES:
            known = ", ".join(f"{{{name}}}" for name in PLACES)
            raise InputError(f"search.latency.command has {{{place}}}, which is none of {known}")
    if "{file}" not in template:
        raise InputError("search.latency.command has no {file}: where does the file's name go?")
    commands: list[list[str]] = [[]]
    for word in words:
        if word == THEN:
            commands.append([])
        else:
            commands[-1].append(word)
    if not all(commands):
        raise InputError(f"search.latency.command has nothing before or after {THEN}")
    return commands


def _filled(word: str, places: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: places[match.group(1)], word)


def _shown(text: str) -> str:
    """Return the end of a text in one line."""
    line = " ".join(text.split())
    return (line if len(line) <= SHOWN else f"... {line[-SHOWN:]}") or "it printed nothing"
