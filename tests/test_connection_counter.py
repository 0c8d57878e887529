"""Open connections are counted, by the thread that opened them."""

import gc
import sqlite3
import threading
from contextlib import closing

import pytest

from helpers import databases, exercises
from helpers.databases import ConnectionCounter


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


def test_a_strategy_that_opens_its_connections_otherwise_is_refused():
    class Elsewhere:
        def __init__(self, path, connect=sqlite3.connect):
            self.path = path

        def write(self, unit_of_work, /):
            with closing(sqlite3.connect(self.path)) as connection, connection:
                return unit_of_work(connection)

        def close(self):
            pass

    with pytest.raises(ValueError, match=r"call connect\(path, ...\), the second argument"):
        exercises.check_closing(Elsewhere)


def test_a_connection_that_could_not_be_opened_is_collected_in_silence(tmp_path):
    opened = ConnectionCounter()
    with pytest.raises(sqlite3.OperationalError):
        opened.connect(tmp_path / "no such folder" / "counter.db")
    gc.collect()  # what a finalizer raises is an error in tests
    assert list(opened.threads) == []
