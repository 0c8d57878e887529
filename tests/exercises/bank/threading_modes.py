"""Notebook 03: the increment with Python's own BEGIN, which comes before the UPDATE."""

import contextlib
import sqlite3
import threading
from contextlib import closing

SELECT = "SELECT value FROM counter"
UPDATE = "UPDATE counter SET value = ?"
ATOMIC = "UPDATE counter SET value = value + 1"
lock = threading.Lock()


def opened(path, **options):
    return closing(sqlite3.connect(path, **options))


def read_and_write(connection):
    (value,) = connection.execute(SELECT).fetchone()
    connection.execute(UPDATE, [value + 1])


def given(path, **options):
    with opened(path, **options) as connection:
        read_and_write(connection)
        connection.commit()


def in_one_statement(path):
    with opened(path) as connection:
        connection.execute(ATOMIC)
        connection.commit()


def in_with(path):
    with opened(path) as connection, connection:
        connection.execute(ATOMIC)


def begun_by_hand(path):
    with opened(path) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        read_and_write(connection)


def locked(path):
    with lock:
        given(path)


def inserts_or_adds(path):
    with opened(path) as connection, connection:
        connection.execute(
            "INSERT INTO counter VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET value = value + 1"
        )


def compares_and_swaps(path):
    with opened(path) as connection:
        swapped = 0
        while not swapped:
            (value,) = connection.execute(SELECT).fetchone()
            with connection:
                sql = f"{UPDATE} WHERE value = ?"
                swapped = connection.execute(sql, [value + 1, value]).rowcount


def patient(path):
    given(path, timeout=60)


def immediate_by_option(path):
    given(path, isolation_level="IMMEDIATE")


def exclusive_by_option(path):
    given(path, isolation_level="EXCLUSIVE")


def unchecked(path):
    given(path, check_same_thread=False)


def in_wal(path):
    with opened(path) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        read_and_write(connection)
        connection.commit()


def plain_begin(path):
    with opened(path) as connection, connection:
        connection.execute("BEGIN")
        read_and_write(connection)


def commits_the_read(path):
    with opened(path) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        connection.commit()
        connection.execute(UPDATE, [value + 1])
        connection.commit()


def locked_per_statement(path):
    with opened(path) as connection:
        with lock:
            (value,) = connection.execute(SELECT).fetchone()
        with lock:
            connection.execute(UPDATE, [value + 1])
            connection.commit()


def commits_outside(path):
    with opened(path) as connection:
        with lock:
            read_and_write(connection)
        connection.commit()


def forgets_the_commit(path):
    with opened(path) as connection:
        connection.execute(ATOMIC)


def in_with_connect(path):
    """The block ends the transaction, and leaves the connection open."""
    with sqlite3.connect(path) as connection:
        connection.execute(ATOMIC)


def swallows(path):
    with contextlib.suppress(sqlite3.OperationalError):
        in_one_statement(path)


def hasty_and_silent(path):
    with contextlib.suppress(sqlite3.OperationalError), opened(path, timeout=0) as connection:
        connection.execute(ATOMIC)
        connection.commit()


def hasty(path):
    with opened(path, timeout=0) as connection:
        connection.execute(ATOMIC)
        connection.commit()


def to_two(path):
    """What the example holds in the end."""
    with opened(path) as connection:
        connection.execute("UPDATE counter SET value = min(value + 1, 2)")
        connection.commit()


RIGHT = {
    "one statement": in_one_statement,
    "one statement, with": in_with,
    "BEGIN IMMEDIATE by hand": begun_by_hand,
    "a lock": locked,
    "upsert": inserts_or_adds,
    "compare and swap": compares_and_swaps,
}
WRONG = {
    "as given": (given, "overwrites that"),
    "a longer timeout": (patient, "no timeout helps"),
    "isolation_level=IMMEDIATE": (immediate_by_option, "overwrites that"),
    "isolation_level=EXCLUSIVE": (exclusive_by_option, "overwrites that"),
    "check_same_thread=False": (unchecked, "overwrites that"),
    "WAL": (in_wal, "overwrites that"),
    "BEGIN": (plain_begin, "Which BEGIN takes the write lock before the SELECT?"),
    "a commit after the read": (commits_the_read, "overwrites that"),
    "a lock per statement": (locked_per_statement, "gives it back between its SELECT and"),
    "COMMIT outside the lock": (commits_outside, "overwrites that"),
    "no commit": (forgets_the_commit, "already alone"),
    "with sqlite3.connect": (in_with_connect, "a connection is never closed"),
    "exception swallowed": (swallows, "returns as if all were well"),
    "timeout=0, swallowed": (hasty_and_silent, "returned as if all were well"),
    "timeout=0": (hasty, "a thread is told"),
    "hard-coded": (to_two, "three, one after the other, leave 2 in the counter"),
}
