# python cherrypy_app.py         (it listens on the port $PORT, or 8080)
"""A shop that counts its sales in the SQLite file $DATABASE, or counter.db: CherryPy, sqlite3."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import cherrypy

DATABASE = os.path.abspath(os.environ.get("DATABASE", "counter.db"))


def connect() -> sqlite3.Connection:
    # sqlite3 itself begins nothing, and a transaction waits up to 30 s for its turn.
    connection = sqlite3.connect(DATABASE, isolation_level=None, timeout=30)
    connection.execute("PRAGMA foreign_keys = ON")
    # Refused at once while another process switches the file to WAL, where it stays.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
    return connection


@contextmanager
def transaction(begin: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Committed at the end of the block, rolled back on every exception."""
    with closing(connect()) as connection:
        connection.execute(f"BEGIN {begin}")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.rollback()  # Does nothing after the commit.


def create_tables() -> None:
    with transaction() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)"
        )
        connection.execute("INSERT OR IGNORE INTO counter VALUES (1, 0)")


class Shop:
    @cherrypy.expose
    @cherrypy.tools.json_out()
    def index(self) -> int:
        # A reader says so, and takes no write lock.
        with transaction("DEFERRED") as connection:
            return connection.execute("SELECT value FROM counter WHERE id = 1").fetchone()[0]

    @cherrypy.expose
    @cherrypy.tools.allow(methods=["POST"])
    @cherrypy.tools.json_out()
    def increment(self, refused: str = "") -> int:
        with transaction() as connection:
            (value,) = connection.execute("SELECT value FROM counter WHERE id = 1").fetchone()
            connection.execute("UPDATE counter SET value = ? WHERE id = 1", [value + 1])
            if refused:
                raise cherrypy.HTTPError(402, "the payment was refused")
            return value + 1


if __name__ == "__main__":
    create_tables()
    cherrypy.config.update({"environment": "production"})
    cherrypy.config.update({"server.socket_port": int(os.environ.get("PORT", "8080"))})
    # The default, 5, makes a crowd of clients wait a second for its connections.
    cherrypy.config.update({"server.socket_queue_size": 128})
    with closing(connect()):  # While it is open, no request's connection is the last to close.
        cherrypy.quickstart(Shop())
