"""SQLAlchemy's connection pools while a program is explored.

Of a checkout from a pool only two things can be noticed by other threads: that the
connection is taken, and that a pool at its limit makes others wait. So

- a connection that one thread has checked out is its own until it is checked in, and its
  steps are those of a private connection. A `StaticPool` gives one connection to all; it
  stays a shared one. So does a connection that is used by a thread that did not check it
  out, because threads share a Session: `Sharing.lends` says so after a trial run;
- a checkout is a step where the pool is smaller than SQLAlchemy's default of five
  connections, and wherever it has to wait; its timeout expires when no other can go on;
- a library's own locks (`LibraryLock`), SQLAlchemy's, logging's and asyncio's, are steps only when
  a thread has to wait for them.

Uses the pool's documented events (https://docs.sqlalchemy.org/en/20/core/events.html) and,
for the waiting, the class of its queue.
"""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ControlledThread
from helpers.explorer.steps.connections import SteppingConnection

#: SQLAlchemy's default for ``pool_size``, in connections.
DEFAULT_SIZE = 5

#: Packages whose locks are steps only when a thread has to wait for them, and whose clocks are
#: the real ones.
_LIBRARIES = ("sqlalchemy", "logging", "asyncio")


def asked_by_library(depth: int) -> bool:
    """Whether the code `depth` frames above the caller is a library's, see `LibraryLock`."""
    module = str(sys._getframe(depth + 1).f_globals.get("__name__", ""))
    return module.partition(".")[0] in _LIBRARIES


class LibraryLock:
    """A library's own lock: a real one, at which a thread of the program never blocks for real.

    It may outlive the run in which it was made: SQLAlchemy keeps some with a mapped class.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`; a step only where another thread of the program has it."""
        run = Scheduler.here()
        if run is None or run.me() is None:
            acquired = self._real.acquire(blocking, timeout)
        else:
            acquired = self._real.acquire(False)
            if not acquired and blocking:
                run.point(
                    "acquire a lock of a library",
                    ready=lambda: not self._depth,
                    timeout=timeout if timeout >= 0 else None,
                    wants="a lock of a library",
                )
                acquired = self._real.acquire(False)
        self._depth += bool(acquired)
        return bool(acquired)

    def release(self) -> None:
        """As `threading.Lock.release`."""
        self._depth -= 1
        self._real.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextlib.contextmanager
def pooling() -> Iterator[bool]:
    """Make the pools of SQLAlchemy take part; yields whether it has been imported at all."""
    if "sqlalchemy" not in sys.modules:
        yield False
        return
    from sqlalchemy import event
    from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool

    original = QueuePool._queue_class
    listeners = [
        (target, name, listener)
        for target in (QueuePool, NullPool, SingletonThreadPool)
        for name, listener in _listeners().items()
    ]
    QueuePool._queue_class = _queue_class(original)  # type: ignore[assignment]
    for listener in listeners:
        event.listen(*listener)
    try:
        yield True
    finally:
        QueuePool._queue_class = original
        for listener in listeners:
            event.remove(*listener)


def _listeners() -> dict[str, Callable[..., Any]]:
    """New functions at each call: one that several classes share, SQLAlchemy 2.0 removes once."""

    def lend(connection: Any, _record: Any, _proxy: Any) -> None:
        run = Scheduler.here()
        if isinstance(connection, SteppingConnection) and run is not None:
            connection.lend(run.me())

    def take_back(connection: Any, _record: Any) -> None:
        if isinstance(connection, SteppingConnection):
            connection.lend(None)

    return {"checkout": lend, "checkin": take_back}


def _queue_class(real: Callable[..., Any]) -> Callable[..., Any]:
    """What a `QueuePool` keeps its connections in: a stepping queue in the program's own pools."""

    def choose(maxsize: int = 0, use_lifo: bool = False) -> Any:
        kind = real if Scheduler.here() is None else StepPoolQueue
        return kind(maxsize, use_lifo=use_lifo)

    return staticmethod(choose)


class StepPoolQueue:
    """The idle connections of a `QueuePool`; has the methods of `sqlalchemy.util.queue.Queue`."""

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self.is_small = 0 < maxsize < DEFAULT_SIZE
        self._idle: collections.deque[Any] = collections.deque()

    def qsize(self) -> int:
        """How many connections are idle."""
        return len(self._idle)

    def empty(self) -> bool:
        """Whether none is idle."""
        return not self._idle

    def full(self) -> bool:
        """Whether no more idle ones are kept."""
        return 0 < self.maxsize <= len(self._idle)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an idle connection; waits for one if `block`.

        Raises:
            sqlalchemy.util.queue.Empty: if there is none, or none in time.
        """
        from sqlalchemy.util.queue import Empty

        run = Scheduler.here()
        if run is not None and run.me() is not None and (self.is_small or block):
            if self.is_small or self.empty():
                self._park(run, block, timeout)
            run.touch("pool", "w")
        if self.empty():
            raise Empty
        return self._idle.pop() if self.use_lifo else self._idle.popleft()

    def _park(self, run: Scheduler, block: bool, timeout: float | None) -> None:
        run.point(
            "check out a connection",
            ready=(lambda: not self.empty()) if block else None,
            timeout=timeout,
            holders=lambda: _borrowers(run),
            wants="a connection of the pool",
        )

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Give a connection back.

        Raises:
            sqlalchemy.util.queue.Full: if no more are kept.
        """
        from sqlalchemy.util.queue import Full

        if self.full():
            raise Full
        self._idle.append(item)
        run = Scheduler.here()
        if run is not None:
            run.touch("pool", "w")

    def get_nowait(self) -> Any:
        """`get` without waiting."""
        return self.get(block=False)

    def put_nowait(self, item: Any) -> None:
        """`put`, which never waits."""
        self.put(item, block=False)


def _borrowers(run: Scheduler) -> list[tuple[ControlledThread | None, str]]:
    """Who has checked out a connection."""
    lent = [connection for connection in run.connections if connection.lent]
    return [(connection.owner, "a connection of the pool") for connection in lent]
