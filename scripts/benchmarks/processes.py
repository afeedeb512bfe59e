"""Work in processes of their own, where what a library sets up for a whole process ends with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fbnetv5.base.errors import InputError

# a fork has the imported packages already; the process that forks must have no threads
CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
T = TypeVar("T")


@contextlib.contextmanager
def connected(work: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Run ``work(connection, *arguments)`` in a process that ends with the context; yields the other end.

    Where this process is killed, ``work`` gets an EOFError or a ConnectionError from its connection.
    """
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(work, ours, theirs, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def _work(
    work: Callable[..., None], starters: Connection, connection: Connection, arguments: tuple[object, ...]
) -> None:
    starters.close()  # a fork has it too, and would hold its own connection open
    work(connection, *arguments)


def receive(connection: Connection) -> Any:
    """Return what the process at the other end sends.

    Raises:
        InputError: it sent one, or has ended.
    """
    try:
        answer = connection.recv()
    except EOFError:
        raise InputError("a process of the benchmark has ended early; what it printed says why") from None
    if isinstance(answer, InputError):
        raise answer
    return answer


def yielded_by(function: Callable[..., Iterable[T]], *arguments: object) -> Iterator[T]:
    """Yield what ``function(*arguments)`` yields in a process of its own.

    Raises:
        InputError: as the function does, or the process has ended early.
    """
    with connected(_send_all, function, arguments) as connection:
        while (answer := receive(connection)) is not None:
            yield answer[0]


def _send_all(connection: Connection, function: Callable[..., Iterable[Any]], arguments: tuple[object, ...]) -> None:
    with contextlib.suppress(ConnectionError):  # nobody is left to take it
        try:
            for item in function(*arguments):
                connection.send((item,))
            connection.send(None)
        except InputError as error:
            connection.send(error)
