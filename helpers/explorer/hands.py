"""Threads that make one call after another, in an order that you choose.

The stage parks a thread before its next call of `sqlite3`. Between two calls of a library
that is all Python, a `Session` of SQLAlchemy for instance, you say which thread makes the
next call:

    with NamedThread("A") as a, NamedThread("B") as b:
        a.does(session.add, thing)
        b.does(session.commit)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from helpers.history import CallError


class NamedThread:
    """One thread with a name, which waits for something to do. Close it at the end."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def starts(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Let the thread make a call, and do not wait for it."""
        return self._thread.submit(function, *arguments)

    def does(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Let the thread make a call; returns its result, raises what it raises."""
        return self.starts(function, *arguments).result()

    def told(self, function: Callable[..., Any], /, *arguments: Any) -> str:
        """What the thread was told when it made a call; see `told`."""
        return told(self.starts(function, *arguments))

    def close(self) -> None:
        """End the thread, once it has done what it was told."""
        self._thread.shutdown()

    def __enter__(self) -> NamedThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def told(call: Future[Any]) -> str:
    """``"all is well"``, or the error in one line: its type and its first sentence.

    Waits for the end of the call.
    """
    error = call.exception()
    return "all is well" if error is None else in_one_line(error)


def in_one_line(error: BaseException) -> str:
    """An error's type and the first clause of its message, as in a list of errors."""
    described = CallError.of(error)
    message = next(iter(described.message.splitlines()), "")
    return f"{described.kind}: {message.split(';')[0].split('. ')[0]}".rstrip(": .")
