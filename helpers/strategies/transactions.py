"""One unit of work in one transaction: begun, committed, or rolled back whatever happens."""

from __future__ import annotations

import sqlite3
import types
from typing import Any

from helpers.strategies import UnitOfWork
from helpers.strategies.errors import UnitError

#: What may stand after BEGIN (https://www.sqlite.org/lang_transaction.html).
BEGINS = ("DEFERRED", "IMMEDIATE", "EXCLUSIVE")

_LATER = (sqlite3.Cursor, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)


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
        UnitError: if the unit ended the transaction itself, or returned a cursor, a
            generator or a coroutine, whose work would happen after the COMMIT.
        sqlite3.Error, Exception: what SQLite or the unit raise.
    """
    connection.execute(f"BEGIN {begin}")
    try:
        result = finished(unit_of_work(connection))
        if not connection.in_transaction:
            raise UnitError(ENDED)
        connection.commit()
        return result
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise


def read(connection: sqlite3.Connection, unit_of_work: UnitOfWork) -> Any:
    """Run `unit_of_work` against one snapshot: the first SELECT takes it, the end drops it.

    Raises:
        sqlite3.OperationalError: "attempt to write a readonly database" if the unit writes.
        UnitError, sqlite3.Error, Exception: as for `write`.
    """
    connection.execute("PRAGMA query_only = 1")
    try:
        return write(connection, unit_of_work, "DEFERRED")
    finally:
        connection.execute("PRAGMA query_only = 0")


ENDED = (
    "the unit of work began or ended a transaction itself: leave BEGIN, commit(), rollback() and "
    "executescript() out of it, the strategy commits when the unit returns"
)


def finished(result: Any) -> Any:
    """Return `result` if nothing of it is still to be done.

    Raises:
        UnitError: for a cursor, a generator or a coroutine.
    """
    if isinstance(result, _LATER):
        raise UnitError(
            f"the unit of work returned a {type(result).__name__}, whose work would happen "
            "outside its transaction: fetch the rows inside, and return them"
        )
    return result
