"""Notebook 13: a web application behind its server; an answer is both."""

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager
from functools import partial

import cherrypy
import flask
from fastapi import FastAPI

from bank.requests import at_once, connect, returning, sell, show
from helpers.strategies import PerThread, TransactionLock, Writer
from helpers.web import servers


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


@contextmanager
def counted_in_python(path):
    """Sells from memory, and lets the database follow."""
    app, lock, sold = FastAPI(), threading.Lock(), [0]

    @app.post("/increment")
    def increment():
        with lock:
            sold[0] += 1
            value = sold[0]
        with closing(connect(path)) as connection:
            connection.execute("UPDATE counter SET value = value + 1")
        return value

    @app.get("/")
    def page():
        return sold[0]

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


def sells_anyway(connection):
    """Whatever the database says, the customer is served."""
    value = show(connection) + 1
    try:
        connection.execute("PRAGMA busy_timeout=0")
        return at_once(connection)
    except sqlite3.OperationalError:
        return value


def behind_asgi(*arguments, **options):
    return partial(*arguments, **options), servers.asgi


RIGHT = {
    "BEGIN IMMEDIATE": (endpoints, servers.asgi),
    "one statement": behind_asgi(endpoints, write=returning),
    "async def, off the loop": behind_asgi(on_the_loop, unit=at_once, off_the_loop=True),
    "the writer, under CherryPy": (cherrypy_shop, servers.cherrypy),
    "a connection per thread, under waitress": (flask_shop, servers.wsgi),
}
TWO = "stored: 1. A lock in Python, or code without an await, keeps out its own process only"
WAITS = "while a sale waits for the write lock, which another program holds, no page is shown"
COUNTS = "visitors were told wrong counts"
#: What only two processes beside a lock show.
BESIDE_A_LOCK = {
    "async def, no transaction": ((on_the_loop, servers.asgi), WAITS),
    "async def with a transaction": (behind_asgi(on_the_loop, unit=at_once), WAITS),
    "async def, one statement": (behind_asgi(on_the_loop, unit=returning), WAITS),
    "a lock in Python": ((locked_in_python, servers.asgi), TWO),
    "a shared connection under a lock": ((shared_under_a_lock, servers.asgi), WAITS),
    "and with a transaction": (behind_asgi(shared_under_a_lock, unit=at_once), WAITS),
    "a page with the lock": (behind_asgi(endpoints, read=partial(at_once, unit=show)), WAITS),
    "TransactionLock, under CherryPy": (
        (partial(cherrypy_shop, strategy=TransactionLock), servers.cherrypy),
        WAITS,
    ),
    "counted in Python": ((counted_in_python, servers.asgi), COUNTS),
}
LOST = "acknowledged sales are not in the database"
WRONG = BESIDE_A_LOCK | {
    "no transaction": (behind_asgi(endpoints, write=sell), LOST),
    "async def off the loop, no transaction": (behind_asgi(on_the_loop, off_the_loop=True), LOST),
    "BEGIN": (
        behind_asgi(endpoints, write=partial(at_once, begin="BEGIN")),
        "visitors are told",
    ),
    "answers thanks": (
        behind_asgi(endpoints, write=lambda connection: at_once(connection) and "thanks"),
        "a sale is answered 'thanks', and not the count, as a number in JSON",
    ),
    "a page shows hello": (
        behind_asgi(endpoints, read=lambda connection: "hello"),
        "a page shows 'hello', and not the count, as a number in JSON",
    ),
    "answers the count before": (
        behind_asgi(endpoints, write=lambda connection: at_once(connection) - 1),
        COUNTS,
    ),
    "sells anyway": (
        behind_asgi(endpoints, write=sells_anyway),
        "a sale was acknowledged before it was stored",
    ),
}
