"""The settings of a connection, in one place: journal mode, durability, patience, foreign keys."""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

Connect = Callable[..., sqlite3.Connection]

#: The longest wait in seconds: SQLite counts milliseconds in 32 bits, more would be no wait at all.
LONGEST = 2_000_000


#: Of each thread: path of a database -> a lock, held while the thread is in a unit of work for it.
#: So the strategies see each other's units, and refuse to be called inside of one.
units = threading.local()


class OutcomeUnknown(RuntimeError):
    """Whether the unit of work is stored is not known: look before you run it again."""


@dataclass(frozen=True)
class Settings:
    """How connections are opened: ``PerThread(path, Settings("wal").open)``.

    None leaves a setting as SQLite has it.

    Attributes:
        journal_mode: ``"wal"`` lets readers work beside a writer; it costs two more files, a
            checkpoint now and then, and does not work on network file systems. Stored in the
            database, so every program that opens it gets it (https://www.sqlite.org/wal.html).
        synchronous: when SQLite waits for the disk. ``"FULL"`` (SQLite's own default) syncs the
            log at each commit in WAL, so that it survives a power failure; in mode ``"delete"``
            that takes ``"EXTRA"``, which syncs the folder, too, once the journal is deleted.
            ``"NORMAL"`` in WAL: the last commits may be rolled back after one, but the database
            stays sound; several times faster. ``"OFF"``: a power failure can destroy the
            database. None of them matters when only the *process* dies
            (https://www.sqlite.org/pragma.html#pragma_synchronous). Disks hold back writes of
            their own accord; on macOS ``PRAGMA fullfsync = 1`` makes them write.
        busy_timeout: seconds that a statement waits for another connection's lock before
            "database is locked". It cures waiting, not refusal: a read transaction that
            cannot become a write transaction is refused at once. So is a change of the
            journal mode while another connection changes it; `open` tries that again.
        foreign_keys: whether REFERENCES is enforced. Off unless each connection asks for it.
    """

    journal_mode: str | None = None
    synchronous: str | None = None
    busy_timeout: float = 5.0
    foreign_keys: bool | None = None

    _CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "journal_mode": ("delete", "wal", "truncate", "persist", "memory", "off"),
        "synchronous": ("off", "normal", "full", "extra"),
    }

    def __post_init__(self) -> None:
        for name, choices in self._CHOICES.items():
            value = getattr(self, name)
            if value is not None and str(value).lower() not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        if not 0 <= self.busy_timeout <= LONGEST:
            raise ValueError(
                f"busy_timeout must be 0 to {LONGEST} seconds, not {self.busy_timeout!r}"
            )

        if self.foreign_keys not in (None, True, False):
            raise ValueError(f"foreign_keys must be True, False or None, not {self.foreign_keys!r}")

    def open(
        self,
        path: str | os.PathLike[str],
        connect: Connect = sqlite3.connect,
        **options: Any,
    ) -> sqlite3.Connection:
        """Open a connection that any thread may use and that begins no transaction by itself.

        Args:
            path: the database file.
            connect: opens it; pass `History.connect` to record the calls.
            options: passed on to `connect`.

        Raises:
            sqlite3.Error: if the file cannot be opened.
            RuntimeError: if the database refuses the journal mode.
        """
        usual = {
            "timeout": self.busy_timeout,
            "isolation_level": None,
            "check_same_thread": False,
        }
        connection = connect(path, **{**usual, **options})
        try:
            self._apply(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def applied_to(self, strategy: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """`strategy` with these settings; takes a path and a ``connect``, as a strategy does."""

        def make(path: str | os.PathLike[str], connect: Connect = sqlite3.connect) -> Any:
            return strategy(path, functools.partial(self.open, connect=connect), **options)

        make.__name__ = getattr(strategy, "__name__", type(strategy).__name__)
        return make

    def _apply(self, connection: sqlite3.Connection) -> None:
        if self.journal_mode is not None:
            self._switch(connection, self.journal_mode.lower())
        if self.synchronous is not None:
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        if self.foreign_keys is not None:
            connection.execute(f"PRAGMA foreign_keys = {int(self.foreign_keys)}")

    def _switch(self, connection: sqlite3.Connection, asked: str) -> None:
        """Set the journal mode; two connections that switch together are refused at once."""
        deadline = time.monotonic() + self.busy_timeout
        while True:
            try:
                (mode,) = connection.execute(f"PRAGMA journal_mode = {asked}").fetchone()
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
        if mode != asked:
            raise RuntimeError(
                f"asked for journal mode {asked!r}, the database stays in {mode!r}: it may be "
                "in memory, or on a network file system"
            )


#: SQLite's own settings, whatever the database file says.
DEFAULTS = Settings()
#: WAL, and every acknowledged unit of work survives a power failure.
DURABLE = Settings("wal", "FULL", foreign_keys=True)
#: WAL, and the last units may be lost in a power failure, though not in a crash of the program.
FAST = Settings("wal", "NORMAL", foreign_keys=True)
