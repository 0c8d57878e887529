"""Notebook 14: a CherryPy application whose hooks open, begin, commit or close."""

import threading
from contextlib import closing, contextmanager
from functools import partial

import cherrypy

from bank import servers
from bank.requests import at_once, connect, sell, show
from helpers.strategies import PerThread
from helpers.strategies import TransactionLock as OneLock


class Shop:
    def __init__(self, write, read):
        self.write, self.read = write, read

    @cherrypy.expose
    @cherrypy.tools.json_out()
    def increment(self):
        return self.write(cherrypy.request.db)

    @cherrypy.expose
    @cherrypy.tools.json_out()
    def index(self):
        return self.read(cherrypy.request.db)


@contextmanager
def in_hooks(path, write=at_once, read=show, begin="", last="on_end_request"):
    """A connection for each request; with `begin`, its transaction ends in the hook `last`."""

    def opening():
        cherrypy.request.db = connect(path)
        if begin:
            cherrypy.request.db.execute(begin)

    def end():
        with closing(cherrypy.request.db) as connection:
            if begin:
                connection.execute("COMMIT")

    shop = Shop(write, read)
    shop._cp_config = {"hooks.before_handler": opening, f"hooks.{last}": end}
    yield shop


@contextmanager
def locked(path, unit=sell):
    lock = threading.Lock()

    def write(connection):
        with lock:
            return unit(connection)

    with in_hooks(path, write) as shop:
        yield shop


@contextmanager
def opened_by_the_unit(path):
    """No hook: a connection for each transaction."""

    def used_by(unit):
        with closing(connect(path)) as connection:
            return unit(connection)

    shop = servers.Shop(None)
    shop.increment = cherrypy.expose(cherrypy.tools.json_out()(lambda: used_by(at_once)))
    shop.index = cherrypy.expose(cherrypy.tools.json_out()(lambda: used_by(show)))
    yield shop


def rolled_back(connection):
    """The COMMIT is forgotten, the ROLLBACK is not."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        return sell(connection)
    finally:
        connection.rollback()


RIGHT = {
    "hooks that open and close": in_hooks,
    "no hook, a connection for each transaction": opened_by_the_unit,
    "a connection for each thread": partial(servers.cherrypy_shop, strategy=PerThread),
    "one writer": servers.cherrypy_shop,
}
EARLY = "a sale was acknowledged before it was stored"
WRONG = {
    "as it is given": (partial(in_hooks, write=sell, begin="BEGIN"), EARLY),
    "committed in on_end_request": (partial(in_hooks, write=sell, begin="BEGIN IMMEDIATE"), EARLY),
    "committed in before_finalize, pages too": (
        partial(in_hooks, write=sell, begin="BEGIN IMMEDIATE", last="before_finalize"),
        servers.WAITS,
    ),
    "BEGIN takes no lock": (
        partial(in_hooks, write=partial(at_once, begin="BEGIN")),
        "visitors are told",
    ),
    "pages take the write lock": (
        partial(in_hooks, read=partial(at_once, unit=show)),
        servers.WAITS,
    ),
    "a lock in Python": (locked, servers.TWO),
    "TransactionLock": (partial(servers.cherrypy_shop, strategy=OneLock), servers.WAITS),
    "no transaction": (partial(in_hooks, write=sell), servers.LOST),
    "never committed": (partial(in_hooks, write=rolled_back), EARLY),
    "answers the count before": (
        partial(in_hooks, write=lambda connection: at_once(connection) - 1),
        servers.COUNTS,
    ),
    "sells anyway": (partial(in_hooks, write=servers.sells_anyway), EARLY),
}
