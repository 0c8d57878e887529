"""Ways to share a connection that only the benchmark compares, beside `helpers.load.peers`."""

import sqlite3
import threading
from importlib.metadata import version

from helpers.load import peers


class OnePlainLock:
    """One connection of `sqlite3`, and a `threading.Lock` round each transaction."""

    def __init__(self, path, settings):
        self.lock = threading.Lock()
        self.connection = settings.open(path)

    def write(self, unit, /):
        """Run it in a transaction."""
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit(self.connection)

    def close(self):
        """Close the connection."""
        self.connection.close()


class PlainPerThread:
    """A connection of `sqlite3` for each thread, with a busy timeout."""

    def __init__(self, path, settings):
        self.path, self.settings = path, settings
        self.local = threading.local()
        self.connections = []

    def write(self, unit, /):
        """Run it in a transaction."""
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = self.settings.open(self.path)
            self.connections.append(connection)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            return unit(connection)

    def close(self):
        """Close all connections."""
        for connection in self.connections:
            connection.close()


class SqlAlchemyLock(peers.SqlAlchemyPool):
    """The same with a lock round each transaction."""

    def __init__(self, path, settings):
        super().__init__(path, settings)
        self.lock = threading.Lock()

    def write(self, unit, /):
        """Run it in a transaction."""
        with self.lock:
            return super().write(unit)


def versions():
    """The versions of what is compared."""
    return {"sqlite": sqlite3.sqlite_version} | {
        package: version(package) for _, package in peers.LIBRARY.values()
    }
