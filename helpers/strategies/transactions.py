"""One unit of work in one transaction: begun, committed, or rolled back whatever happens."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from helpers.strategies import UnitOfWork
from helpers.strategies.errors import UnitError

#: What may stand after BEGIN (https://www.sqlite.org/lang_transaction.html).
BEGINS = ("DEFERRED", "IMMEDIATE", "EXCLUSIVE")

#: Results that would go on working, or let others work, when the transaction is over.
_LATER = (Iterator, AsyncIterator, Awaitable, sqlite3.Cursor, sqlite3.Blob, sqlite3.Connection)

#: Results of which nothing is to be done any more: most are, and this is quickly asked.
_DONE = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict})


def check_begin(begin: str) -> str:
    """Return `begin` in capitals.

    Raises:
        ValueError: unless it is one of `BEGINS`.
    """
    if begin.upper() not in BEGINS:
        raise ValueError(f"begin must be one of {', '.join(BEGINS)}, not {begin!r}")
    return begin.upper()


def write(connection: sqlite3.Connection, unit_of_work: UnitOfWork, begin: str) -> Any:
    """Run `unit_of_work` between BEGIN and COMMIT and return its result.

    After any exception the transaction is rolled back, also after a COMMIT that SQLite
    refused: until then the transaction would stay open, and with it the write lock.

    Raises:
        UnitError: if a transaction is open already; if the unit ended its transaction or closed
            the connection; if it returned a cursor, another iterator, a coroutine or the
            connection, with which work would happen after the COMMIT.
        sqlite3.Error, Exception: what SQLite or the unit raise.
    """
    if connection.in_transaction:
        raise UnitError("a transaction is open already: commit it or roll it back first")
    try:
        connection.execute(f"BEGIN {begin}")
        result = finished(unit_of_work(connection))
        if not is_open(connection):
            raise UnitError(CLOSED)
        if not connection.in_transaction:
            raise UnitError(ENDED)
        commit(connection)
        return result
    except BaseException:
        if is_open(connection) and connection.in_transaction:
            roll_back(connection)
        raise


def commit(connection: sqlite3.Connection) -> None:
    """End the transaction with COMMIT, and with it every cursor that the unit left half read."""
    _end(connection, connection.commit)


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction with ROLLBACK, and with it every cursor that was left half read."""
    _end(connection, connection.rollback)


def _end(connection: sqlite3.Connection, end: Callable[[], None]) -> None:
    """Call `end`, after closing the cursors that are half read.

    Such a cursor keeps its lock, and an old snapshot for all that the connection reads later,
    as long as somebody refers to it; the traceback of an exception is enough. An interrupt
    hits the next statement only if another one is still running, and so tells
    (https://www.sqlite.org/c3ref/interrupt.html).
    """
    connection.interrupt()
    try:
        end()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        for user in gc.get_referrers(connection):
            if isinstance(user, (sqlite3.Cursor, sqlite3.Blob)):
                user.close()
        end()


def read(connection: sqlite3.Connection, unit_of_work: UnitOfWork) -> Any:
    """Run `unit_of_work` against one snapshot: the first SELECT takes it, the end drops it.

    Raises:
        sqlite3.OperationalError: "attempt to write a readonly database" if the unit writes.
        UnitError, sqlite3.Error, Exception: as for `write`.
    """
    try:
        connection.execute("PRAGMA query_only = 1")
        return write(connection, unit_of_work, "DEFERRED")
    finally:
        if is_open(connection):
            connection.execute("PRAGMA query_only = 0")


def is_open(connection: sqlite3.Connection) -> bool:
    """Whether `connection` was not closed yet."""
    try:
        connection.total_changes  # noqa: B018 (asking for it is the test)
    except sqlite3.ProgrammingError:
        return False
    return True


ENDED = (
    "the unit of work began or ended a transaction itself: leave BEGIN, commit(), rollback() and "
    "executescript() out of it, the strategy commits when the unit returns; and let errors out "
    "with which SQLite ends a transaction"
)
CLOSED = "the unit of work closed the connection: leave close() to the strategy"


def finished(result: Any) -> Any:
    """Return `result` if nothing of it is still to be done.

    Raises:
        UnitError: for a cursor or another iterator, a coroutine, a blob or a connection. It is
            not looked for inside of lists and other containers.
    """
    if type(result) not in _DONE and isinstance(result, _LATER):
        raise UnitError(
            f"the unit of work returned a {type(result).__name__}, whose work would happen "
            "outside its transaction: fetch the rows inside, and return them"
        )
    return result
