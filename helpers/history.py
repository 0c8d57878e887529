"""What did the threads do? One record of every SQL call, whichever instrument ran it.

A `History` is a list of `Call` records: which thread ran which SQL on which
connection, when the call started and ended, and what it returned or raised. The
timeline figure, the error table and the audits all read it.

`History.connect` is a drop-in for `sqlite3.connect`: the connection it returns is a
subclass of `sqlite3.Connection` that behaves like the original and notes each call.
Appending to a list is atomic in CPython, so recording needs no lock of its own and
does not change which threads overlap. One exception: where the process may use one processor
only, a thread gives way after each recorded call. Otherwise it would do a whole unit of work
before Python's switch interval ends, and a load run would show no overlap at all.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter_ns, sleep
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result")

#: Longest text shown for one parameter, one value or one statement, in characters.
SHORT = 60


def processors() -> int:
    """How many processors the calling thread may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CallError(NamedTuple):
    """What a call raised, without the exception itself.

    An exception keeps its traceback, hence the cursor, hence a lock on the file;
    so only its texts are kept.
    """

    kind: str
    message: str
    sqlite_errorname: str

    @classmethod
    def of(cls, error: BaseException) -> CallError:
        """Describe `error`; `sqlite_errorname` is empty where SQLite did not raise it.

        What SQLAlchemy has wrapped is described as `sqlite3` raised it. Addresses of objects
        differ in every run and SQLAlchemy's links with its version: both are left out.
        """
        if type(error).__module__.startswith("sqlalchemy."):
            error = getattr(error, "orig", None) or error
        message = re.sub(r" at 0x[0-9A-Fa-f]+", "", str(error))
        message = re.sub(r"\s*\(Background on this error at: \S+\)", "", message)
        return cls(type(error).__name__, message, getattr(error, "sqlite_errorname", "") or "")


class Call(NamedTuple):
    """One call of the `sqlite3` module, as one thread made it.

    `started` and `ended` are nanoseconds since the history began. `connection` numbers
    the connections of the history from 1, in the order in which they were opened.
    `operation` is the method's name: ``execute``, ``fetchall``, ``commit`` and so on.
    """

    thread: str
    connection: int
    operation: str
    sql: str
    parameters: object
    started: int
    ended: int
    result: object = None
    error: CallError | None = None

    @property
    def outcome(self) -> Literal["ok", "error"]:
        """``"error"`` when the call raised, else ``"ok"``."""
        return "ok" if self.error is None else "error"

    @property
    def milliseconds(self) -> float:
        """How long the call took, in milliseconds."""
        return (self.ended - self.started) / 1e6

    @property
    def statement(self) -> str:
        """The SQL on one line, or the method's name where the call carries no SQL."""
        return shorten(Text(" ".join(self.sql.split()))) if self.sql else self.operation


class History:
    """The calls of one experiment, in the order in which they ended.

    `connect` opens recorded connections; `add` lets another instrument add calls of its
    own making. Iterating gives `Call` records; `table` gives a data frame.
    """

    def __init__(self) -> None:
        self.began = perf_counter_ns()
        self.calls: list[Call] = []
        self.gives_way = processors() == 1
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __getstate__(self) -> dict[str, Any]:
        # Parameters and results may be objects that no pickle can carry; their short text can.
        calls = [
            call._replace(
                parameters=Text(shorten(call.parameters)), result=Text(shorten(call.result))
            )
            for call in self.calls
        ]
        return {"began": self.began, "calls": calls, "gives_way": self.gives_way}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        numbers = (call.connection for call in self.calls)
        self._numbers = itertools.count(max(numbers, default=0) + 1)

    def add(self, call: Call) -> None:
        """Append `call`; safe from any thread."""
        self.calls.append(call)

    def connect(self, database: str | os.PathLike[str], **options: Any) -> RecordingConnection:
        """Open a connection whose calls are recorded here; takes what `sqlite3.connect` takes.

        Raises:
            TypeError: if `options` names a ``factory``, which the recording itself needs.
            sqlite3.Error: what `sqlite3.connect` raises.
        """
        if "factory" in options:
            raise TypeError("factory= cannot be given here: the recorded connection is the factory")
        return RecordingConnection(self, database, **options)

    def next_connection(self) -> int:
        """The number of the next connection, from 1."""
        return next(self._numbers)

    @property
    def threads(self) -> list[str]:
        """Names of the threads that made a call, in the order of their first call."""
        return list(dict.fromkeys(call.thread for call in self.calls))

    def errors(self) -> pd.DataFrame:
        """One row per kind of error: ``error``, ``message``, ``sqlite_errorname``, ``count``."""
        return error_table(call.error for call in self.calls if call.error)

    def table(self) -> pd.DataFrame:
        """All calls as a data frame, one row each, times in milliseconds since the start."""
        import pandas as pd

        rows = [
            (
                call.thread,
                call.connection,
                call.operation,
                call.statement if call.sql else "",
                shorten(call.parameters),
                call.started / 1e6,
                call.ended / 1e6,
                call.outcome,
                shorten(call.result),
                call.error.kind if call.error else "",
                call.error.message if call.error else "",
                call.error.sqlite_errorname if call.error else "",
            )
            for call in self.calls
        ]
        return pd.DataFrame(rows, columns=TABLE_COLUMNS)


TABLE_COLUMNS = [
    "thread", "connection", "operation", "sql", "parameters", "start_ms", "end_ms",
    "outcome", "result", "error", "message", "sqlite_errorname",
]  # fmt: skip


def error_table(errors: Iterable[CallError]) -> pd.DataFrame:
    """Count equal errors, the most frequent first, ties in alphabetical order."""
    # Imported here so that a sandbox process, which makes no table, starts in a tenth of the time.
    import pandas as pd

    counts: dict[CallError, int] = {}
    for error in errors:
        counts[error] = counts.get(error, 0) + 1
    rows = sorted(((*error, count) for error, count in counts.items()), key=lambda r: (-r[3], r))
    return pd.DataFrame(rows, columns=["error", "message", "sqlite_errorname", "count"])


class Text(str):
    """A value's short text, kept in place of the value."""

    __slots__ = ()


def shorten(value: object, length: int = SHORT) -> str:
    """A short, stable text for a parameter or a result: no addresses, at most `length` characters.

    `None` as a whole becomes the empty text; inside a row it is shown as ``NULL``.
    """
    text = "" if value is None or value == () else _text(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _text(value: object) -> str:
    if isinstance(value, Text):
        return value
    if value is None:
        return "NULL"
    if isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= SHORT else repr(value[:SHORT])
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(item)}" for key, item in itertools.islice(value.items(), 8))
    if isinstance(value, (list, tuple, sqlite3.Row)):
        return "(" + ", ".join(_text(item) for item in itertools.islice(value, 8)) + ")"
    return f"<{type(value).__name__}>"


class RecordingConnection(sqlite3.Connection):
    """A `sqlite3.Connection` that notes every call in a `History`.

    Made by `History.connect`. Cursors made from it record too. Iteration over a cursor
    is not recorded row by row; `fetchone`, `fetchmany` and `fetchall` are.
    """

    def __init__(
        self, history: History, database: str | os.PathLike[str], *args: Any, **options: Any
    ) -> None:
        self._history = history
        self.number = history.next_connection()
        started = perf_counter_ns()
        try:
            super().__init__(database, *args, **options)
        except BaseException as error:
            self._note("connect", "", None, started, None, error)
            raise
        self._note("connect", "", None, started)

    def _note(
        self,
        operation: str,
        sql: str,
        parameters: object,
        started: int,
        result: object = None,
        error: BaseException | None = None,
    ) -> None:
        ended = perf_counter_ns()
        history = self._history
        began = history.began
        history.calls.append(
            Call(
                threading.current_thread().name,
                self.number,
                operation,
                sql,
                parameters,
                started - began,
                ended - began,
                result,
                None if error is None else CallError.of(error),
            )
        )
        if history.gives_way:
            sleep(0)

    def _recorded(self, operation: str, sql: str, call: Callable[[], Result]) -> Result:
        started = perf_counter_ns()
        try:
            result = call()
        except BaseException as error:
            self._note(operation, sql, None, started, None, error)
            raise
        self._note(operation, sql, None, started)
        return result

    def cursor(self, factory: Any = None) -> Any:
        """A recording cursor, or one of `factory` (which is then not recorded)."""
        return super().cursor(RecordingCursor if factory is None else factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """As `sqlite3.Connection.execute`."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """As `sqlite3.Connection.executemany`."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> Any:
        """As `sqlite3.Connection.executescript`."""
        return self.cursor().executescript(sql_script)

    def commit(self) -> None:
        """As `sqlite3.Connection.commit`."""
        self._recorded("commit", "COMMIT", super().commit)

    def rollback(self) -> None:
        """As `sqlite3.Connection.rollback`."""
        self._recorded("rollback", "ROLLBACK", super().rollback)

    def close(self) -> None:
        """As `sqlite3.Connection.close`."""
        self._recorded("close", "", super().close)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        operation = "commit" if kind is None else "rollback"
        leave = super().__exit__
        self._recorded(operation, operation.upper(), lambda: leave(kind, error, traceback))
        return False


class RecordingCursor(sqlite3.Cursor):
    """A `sqlite3.Cursor` whose calls are noted in its connection's history."""

    connection: RecordingConnection

    def execute(self, sql: str, parameters: Any = (), /) -> RecordingCursor:
        """As `sqlite3.Cursor.execute`."""
        started = perf_counter_ns()
        try:
            super().execute(sql, parameters)
        except BaseException as error:
            self.connection._note("execute", sql, parameters, started, None, error)
            raise
        self.connection._note("execute", sql, parameters, started)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> RecordingCursor:
        """As `sqlite3.Cursor.executemany`; the parameters themselves are not kept."""
        call = super().executemany
        self.connection._recorded("executemany", sql, lambda: call(sql, parameters))
        return self

    def executescript(self, sql_script: str, /) -> RecordingCursor:
        """As `sqlite3.Cursor.executescript`."""
        call = super().executescript
        self.connection._recorded("executescript", sql_script, lambda: call(sql_script))
        return self

    def _fetched(self, operation: str, fetch: Callable[[], Any]) -> Any:
        started = perf_counter_ns()
        try:
            rows = fetch()
        except BaseException as error:
            self.connection._note(operation, "", None, started, None, error)
            raise
        few = not isinstance(rows, list) or len(rows) <= 3
        self.connection._note(
            operation, "", None, started, rows if few else Text(f"{len(rows)} rows")
        )
        return rows

    def fetchone(self) -> Any:
        """As `sqlite3.Cursor.fetchone`."""
        return self._fetched("fetchone", super().fetchone)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """As `sqlite3.Cursor.fetchmany`."""
        fetch = super().fetchmany
        count = self.arraysize if size is None else size
        rows: list[Any] = self._fetched("fetchmany", lambda: fetch(count))
        return rows

    def fetchall(self) -> list[Any]:
        """As `sqlite3.Cursor.fetchall`."""
        rows: list[Any] = self._fetched("fetchall", super().fetchall)
        return rows
