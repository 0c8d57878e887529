"""Exercises with a web application: right ones are solved, wrong ones hear what breaks."""

import asyncio
import contextlib
import sqlite3
import threading
from contextlib import closing, contextmanager
from functools import partial

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("cherrypy")
import cherrypy
import flask
from fastapi import FastAPI

from helpers import exercises
from helpers.exercises import served
from helpers.strategies import PerThread, TransactionLock, Writer
from helpers.web import servers


def connect(path, **options):
    return sqlite3.connect(path, isolation_level=None, timeout=30, **options)


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


# -- check_server ----------------------------------------------------------------------------


@contextmanager
def endpoints(path, write=at_once, read=show):
    """FastAPI, with a connection for each request."""
    app = FastAPI()

    @app.post("/increment")
    def increment():
        with closing(connect(path)) as connection:
            return write(connection)

    @app.get("/")
    def page():
        with closing(connect(path)) as connection:
            return read(connection)

    yield app


@contextmanager
def on_the_loop(path, unit=sell, off_the_loop=False):
    app = FastAPI()

    def write():
        with closing(connect(path)) as connection:
            return unit(connection)

    @app.post("/increment")
    async def increment():
        return await asyncio.to_thread(write) if off_the_loop else write()

    @app.get("/")
    async def page():
        with closing(connect(path)) as connection:
            return show(connection)

    yield app


@contextmanager
def locked_in_python(path):
    lock = threading.Lock()

    def write(connection):
        with lock:
            return sell(connection)

    with endpoints(path, write) as app:
        yield app


@contextmanager
def shared_under_a_lock(path, unit=sell):
    app, lock = FastAPI(), threading.Lock()
    with closing(connect(path, check_same_thread=False)) as shared:

        @app.post("/increment")
        def increment():
            with lock:
                return unit(shared)

        @app.get("/")
        def page():
            with lock:
                return show(shared)

        yield app


class Shop:
    """CherryPy, with a strategy of the course."""

    def __init__(self, strategy):
        self.strategy = strategy

    @cherrypy.expose
    @cherrypy.tools.json_out()
    def increment(self):
        return self.strategy.write(sell)

    @cherrypy.expose
    @cherrypy.tools.json_out()
    def index(self):
        return self.strategy.read(show)


@contextmanager
def cherrypy_shop(path, strategy=Writer):
    with closing(strategy(path)) as opened:
        yield Shop(opened)


@contextmanager
def flask_shop(path):
    app = flask.Flask("shop")
    with closing(PerThread(path)) as strategy:
        app.post("/increment", endpoint="i")(lambda: flask.jsonify(strategy.write(sell)))
        app.get("/", endpoint="p")(lambda: flask.jsonify(strategy.read(show)))
        yield app


RIGHT = {
    "BEGIN IMMEDIATE": (endpoints, servers.asgi),
    "one statement": (partial(endpoints, write=returning), servers.asgi),
    "async def, off the loop": (
        partial(on_the_loop, unit=at_once, off_the_loop=True),
        servers.asgi,
    ),
    "the writer, under CherryPy": (cherrypy_shop, servers.cherrypy),
    "a connection per thread, under waitress": (flask_shop, servers.wsgi),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_right_servers_are_solved(name):
    verdict = exercises.check_server(*RIGHT[name], runs=1)
    assert str(verdict) == (
        "Solved: 1 runs of sixteen clients, one of two processes: every promise was kept"
    )


TWO = "stored: 1. A lock in Python, or code without an await, keeps out its own process only"
WAITS = "while a sale waits for the write lock, which another program holds, no page is shown"
BESIDE_A_LOCK = {
    "async def with a transaction": (partial(on_the_loop, unit=at_once), WAITS),
    "async def, one statement": (partial(on_the_loop, unit=returning), WAITS),
    "async def, off the loop": (partial(on_the_loop, off_the_loop=True), TWO),
    "a lock in Python": (locked_in_python, TWO),
    "a shared connection under a lock": (shared_under_a_lock, WAITS),
    "and with a transaction": (partial(shared_under_a_lock, unit=at_once), WAITS),
    "a page with the lock": (partial(endpoints, read=partial(at_once, unit=show)), WAITS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BESIDE_A_LOCK)
def test_two_processes_beside_a_lock_are_told_what_breaks(name):
    application, words = BESIDE_A_LOCK[name]
    reason = served.beside_a_lock(application, servers.asgi)
    assert words in reason
    assert len(reason.split()) <= 60


@pytest.mark.slow
def test_one_lock_for_readers_and_writers_is_refused_under_cherrypy():
    shop = partial(cherrypy_shop, strategy=TransactionLock)
    assert WAITS in served.beside_a_lock(shop, servers.cherrypy)


ANSWERS = {
    "a sale is answered 'thanks', and not the count, as a number in JSON": {
        "write": lambda connection: at_once(connection) and "thanks"
    },
    "a page shows 'hello', and not the count, as a number in JSON": {
        "read": lambda connection: "hello"
    },
    "visitors were told wrong counts": {"write": lambda connection: at_once(connection) - 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("words", ANSWERS)
def test_answers_that_are_not_the_count_are_refused(words):
    verdict = exercises.check_server(partial(endpoints, **ANSWERS[words]), servers.asgi)
    assert not verdict.solved
    assert words in verdict.reason


def test_async_def_without_a_transaction_is_refused():
    assert WAITS in served.beside_a_lock(on_the_loop, servers.asgi)


# -- check_requests --------------------------------------------------------------------------


def requests_that(unit, answer=flask.jsonify, around=contextlib.nullcontext):
    @contextlib.contextmanager
    def application(path):
        app, protected = flask.Flask("shop"), around()

        @app.post("/increment")
        def increment():
            with closing(connect(path)) as connection, protected:
                return answer(unit(connection))

        yield app

    return application


RIGHT_REQUESTS = {
    "BEGIN IMMEDIATE": {"unit": at_once},
    "one statement": {"unit": returning},
    "two statements in one transaction": {"unit": partial(at_once, unit=update_then_select)},
    "a lock": {"unit": sell, "around": lambda: threading.Lock()},
    "answered as text": {"unit": at_once, "answer": str},
}


@pytest.mark.parametrize("name", RIGHT_REQUESTS)
def test_right_requests_are_solved(name):
    verdict = exercises.check_requests(requests_that(**RIGHT_REQUESTS[name]))
    assert str(verdict).endswith("orders, and no increment is lost in any")


def test_two_visitors_are_not_told_the_same_count():
    verdict = exercises.check_requests(requests_that(update_then_select))
    assert str(verdict) == (
        "Not yet: 4 of 6 orders tell a visitor a wrong count, for example A B A B. A is told 2, B "
        "is told 2. Between the UPDATE of one and its SELECT the other sells. Keep both in one "
        "transaction, or answer what the UPDATE itself returns."
    )
    assert verdict.stage().outcome.kind == "wrong"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda value: flask.jsonify(None), "'null'"),
        (lambda value: "done", "'done'"),
        (lambda value: flask.jsonify(value - 1), "0"),
        (lambda value: flask.jsonify(True), "'true'"),
    ],
)
def test_a_visitor_is_told_the_new_count(answer, told):
    verdict = exercises.check_requests(requests_that(at_once, answer))
    assert verdict.reason == (
        f"already one request alone is answered {told}: a visitor expects the new count, 1"
    )


def test_an_answer_that_ignores_the_database_is_refused():
    verdict = exercises.check_requests(requests_that(at_once, lambda value: flask.jsonify(1)))
    assert "A is told 1, B is told 1. Answer the count that this sale has stored." in verdict.reason
