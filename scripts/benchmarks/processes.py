"""Work in processes of their own, where what a library sets up for a whole process ends with it."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fbnetv5.base.errors import InputError

# a fork has the imported packages already; the process that forks must have no threads
CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
T = TypeVar("T")


def yielded_by(function: Callable[..., Iterable[T]], *arguments: object) -> Iterator[T]:
    """Yield what ``function(*arguments)`` yields in a process of its own.

    Raises:
        InputError: as the function does, or the process has ended early.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_send_all, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        while (answer := _receive(ours)) is not None:
            yield answer[0]
    finally:
        process.terminate()
        process.join()


def _send_all(connection: Connection, function: Callable[..., Iterable[Any]], arguments: tuple[object, ...]) -> None:
    try:
        for item in function(*arguments):
            connection.send((item,))
        connection.send(None)
    except InputError as error:
        connection.send(error)


def _receive(connection: Connection) -> Any:
    try:
        answer = connection.recv()
    except EOFError:
        raise InputError("a process of the benchmark has ended early; what it printed says why") from None
    if isinstance(answer, InputError):
        raise answer
    return answer
