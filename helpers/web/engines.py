"""SQLAlchemy over SQLite for several threads: the repaired engine, and mapped classes.

Needs the packages of the optional group ``web``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from helpers.strategies import DEFAULTS, Connect, Settings

Path_ = str | os.PathLike[str]

#: What may stand after BEGIN (https://www.sqlite.org/lang_transaction.html).
BEGINS = ("DEFERRED", "IMMEDIATE", "EXCLUSIVE")


class Base(DeclarativeBase):
    """The mapped classes of the sample databases."""


class Counter(Base):
    """The one row of the sample ``counter``."""

    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


class Account(Base):
    """A row of the sample ``accounts``."""

    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    balance: Mapped[int]


def open_engine(
    path: Path_,
    connect: Connect | None = None,
    *,
    begin: str = "IMMEDIATE",
    settings: Settings = DEFAULTS,
    **options: Any,
) -> Engine:
    """An engine whose every transaction begins with a BEGIN of your choice.

    Python's `sqlite3` begins nothing of its own accord (``isolation_level=None``), and the
    engine's ``begin`` event sends the BEGIN, as SQLAlchemy's documentation describes:
    https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (transactions). A connection that
    only reads may ask for a plain BEGIN: ``engine.execution_options(begin="DEFERRED")``. The
    event does so under every ``isolation_level``, ``"AUTOCOMMIT"`` included.

    A level that is given to one connection is taken back when the pool gets it: the driver then
    has the level ``""``, and begins by itself before a change, where no transaction is open. One
    is always open here.

    Args:
        path: the database file.
        connect: opens a connection, by default `sqlite3.connect`; pass `History.connect` to
            record the calls.
        begin: ``"IMMEDIATE"``, or another of `BEGINS`.
        settings: of each connection: journal mode, busy timeout and so on.
        options: passed on to `create_engine`; ``pool_size``, for instance.

    Raises:
        ValueError: for a database in memory, or an unknown `begin`.
    """
    default = _checked(begin)
    if os.fsdecode(path).startswith((":memory:", "file:")):
        raise ValueError(f"give a file, not {path!r}: each connection would have its own")
    engine = create_engine(
        URL.create("sqlite", database=os.fspath(path)),
        creator=lambda: settings.open(path, connect or sqlite3.connect),
        **options,
    )

    @event.listens_for(engine, "begin")
    def send_begin(connection: Connection) -> None:
        chosen = connection.get_execution_options().get("begin", default)
        connection.exec_driver_sql(f"BEGIN {_checked(chosen)}")

    return engine


def _checked(begin: str) -> str:
    if begin.upper() not in BEGINS:
        raise ValueError(f"begin must be one of {', '.join(BEGINS)}, not {begin!r}")
    return begin.upper()


class Sessions:
    """A Session for each unit of work, over an engine of its own.

    Units of work take a `Session` where those of the other strategies take a connection.
    What a unit returns must not be an object of its Session, which is closed by then.

    Args:
        path: the database file.
        connect: opens a connection, by default `sqlite3.connect`; pass `History.connect` to
            record the calls.
        options: passed on to `open_engine`.

    Raises:
        ValueError: as `open_engine` does.
    """

    def __init__(self, path: Path_, connect: Connect | None = None, **options: Any) -> None:
        self.engine = open_engine(path, connect, **options)
        self._readers = self.engine.execution_options(begin="DEFERRED")

    def write(self, unit_of_work: Callable[[Session], Any], /) -> Any:
        """Run it inside one write transaction and return its result once that is committed."""
        with Session(self.engine) as session, session.begin():
            return unit_of_work(session)

    def read(self, unit_of_work: Callable[[Session], Any], /) -> Any:
        """Run it against one snapshot, and return its result; what it changes is rolled back."""
        with Session(self._readers) as session:
            return unit_of_work(session)

    def close(self) -> None:
        """Close the pool's connections. Calling it again does nothing."""
        self.engine.dispose()
