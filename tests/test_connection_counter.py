"""Open connections are counted, and an exercise about closing them says which is left."""

import gc
import sqlite3
import threading
import weakref
from contextlib import closing

import pytest

from helpers import databases, exercises
from helpers.databases import ConnectionCounter
from helpers.strategies import PerThread, Pool, TransactionLock


@pytest.fixture
def database():
    with databases.fresh("counter") as database:
        yield database


def in_a_thread(job, name="T1"):
    thread = threading.Thread(target=job, name=name)
    thread.start()
    thread.join()


def test_open_connections_are_named_after_the_threads_that_opened_them(database):
    opened = ConnectionCounter()
    with closing(opened.connect(database)) as mine:
        kept = []
        in_a_thread(lambda: kept.append(opened.connect(database, check_same_thread=False)))
        assert opened.threads == ["MainThread", "T1"]
        assert mine.execute("SELECT value FROM counter").fetchone() == (0,)
        kept[0].close()
        assert opened.threads == ["MainThread"]
    assert (opened.threads, opened.total, opened.dropped) == ([], 2, 0)


def test_a_connection_that_is_only_dropped_is_counted_as_such(database):
    opened = ConnectionCounter()
    in_a_thread(lambda: opened.connect(database))
    gc.collect()
    assert (opened.threads, opened.dropped) == ([], 1)


def test_close_checks_the_thread_as_sqlite3_does(database):
    opened = ConnectionCounter()
    kept = []
    in_a_thread(lambda: kept.append(opened.connect(database)))
    with pytest.raises(sqlite3.ProgrammingError, match="can only be used in that same thread"):
        kept[0].close()
    assert opened.threads == ["T1"]


class ThreadLocal:
    """A connection for each thread; who closes it differs in the classes below."""

    checked = False

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect = path, connect
        self.options = {"isolation_level": None, "check_same_thread": self.checked}
        self.local = threading.local()
        self.all = []

    def write(self, unit_of_work, /):
        if not hasattr(self.local, "connection"):
            self.local.connection = self.connect(self.path, **self.options)
            self.opened(self.local.connection)
        with self.local.connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(connection)

    def opened(self, connection):
        pass

    def close(self):
        for connection in self.all:
            connection.close()


class Listed(ThreadLocal):
    def opened(self, connection):
        self.all.append(connection)


class OnlyMine(ThreadLocal):
    def opened(self, connection):
        mark = self.local.mark = ThreadLocal.__new__(ThreadLocal)
        weakref.finalize(mark, connection.close)

    def close(self):
        if hasattr(self.local, "connection"):
            self.local.connection.close()


class Finalized(OnlyMine):
    def opened(self, connection):
        mark = self.local.mark = ThreadLocal.__new__(ThreadLocal)
        self.all.append(weakref.finalize(mark, connection.close))

    def close(self):
        for finalizer in self.all:
            finalizer()


class Waits(Finalized):
    """As `Finalized`, and its units and `close` exclude each other."""

    def opened(self, connection):
        super().opened(connection)
        self.all[-1] = self.all[-1], self.local.in_use

    def write(self, unit_of_work, /):
        with self.local.__dict__.setdefault("in_use", threading.Lock()):
            return super().write(unit_of_work)

    def close(self):
        for finalizer, in_use in self.all:
            with in_use:
                finalizer()


class FinalizedElsewhere(Waits):
    checked = True


class PerUnit(ThreadLocal):
    def write(self, unit_of_work, /):
        with closing(self.connect(self.path, **self.options)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(connection)


class Closer:
    """Closes a connection when the thread that keeps it ends."""

    def __init__(self, connection):
        self.connection = connection

    def __del__(self):
        self.connection.close()


class OneAtATime(ThreadLocal):
    """No finalizer: what the thread keeps closes itself, and one lock serves all."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.turn = threading.Lock()
        self.all = weakref.WeakSet()

    def opened(self, connection):
        self.local.closer = Closer(connection)
        self.all.add(self.local.closer)

    def write(self, unit_of_work, /):
        with self.turn:
            return super().write(unit_of_work)

    def close(self):
        with self.turn:
            for closer in list(self.all):
                closer.connection.close()


class Shared:
    """One connection and a lock: nothing stays open, and nobody has a connection."""

    def __init__(self, path, connect=sqlite3.connect):
        self.connection = connect(path, check_same_thread=False)
        self.turn = threading.Lock()

    def write(self, unit_of_work, /):
        with self.turn, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(self.connection)

    def close(self):
        with self.turn:
            self.connection.close()


class OpensAgain(Waits):
    """Keeps the connection of its last unit, and opens another for the next."""

    def write(self, unit_of_work, /):
        if hasattr(self.local, "connection"):
            self.local.connection.close()
            del self.local.connection
        return super().write(unit_of_work)


@pytest.mark.parametrize("strategy", [Waits, OneAtATime, PerThread])
def test_strategies_that_close_everything_are_solved(strategy):
    verdict = exercises.check_closing(strategy)
    assert str(verdict) == "Solved: threads came, went and stayed: all connections closed"


@pytest.mark.parametrize(
    ("strategy", "lesson"),
    [
        (ThreadLocal, "were dropped without a call of close()"),
        (Listed, "3 threads have come and gone, and 3 connections are still open"),
        (Finalized, "close() closed a connection under a unit of work that used it"),
        (FinalizedElsewhere, "close(), called by another thread, raised ProgrammingError"),
        (OnlyMine, "after close(), 3 connections are still open, those of threads that live on"),
        (Shared, "connections that they keep: 0. Either they share one"),
        (TransactionLock, "connections that they keep: 0. Either they share one"),
        (Pool, "Each thread has to keep one"),
        (PerUnit, "connections that they keep: 0. Either they share one"),
        (OpensAgain, "3 threads ran a second unit, and opened 3 more"),
    ],
)
def test_what_is_left_open_is_told(strategy, lesson):
    verdict = exercises.check_closing(strategy)
    assert not verdict.solved
    assert lesson in verdict.reason
    assert len(verdict.reason.split()) <= 60


def test_a_strategy_that_opens_its_connections_otherwise_is_refused():
    class Elsewhere(PerUnit):
        def __init__(self, path, connect=sqlite3.connect):
            super().__init__(path)

    with pytest.raises(ValueError, match=r"call connect\(path, ...\), the second argument"):
        exercises.check_closing(Elsewhere)
