"""Notebook 09: a report that keeps no clerk waiting."""

import contextlib
import sqlite3
import threading
import time

from helpers.exercises import reports
from helpers.strategies import Retry

INSERT = "INSERT INTO report VALUES (?)"
lock = threading.Lock()


def loose(connection):
    connection.execute(INSERT, (reports.total(connection),))


def in_one_transaction(begin):
    def report(connection):
        with connection:
            connection.execute(begin)
            loose(connection)

    return report


# -- right -----------------------------------------------------------------------------------


def snapshot_first(connection):
    with connection:
        connection.execute("BEGIN")
        total = reports.total(connection)
    connection.execute(INSERT, (total,))


def rolled_back(connection):
    """A transaction that has only read may be rolled back as well."""
    connection.execute("BEGIN")
    try:
        total = reports.total(connection)
    finally:
        connection.rollback()
    connection.execute(INSERT, (total,))


def in_savepoint(connection):
    """Outside a transaction, SAVEPOINT is a BEGIN, and its RELEASE a COMMIT."""
    connection.execute("SAVEPOINT reading")
    total = reports.total(connection)
    connection.execute("RELEASE reading")
    connection.execute(INSERT, (total,))


def one_statement(connection):
    connection.execute("INSERT INTO report SELECT sum(balance) FROM account")


def in_python(connection):
    """The three balances in one SELECT, which is a transaction of its own."""
    rows = connection.execute("SELECT balance FROM account").fetchall()
    connection.execute(INSERT, (sum(balance for (balance,) in rows),))


# -- wrong -----------------------------------------------------------------------------------


def constant(connection):
    connection.execute("INSERT INTO report VALUES (3000)")


def left_open(connection):
    snapshot_first(connection)
    connection.execute("BEGIN")


def open_if_it_comes_late(connection):
    balances = connection.execute("SELECT balance FROM account").fetchall()
    one_statement(connection)
    if balances[0][0] < 1000:
        connection.execute("BEGIN")


def stores_nothing(connection):
    reports.total(connection)


def never_ends_it(connection):
    connection.execute("BEGIN")
    loose(connection)


def fails(connection):
    return 1 / 0


def doubled(connection):
    connection.execute(INSERT, (2 * reports.total(connection),))


def behind_a_lock(connection):
    with lock:
        loose(connection)


def swallows(connection):
    with contextlib.suppress(sqlite3.OperationalError):
        in_one_transaction("BEGIN")(connection)


def tries_twice(connection):
    """A retry that gives up, and says nothing."""
    for _ in range(2):
        with contextlib.suppress(sqlite3.OperationalError):
            return in_one_transaction("BEGIN")(connection)
    return None


def commits_again(connection):
    """Only the COMMIT is tried again."""
    connection.execute("BEGIN")
    loose(connection)
    while connection.in_transaction:
        try:
            connection.commit()
        except sqlite3.OperationalError:
            time.sleep(0.01)


def adds_twice(connection):
    """Reads until two totals agree: two states may have one total."""
    total = reports.total(connection)
    while (again := reports.total(connection)) != total:
        total = again
    connection.execute(INSERT, (total,))


def writes_first(connection):
    with connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO report VALUES (0)")
        connection.execute("UPDATE report SET total = ?", (reports.total(connection),))


def in_halves(connection):
    """Two accounts in one transaction, the third in another."""
    with connection:
        connection.execute("BEGIN")
        ((two,),) = connection.execute("SELECT sum(balance) FROM account WHERE id < 3").fetchall()
    ((one,),) = connection.execute("SELECT balance FROM account WHERE id = 3").fetchall()
    connection.execute(INSERT, (two + one,))


def stored_twice(connection):
    snapshot_first(connection)
    one_statement(connection)


RIGHT = {
    "a snapshot first": snapshot_first,
    "rolled back": rolled_back,
    "SAVEPOINT": in_savepoint,
    "one statement": one_statement,
    "one SELECT": in_python,
}
WRONG = {
    "no transaction": (loose, "two states"),
    "BEGIN": (in_one_transaction("BEGIN"), "the report has read and wants to write"),
    "BEGIN IMMEDIATE": (in_one_transaction("BEGIN IMMEDIATE"), "the clerk would have to wait"),
    "BEGIN EXCLUSIVE": (in_one_transaction("BEGIN EXCLUSIVE"), "the clerk would have to wait"),
    "retried": (Retry(seconds=10)(in_one_transaction("BEGIN")), "the clerk would have to wait"),
    "open if late": (open_if_it_comes_late, "orders the report leaves its transaction open"),
    "stores nothing": (stores_nothing, "already alone, without the clerk, table report holds no"),
    "never ended": (never_ends_it, "already alone, without the clerk, its transaction is still"),
    "raises": (fails, "ZeroDivisionError"),
    "hard-coded": (constant, "table report holds 3000, and the accounts 3500 together"),
    "left open": (left_open, "still open when it returns"),
    "doubled": (doubled, "table report holds 6000"),
    "a lock": (behind_a_lock, "two states"),
    "exception swallowed": (swallows, "it returns as if it had stored a total"),
    "two tries": (tries_twice, "it returns as if it had stored a total"),
    "only the COMMIT again": (commits_again, "the report has read and wants to write"),
    "until two agree": (adds_twice, "two states"),
    "a write first": (writes_first, "the clerk would have to wait"),
    "in halves": (in_halves, "two states"),
    "stored twice": (stored_twice, "table report holds"),
}
