"""Which connections are open? Counted, by whoever opened them.

`sqlite3` cannot say how many connections a program has open, and a forgotten one shows only
later: as a lock, as too many open files, as a file that Windows will not delete.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable
from typing import Any


class Opened:
    """Counts connections: pass `connect` where `sqlite3.connect` would go.

    Attributes:
        total: how many were opened.
        dropped: how many ended as garbage, without a call of `close`; since Python 3.13 that
            is a `ResourceWarning` (https://docs.python.org/3/whatsnew/3.13.html#sqlite3).
    """

    def __init__(self) -> None:
        self.total = 0
        self.dropped = 0
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        """Open a connection and count it; takes what `sqlite3.connect` takes."""
        connection = _Counted(*args, **options)
        with self._lock:
            self.total = number = self.total + 1
        self._names[number] = threading.current_thread().name
        connection.ended = functools.partial(self._ended, number)
        return connection

    @property
    def threads(self) -> list[str]:
        """Names of the threads that opened what is still open, in the order of opening."""
        return list(self._names.values())

    def _ended(self, number: int, dropped: bool) -> None:
        # One call of a dict each: this may run in a finalizer, where no lock may be waited for.
        if self._names.pop(number, None) is not None and dropped:
            self.dropped += 1


class _Counted(sqlite3.Connection):
    """A connection that says when it ends. The thread check of `close` is as in `sqlite3`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        checked = options.get("check_same_thread", True)
        # Garbage may be collected in any thread, and must be closed there all the same.
        super().__init__(*args, **{**options, "check_same_thread": False})
        self.owner = threading.get_ident() if checked else None
        self.ended: Callable[[bool], None] = lambda dropped: None

    def close(self) -> None:
        if self.owner not in (None, threading.get_ident()):
            raise sqlite3.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread"
            )
        super().close()
        self.ended(False)

    def __del__(self) -> None:
        sqlite3.Connection.close(self)
        self.ended(True)
