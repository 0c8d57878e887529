"""Other ways to share one SQLite database, adapted to the protocol of `helpers.strategies`.

Each is used as its documentation says, with the settings that the others get too: the same
journal mode, the same `synchronous`, a busy timeout of five seconds, write transactions that
begin IMMEDIATE. A unit of work is an object with `sql` and `parameters` that can also be called
with a connection: `SqliteQueueDatabase` and aiosqlite take statements, not functions.
"""

import asyncio
import sqlite3
import threading
from contextlib import closing

import aiosqlite
import peewee
import sqlalchemy
from playhouse.sqliteq import SqliteQueueDatabase

TIMEOUT = 5.0


class OnePlainLock:
    """One connection of `sqlite3`, and a `threading.Lock` round each transaction."""

    def __init__(self, path, settings):
        self.lock = threading.Lock()
        self.connection = settings.open(path)

    def write(self, unit, /):
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit(self.connection)

    def close(self):
        self.connection.close()


class PlainPerThread:
    """A connection of `sqlite3` for each thread, with a busy timeout."""

    def __init__(self, path, settings):
        self.path, self.settings = path, settings
        self.local = threading.local()
        self.connections = []

    def write(self, unit, /):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = self.settings.open(self.path)
            self.connections.append(connection)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            return unit(connection)

    def close(self):
        for connection in self.connections:
            connection.close()


class PeeweeQueue:
    """peewee's `SqliteQueueDatabase`: one thread that writes, and a queue of statements.

    Each statement is a transaction of its own. It refuses all journal modes but WAL.
    """

    def __init__(self, path, settings):
        pragmas = {"journal_mode": settings.journal_mode, "synchronous": settings.synchronous}
        self.database = SqliteQueueDatabase(str(path), pragmas=pragmas, timeout=TIMEOUT)

    def write(self, unit, /):
        # Asking for the number of rows waits for the thread that writes, and raises its error.
        return self.database.execute_sql(unit.sql, unit.parameters).rowcount

    def close(self):
        self.database.stop()


class SqlAlchemyPool:
    """A SQLAlchemy engine with the pool that it takes for a file, and BEGIN IMMEDIATE."""

    def __init__(self, path, settings):
        self.engine = sqlalchemy.create_engine(
            f"sqlite:///{path}", connect_args={"timeout": TIMEOUT}
        )

        @sqlalchemy.event.listens_for(self.engine, "connect")
        def connected(connection, _):
            connection.isolation_level = None
            with closing(connection.cursor()) as cursor:
                cursor.execute(f"PRAGMA journal_mode = {settings.journal_mode}")
                cursor.execute(f"PRAGMA synchronous = {settings.synchronous}")

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begun(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def write(self, unit, /):
        with self.engine.begin() as connection:
            connection.exec_driver_sql(unit.sql, unit.parameters)

    def close(self):
        self.engine.dispose()


class SqlAlchemyLock(SqlAlchemyPool):
    """The same with a lock round each transaction."""

    def __init__(self, path, settings):
        super().__init__(path, settings)
        self.lock = threading.Lock()

    def write(self, unit, /):
        with self.lock:
            super().write(unit)


class AioSqlite:
    """aiosqlite: one connection, and an `asyncio.Lock` round each transaction.

    `write` is for threads; `write_in_loop` for tasks of the same event loop, where aiosqlite is
    at home and saves the way between two threads.
    """

    def __init__(self, path, settings):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self.thread.start()
        self.run(self._open(path, settings))

    async def _open(self, path, settings):
        self.lock = asyncio.Lock()
        self.connection = await aiosqlite.connect(path, timeout=TIMEOUT, isolation_level=None)
        await self.connection.execute(f"PRAGMA journal_mode = {settings.journal_mode}")
        await self.connection.execute(f"PRAGMA synchronous = {settings.synchronous}")

    def run(self, coroutine):
        """Run it in the loop's thread and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def write_in_loop(self, unit):
        async with self.lock:
            await self.connection.execute("BEGIN IMMEDIATE")
            try:
                await self.connection.execute(unit.sql, unit.parameters)
                await self.connection.commit()
            except BaseException:
                await self.connection.rollback()
                raise

    def write(self, unit, /):
        self.run(self.write_in_loop(unit))

    def close(self):
        self.run(self.connection.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def versions():
    """The versions of what is compared."""
    return {
        "sqlite": sqlite3.sqlite_version,
        "peewee": peewee.__version__,
        "sqlalchemy": sqlalchemy.__version__,
        "aiosqlite": aiosqlite.__version__,
    }
