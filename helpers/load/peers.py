"""Other ways to share one SQLite database, adapted to the protocol of `helpers.strategies`.

Each is used as its documentation says, with the settings that the others get too: the same
journal mode, the same `synchronous`, the same busy timeout, write transactions that begin
IMMEDIATE. `SqliteQueueDatabase` and aiosqlite take statements, not functions of a connection: of
a unit of work they run `sql` with `parameters`, and refuse what has none. Each class imports its
library when it is made; `LIBRARY` names it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Coroutine
from contextlib import closing
from typing import Any

from helpers.strategies import Settings, UnitOfWork

#: A file, as the strategies take it.
Path = str | os.PathLike[str]


class Refused(TypeError):
    """The library does not take such a unit of work."""


def _statement(unit: Any) -> tuple[str, Any]:
    if not hasattr(unit, "sql"):
        raise Refused("it takes statements, not functions of a connection")
    return unit.sql, unit.parameters


class PeeweeQueue:
    """peewee's `SqliteQueueDatabase`: one thread that writes, and a queue of statements.

    Each statement is a transaction of its own. It refuses all journal modes but WAL.
    """

    statements_only = True

    def __init__(self, path: Path, settings: Settings) -> None:
        from playhouse.sqliteq import SqliteQueueDatabase

        pragmas = {"journal_mode": settings.journal_mode, "synchronous": settings.synchronous}
        self.database = SqliteQueueDatabase(
            str(path), pragmas=pragmas, timeout=settings.busy_timeout
        )

    def write(self, unit: Any, /) -> Any:
        """Run its statement and wait until that is stored."""
        # Asking for the number of rows waits for the thread that writes, and raises its error.
        return self.database.execute_sql(*_statement(unit)).rowcount

    read = write

    def close(self) -> None:
        """End the thread."""
        self.database.stop()


class SqlAlchemyPool:
    """A SQLAlchemy engine with the pool that it takes for a file, and BEGIN IMMEDIATE."""

    def __init__(self, path: Path, settings: Settings) -> None:
        import sqlalchemy

        self.engine = sqlalchemy.create_engine(
            f"sqlite:///{os.fspath(path)}", connect_args={"timeout": settings.busy_timeout}
        )

        @sqlalchemy.event.listens_for(self.engine, "connect")
        def connected(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            with closing(connection.cursor()) as cursor:
                cursor.execute(f"PRAGMA journal_mode = {settings.journal_mode}")
                cursor.execute(f"PRAGMA synchronous = {settings.synchronous}")

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begun(connection: Any) -> None:
            connection.exec_driver_sql(connection.get_execution_options().get("begin", IMMEDIATE))

    def write(self, unit: Any, /) -> Any:
        """Run it in a transaction, on the connection of `sqlite3` that the pool lends."""
        with self.engine.begin() as connection:
            if hasattr(unit, "sql"):
                return connection.exec_driver_sql(unit.sql, unit.parameters)
            return unit(connection.connection.driver_connection)

    def read(self, unit: UnitOfWork, /) -> Any:
        """The same in a transaction that begins DEFERRED."""
        with self.engine.connect() as connection:
            connection.execution_options(begin="BEGIN")
            with connection.begin():
                return unit(connection.connection.driver_connection)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()


IMMEDIATE = "BEGIN IMMEDIATE"


class AioSqlite:
    """aiosqlite: one connection, and an `asyncio.Lock` round each transaction.

    `write` is for threads; `write_in_loop` for tasks of the same event loop, where aiosqlite is
    at home and saves the way between two threads.
    """

    statements_only = True

    def __init__(self, path: Path, settings: Settings) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self.thread.start()
        self.run(self._open(path, settings))

    async def _open(self, path: Path, settings: Settings) -> None:
        import aiosqlite

        self.lock = asyncio.Lock()
        self.connection = await aiosqlite.connect(
            os.fspath(path), timeout=settings.busy_timeout, isolation_level=None
        )
        await self.connection.execute(f"PRAGMA journal_mode = {settings.journal_mode}")
        await self.connection.execute(f"PRAGMA synchronous = {settings.synchronous}")

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it in the loop's thread and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def write_in_loop(self, unit: Any) -> None:
        """Run its statement in a transaction."""
        statement = _statement(unit)
        async with self.lock:
            await self.connection.execute(IMMEDIATE)
            try:
                await self.connection.execute(*statement)
                await self.connection.commit()
            except BaseException:
                await self.connection.rollback()
                raise

    def write(self, unit: Any, /) -> None:
        """Run its statement in a transaction, in the loop."""
        self.run(self.write_in_loop(unit))

    read = write

    def close(self) -> None:
        """Close the connection and end the loop."""
        self.run(self.connection.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


#: The peers that a library offers, and the package that each needs.
LIBRARY = {
    "peewee's queue": (PeeweeQueue, "peewee"),
    "SQLAlchemy's pool": (SqlAlchemyPool, "sqlalchemy"),
    "aiosqlite": (AioSqlite, "aiosqlite"),
}


def installed() -> dict[str, Any]:
    """Of `LIBRARY` the classes whose package is here."""
    return {
        name: peer
        for name, (peer, package) in LIBRARY.items()
        if importlib.util.find_spec(package) is not None
    }
