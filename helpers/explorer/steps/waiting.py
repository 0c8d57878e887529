"""Would SQLite wait here, or say "database is locked" at once? Two ways to know.

SQLite calls a connection's *busy handler* when waiting may help, and returns
SQLITE_BUSY at once when it cannot (a read transaction that wants to write). The first way,
`HandlerWaiting`, reaches ``sqlite3_busy_handler`` of the standard library's connection
through ctypes: the thread is parked *inside* SQLite, holding the locks it holds. The
second, `RuleWaiting`, needs no symbols: it opens every connection without a timeout and
decides by the rule above. `choose` tests the first once per process and falls back.

Rule and limits: SQLite waits when a connection with *no* transaction begins one, and when
a COMMIT needs the readers gone (https://www.sqlite.org/c3ref/busy_handler.html). The rule
does not see that BEGIN EXCLUSIVE keeps new readers out while it waits for old ones; a run by
the rule is marked so.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.steps.watched import Waiting, WatchedConnection

#: The environment variable that forces the rule, with the value ``rule``, here and in children.
SWITCH = "SQLITE_UNDER_THREADS_WAITING"

_LOCKSTATE = 1
_BUSY = 5

_Handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_Extension = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p
)


class Library:
    """The SQLite library that `sqlite3` itself uses, and the handle of a connection.

    Raises:
        OSError, AttributeError: if its symbols cannot be reached.
        RuntimeError: if the handle is not where it is expected.
    """

    def __init__(self) -> None:
        library = _load()
        self.busy_handler = library.sqlite3_busy_handler
        self.busy_handler.argtypes = [ctypes.c_void_p, _Handler, ctypes.c_void_p]
        self.txn_state = library.sqlite3_txn_state
        self.txn_state.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self.file_control = library.sqlite3_file_control
        self.file_control.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p,
        ]  # fmt: skip
        self._check_handle(library)

    def handle(self, connection: sqlite3.Connection) -> int:
        """The `sqlite3*` of `connection`: the first field after the Python object's header."""
        return ctypes.c_void_p.from_address(id(connection) + object.__basicsize__).value or 0

    def _check_handle(self, library: ctypes.CDLL) -> None:
        """Compare with the handle that SQLite itself gives to an automatic extension."""
        seen: list[int] = []

        @_Extension  # type: ignore[untyped-decorator]
        def note(handle: int, _error: Any, _routines: Any) -> int:
            seen.append(handle)
            return 0

        library.sqlite3_auto_extension(note)
        try:
            with closing(sqlite3.connect(":memory:")) as connection:
                if self.handle(connection) not in seen:
                    raise RuntimeError("the connection's handle is not where it is expected")
        finally:
            library.sqlite3_cancel_auto_extension(note)


def _load() -> ctypes.CDLL:
    """The loaded library: through the extension module, which also finds what it links to."""
    import _sqlite3

    if sys.platform == "win32":
        return ctypes.CDLL("sqlite3.dll")
    return ctypes.CDLL(getattr(_sqlite3, "__file__", None))


class HandlerWaiting:
    """Waiting decided by SQLite itself: its busy handler parks the thread."""

    name = "busy handler"

    def __init__(self) -> None:
        self.library = Library()
        self._level = ctypes.c_int()
        self._callback = _Handler(self._on_busy)
        _self_test(self.library)

    def adopt(self, connection: WatchedConnection) -> None:
        """Install the handler in place of the timeout."""
        handle = connection.handle = self.library.handle(connection)
        self.library.busy_handler(handle, self._callback, handle)

    def perform(
        self, connection: WatchedConnection, kind: str, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Make `call`; SQLite calls the handler in this thread where it would wait."""
        return call(*arguments)

    def _on_busy(self, handle: int, _count: int) -> int:
        run = Scheduler.here()
        if run is None:
            return 0
        here = (c for c in run.connections if c.handle == handle and not c.closed)
        connection: WatchedConnection | None = next(here, None)
        if connection is None or connection.occupant is None or not connection.waits:
            return 0
        try:
            phase = (self.transaction(connection), self.lock(connection))
            return int(connection.wait(phase))
        except BaseException as error:  # an exception cannot cross C code
            connection.failure = error
            return 0

    def transaction(self, connection: WatchedConnection) -> int:
        """Ask SQLite."""
        return int(self.library.txn_state(connection.handle, None))

    def lock(self, connection: WatchedConnection) -> int:
        """Ask SQLite's file layer."""
        level = self._level
        self.library.file_control(connection.handle, None, _LOCKSTATE, ctypes.byref(level))
        return level.value


class RuleWaiting:
    """Waiting decided by a rule, for a SQLite whose symbols cannot be reached."""

    name = "rule"

    def adopt(self, connection: WatchedConnection) -> None:
        """No timeout: every busy call comes back at once."""
        sqlite3.Cursor(connection).execute("PRAGMA busy_timeout = 0").close()

    def perform(
        self, connection: WatchedConnection, kind: str, call: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Make `call`; an autocommit write is split, so that it keeps its locks while it waits."""
        call = functools.partial(call, *arguments)
        if kind in ("look", "other"):
            connection.rule_unknown += 1
        if not connection.open_transaction:
            connection.rule_state = self.transaction(connection)
            if kind in ("insert", "change"):
                return self._write_and_commit(connection, call)
        result = self._retry(connection, call, kind in ("commit", "end"))
        self._follow(connection, kind)
        return result

    def _write_and_commit(self, connection: WatchedConnection, call: Callable[[], Any]) -> Any:
        connection.rule_splits = True
        connection.raw("BEGIN")
        try:
            result = self._retry(connection, call, False)
            connection.rule_state = 2
            connection.rule_lock = 2
            self._retry(connection, lambda: connection.raw("COMMIT"), True)
        except BaseException:
            if connection.open_transaction:
                connection.raw("ROLLBACK")
            raise
        finally:
            connection.rule_state = connection.rule_lock = 0
            connection.rule_splits = False
        return result

    def _retry(
        self, connection: WatchedConnection, call: Callable[[], Any], committing: bool
    ) -> Any:
        while True:
            try:
                return call()
            except sqlite3.OperationalError as error:
                if not connection.open_transaction:
                    self._statements(connection)  # else SQLite takes an unread schema for a change
                waits = committing or connection.rule_state == 0
                if error.sqlite_errorcode != _BUSY or not waits or not connection.waits:
                    raise
                if committing and not connection.is_wal:
                    connection.rule_lock = 3
                if not connection.wait((connection.rule_state, connection.rule_lock)):
                    raise

    def _follow(self, connection: WatchedConnection, kind: str) -> None:
        """Keep the transaction state that a successful call leaves behind."""
        state = connection.rule_state
        if kind in ("read", "returning", "look", "other"):
            unfinished = 2 if kind == "returning" else 1
            connection.rule_unfinished = max(unfinished, connection.rule_unfinished)
        if kind in ("insert", "change", "returning", "begin immediate", "begin exclusive"):
            state = 2
        elif kind == "read":
            state = max(state, 1)
        if not connection.open_transaction:
            state = 0
        connection.rule_state = state
        lock = 4 if kind == "begin exclusive" else state
        connection.rule_lock = max(lock, connection.rule_lock) if state == 2 else lock

    def transaction(self, connection: WatchedConnection) -> int:
        """As followed; outside of one, that of a statement that is not read to its end."""
        if connection.open_transaction:
            return connection.rule_state
        if connection.rule_unfinished and not self._statements(connection):
            connection.rule_unfinished = 0
        return connection.rule_unfinished

    def _statements(self, connection: WatchedConnection) -> bool:
        """Whether a statement is not read to its end.

        SQLite tells it in the words in which it refuses a VACUUM. It rolls back then; where it
        could not read the schema before, that would end other statements too.
        """
        try:
            connection.raw("VACUUM INTO 0")  # SQLite refuses it in any case
        except sqlite3.OperationalError as error:
            return "in progress" in str(error)
        return False

    def lock(self, connection: WatchedConnection) -> int:
        """As followed; in WAL mode only SHARED is ever held on the file itself."""
        open_ = connection.open_transaction
        level = connection.rule_lock if open_ else self.transaction(connection)
        return min(level, 1) if connection.is_wal else level


def _self_test(library: Library) -> None:
    """The handler must be called where SQLite would wait, and only there.

    Raises:
        RuntimeError: if it is not.
    """
    called: list[int] = []

    @_Handler  # type: ignore[untyped-decorator]
    def give_up(_context: int, _count: int) -> int:
        called.append(1)
        return 0

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.db"
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as first,
            closing(sqlite3.connect(path, isolation_level=None)) as second,
        ):
            first.execute("CREATE TABLE probe (id INTEGER)")
            second.execute("BEGIN").execute("SELECT * FROM probe").fetchall()
            first.execute("BEGIN IMMEDIATE")
            library.busy_handler(library.handle(second), give_up, None)
            at_once = _is_busy(second, "INSERT INTO probe VALUES (1)") and not called
            second.execute("ROLLBACK")
            waits = _is_busy(second, "BEGIN IMMEDIATE") and len(called) == 1
    if not (at_once and waits):
        raise RuntimeError("SQLite does not call the busy handler as expected")


def _is_busy(connection: sqlite3.Connection, sql: str) -> bool:
    try:
        connection.execute(sql)
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode == _BUSY
    return False


def choose(name: str = "auto") -> Waiting:
    """The way to wait: ``"busy handler"``, ``"rule"``, or ``"auto"``: the first that works.

    Where the environment variable `SWITCH` says ``rule``, SQLite's symbols are not looked for,
    as if this Python hid them.

    Raises:
        ValueError: for another name, or another value of `SWITCH`.
        OSError, AttributeError, RuntimeError: if ``"busy handler"`` was asked for by name
            and this Python's SQLite cannot be reached.
    """
    if name not in ("auto", HandlerWaiting.name, RuleWaiting.name):
        raise ValueError(f"unknown way to wait {name!r}: use 'auto', 'busy handler' or 'rule'")
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "auto", RuleWaiting.name):
        raise ValueError(f"{SWITCH} is {switch!r}: set it to 'rule', or not at all")
    return _made(name, hidden=switch == RuleWaiting.name)


@functools.cache
def _made(name: str, hidden: bool) -> Waiting:
    if name != RuleWaiting.name:
        try:
            if hidden:
                raise OSError(f"{SWITCH} forbids looking for SQLite's symbols")
            return HandlerWaiting()
        except (OSError, AttributeError, RuntimeError):
            if name != "auto":
                raise
    return RuleWaiting()
