"""A strategy's own connection, and the rules that a unit of work must keep on it.

A unit of work gets a real connection, so it *can* do what it must not: commit, close the
connection, catch the error with which SQLite ended the transaction and go on. Here each of
that is refused, and the connection is fit for the next unit, whatever the last one did.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable
from typing import Any

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.errors import MovedError, UnitError
from helpers.strategies.settings import Path_, Settings, absolute, in_memory


class Guarded:
    """A connection that is opened with `settings` and keeps its transactions in its own hands.

    Inside a unit BEGIN, COMMIT and ROLLBACK are denied, by an authorizer. So is a change after
    SQLite itself has ended the transaction (``OR ROLLBACK``, a full disk): `sqlite3` would
    begin a new one for it, by itself. Not seen is a change that `sqlite3` begins no transaction
    for, which is one that starts with CREATE, ALTER, DROP or WITH.

    One thread at a time may use it; the strategies see to that. An exception that arrives from
    outside, such as KeyboardInterrupt, may leave a transaction open; it is rolled back before
    the next unit.
    """

    def __init__(
        self, settings: Settings, path: Path_, connect: Connect, *, read_only: bool = False
    ) -> None:
        self.path = path = absolute(path)
        self._reopen = functools.partial(settings.open, path, connect, read_only=read_only)
        self._in_unit = self._ended = False
        self._wal: tuple[int, int] | None = None
        self._clean = True
        self._query_only = self._lent = False
        self.connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = self._reopen()
        self._file, self._wal = file_identity(self.path), None
        connection.set_authorizer(self._authorize)
        connection.isolation_level = "IMMEDIATE"
        return connection

    def write(self, unit_of_work: UnitOfWork, begin: str) -> Any:
        """As `transactions.write`, by the rules.

        Raises:
            MovedError: if the database file is no longer where it was.
        """
        return self._use(
            lambda connection, unit: transactions.write(connection, unit, begin), unit_of_work
        )

    def read(self, unit_of_work: UnitOfWork) -> Any:
        """As `transactions.read`, by the rules.

        Raises:
            MovedError: as `write`: what was read is not what is in the file now.
        """
        self.mend()
        self._query_only = True
        result = self._use(transactions.read, unit_of_work)
        self._query_only = False
        return result

    def _use(self, use: Callable[[sqlite3.Connection, UnitOfWork], Any], unit: UnitOfWork) -> Any:
        connection = self.ready()
        try:
            result = use(connection, functools.partial(self.run, unit))
        except sqlite3.Error:
            # That the files have moved explains whatever SQLite says.
            self.check_file()
            raise
        self._clean = True
        self.check_file()
        return result

    def ready(self) -> sqlite3.Connection:
        """The connection, without anything left behind by a unit that failed."""
        self.mend()
        self._clean = False
        return self.connection

    def lend(self) -> sqlite3.Connection:
        """The connection without rules, in autocommit; `mend` takes it back."""
        connection = self.ready()
        self._lent = True
        connection.isolation_level = None
        return connection

    def mend(self) -> None:
        """Take back what a unit left behind: an open transaction, or a closed connection."""
        if self._clean:
            return
        self._in_unit = False
        if not transactions.is_open(self.connection):
            if in_memory(self.path):
                raise UnitError(f"{transactions.CLOSED}; the database in memory is gone with it")
            self.connection = self._open()
        if self._lent and not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        if self.connection.in_transaction:
            transactions.roll_back(self.connection)
        self._lent = False
        if self._query_only:
            self.connection.execute("PRAGMA query_only = 0")
            self._query_only = False
        self.connection.isolation_level = "IMMEDIATE"
        self._clean = True

    def run(self, unit_of_work: UnitOfWork, connection: sqlite3.Connection) -> Any:
        """Run a unit by the rules, inside a transaction that is open already.

        Raises:
            UnitError: if it tried to begin or end a transaction, even if it caught the error.
        """
        self._in_unit, self._ended = True, False
        try:
            result = unit_of_work(connection)
        except Exception as error:
            if self._ended:
                raise UnitError(transactions.ENDED) from error
            raise
        finally:
            self._in_unit = False
        if self._ended:
            raise UnitError(transactions.ENDED)
        return result

    def _authorize(self, action: int, *_: object) -> int:
        if action == sqlite3.SQLITE_TRANSACTION and self._in_unit:
            self._ended = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def check_file(self) -> None:
        """Between a COMMIT and its acknowledgement: are the files still those at their paths?

        A file that is deleted or replaced lives on, without a name, for those who have it
        open; SQLite goes on committing to it, and in WAL mode never notices
        (https://www.sqlite.org/howtocorrupt.html, section 2.5). The WAL file stays the same
        as long as a connection has it open.

        Raises:
            MovedError: if they are not.
        """
        moved = self.moved()
        if moved is not None:
            raise moved

    def moved(self) -> MovedError | None:
        """The error that `check_file` raises, None if there is no reason to."""
        if self._file is None:
            return None
        wal = file_identity(f"{self.path}-wal")
        self._wal = self._wal or wal
        if wal == self._wal and file_identity(self.path) == self._file:
            return None
        return MovedError(self.path)

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back. Again: nothing."""
        self.connection.close()


def file_identity(path: Path_) -> tuple[int, int] | None:
    """Which file is at `path`: its device and number; None if there is none.

    On Windows always None: a file that is open cannot be deleted there.
    """
    if os.name != "posix":
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
