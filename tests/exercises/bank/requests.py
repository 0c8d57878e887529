"""Notebook 12: a Flask application that answers each sale with its count."""

import contextlib
import sqlite3
import threading
import time
from contextlib import closing
from functools import partial

import flask

lock = threading.Lock()


def connect(path, **options):
    return sqlite3.connect(path, isolation_level=None, timeout=30, **options)


def requests_that(unit, answer=flask.jsonify, around=contextlib.nullcontext):
    """A connection for each request; `around` makes what is held for a whole one."""

    @contextlib.contextmanager
    def application(path):
        app, protected = flask.Flask("shop"), around()

        @app.post("/increment")
        def increment():
            with closing(connect(path)) as connection, protected:
                return answer(unit(connection))

        yield app

    return application


def show(connection):
    return connection.execute("SELECT value FROM counter").fetchone()[0]


def sell(connection):
    value = show(connection) + 1
    connection.execute("UPDATE counter SET value = ?", [value])
    return value


def returning(connection):
    sql = "UPDATE counter SET value = value + 1 RETURNING value"
    return connection.execute(sql).fetchall()[0][0]


def update_then_select(connection):
    connection.execute("UPDATE counter SET value = value + 1")
    return show(connection)


def at_once(connection, unit=sell, begin="BEGIN IMMEDIATE"):
    connection.execute(begin)
    value = unit(connection)
    connection.execute("COMMIT")
    return value


def in_savepoint(connection):
    connection.execute("SAVEPOINT sale")
    value = sell(connection)
    connection.execute("RELEASE sale")
    return value


def compares_and_swaps(connection):
    while True:
        value = show(connection)
        sql = "UPDATE counter SET value = ? WHERE value = ?"
        if connection.execute(sql, [value + 1, value]).rowcount:
            return value + 1


def retried(connection):
    while True:
        try:
            with connection:
                connection.execute("BEGIN")
                return sell(connection)
        except sqlite3.OperationalError:
            time.sleep(0.01)


# -- wrong -----------------------------------------------------------------------------------


def misspelt(connection):
    connection.execute("UPDATE counters SET value = 1")


def begins_too_late(connection):
    value = show(connection) + 1
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE counter SET value = ?", [value])
    connection.execute("COMMIT")
    return value


def lock_round_the_write(connection):
    value = show(connection) + 1
    with lock:
        connection.execute("UPDATE counter SET value = ?", [value])
    return value


def with_connection(connection):
    with connection:
        return sell(connection)


def lock_per_request(connection):
    with threading.Lock():
        return sell(connection)


def answers_the_next(connection):
    """Adds in one statement, and answers what it read before."""
    value = show(connection) + 1
    connection.execute("UPDATE counter SET value = value + 1")
    return value


def swallows(connection):
    with contextlib.suppress(sqlite3.OperationalError):
        return at_once(connection, begin="BEGIN")
    return show(connection)


def commits_again(connection):
    """Only the COMMIT is tried again."""
    connection.execute("BEGIN")
    value = sell(connection)
    while connection.in_transaction:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("COMMIT")
    return value


def counts_to_two(connection):
    sql = "UPDATE counter SET value = min(value + 1, 2) RETURNING value"
    return connection.execute(sql).fetchall()[0][0]


def sells_anyway(connection):
    """The sale is the customer's, whatever the database says."""
    value = show(connection) + 1
    with contextlib.suppress(sqlite3.Error):
        value = at_once(connection)
    return value


def keeps_the_lock(connection):
    lock.acquire()
    value = sell(connection)
    lock.release()
    return value


@contextlib.contextmanager
def hasty(path):
    app = flask.Flask("shop")

    @app.post("/increment")
    def increment():
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0.05)) as connection:
            return flask.jsonify(at_once(connection))

    yield app


def never_commits(connection):
    connection.execute("BEGIN IMMEDIATE")
    return sell(connection)


@contextlib.contextmanager
def one_connection(path):
    """One connection for all requests, and no lock."""
    app = flask.Flask("shop")
    with closing(connect(path, check_same_thread=False)) as shared:
        app.post("/increment", endpoint="i")(lambda: flask.jsonify(at_once(shared)))
        yield app


@contextlib.contextmanager
def in_memory(path):
    """The count is in Python, and the database follows."""
    app, sold = flask.Flask("shop"), [0]

    @app.post("/increment")
    def increment():
        sold[0] += 1
        value = sold[0]
        with closing(connect(path)) as connection:
            connection.execute("UPDATE counter SET value = ?", [value])
        return flask.jsonify(value)

    yield app


ALONE = "already one request alone is answered"
OVERWRITES = "overwrites that in step"
RIGHT = {
    "BEGIN IMMEDIATE": requests_that(at_once),
    "one statement": requests_that(returning),
    "two statements in one transaction": requests_that(partial(at_once, unit=update_then_select)),
    "a lock": requests_that(sell, around=lambda: threading.Lock()),
    "answered as text": requests_that(at_once, str),
    "SAVEPOINT inside": requests_that(partial(at_once, unit=in_savepoint)),
    "compare and swap": requests_that(compares_and_swaps),
    "DEFERRED, retried": requests_that(retried),
}
WRONG = {
    "no transaction": (requests_that(sell), "4 of 6 orders lose an increment, for example A B B A"),
    "BEGIN": (requests_that(partial(at_once, begin="BEGIN")), "Which BEGIN takes the write lock"),
    "BEGIN after the read": (requests_that(begins_too_late), OVERWRITES),
    "a lock round the UPDATE": (requests_that(lock_round_the_write), "gives it back between"),
    "a lock for each request": (requests_that(lock_per_request), OVERWRITES),
    "with connection": (requests_that(with_connection), OVERWRITES),
    "SAVEPOINT alone": (requests_that(in_savepoint), "that was refused must be redone"),
    "misspelt": (requests_that(misspelt), "already one request alone goes wrong: 0; A "),
    "UPDATE, then SELECT": (
        requests_that(update_then_select),
        "Between the UPDATE of one and its SELECT the other sells",
    ),
    "answers what it read before": (requests_that(answers_the_next), "A is told 1, B is told 1"),
    "answers null": (requests_that(at_once, lambda value: flask.jsonify(None)), f"{ALONE} 'null'"),
    "answers done": (requests_that(at_once, lambda value: "done"), f"{ALONE} 'done'"),
    "answers the old": (
        requests_that(at_once, lambda value: flask.jsonify(value - 1)),
        f"{ALONE} 0",
    ),
    "answers true": (requests_that(at_once, lambda value: flask.jsonify(True)), f"{ALONE} 'true'"),
    "hard-coded": (
        requests_that(at_once, lambda value: flask.jsonify(1)),
        "A is told 1, B is told 1. Answer the count that this sale has stored.",
    ),
    "exception swallowed": (requests_that(swallows), "returned as if all were well"),
    "only the COMMIT again": (requests_that(commits_again), "Which BEGIN takes the write lock"),
    "no COMMIT": (requests_that(never_commits), "already one request alone goes wrong"),
    "counts to two": (requests_that(counts_to_two), "three, one after the other"),
    "sells anyway": (requests_that(sells_anyway), "returns as if all were well"),
    "lock never released": (requests_that(keeps_the_lock), "what the first one holds is not given"),
    "too short a wait": (hasty, "a wait of 0.05 s is too short"),
    "one connection for all": (one_connection, "what keeps them apart?"),
    "counted in Python": (in_memory, "What is written was not read from the counter"),
}
