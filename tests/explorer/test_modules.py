"""Operations of open-source modules against themselves, in every order.

Each module opens its own connections, sets its own PRAGMAs, and begins its own transactions;
what is asserted is what its documentation promises.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from contextlib import closing

import pytest

from helpers.explorer import Program, explore

FILE = "database.db"


def script(make, folder):
    """The SQL of the database that `make` fills at the path it is given."""
    path = str(folder / FILE)
    make(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = delete")
        return "\n".join(connection.iterdump())


# -- diskcache: a cache; what its threads share is the folder, and one connection each -----------


def cache(path):
    import diskcache

    return diskcache.Cache(os.path.dirname(path), timeout=5)


def one_key(path):
    with cache(path) as filled:
        filled["a"] = 0


@pytest.fixture
def diskcache_program(tmp_path, monkeypatch):
    import diskcache.core

    monkeypatch.setattr(diskcache.core, "DBNAME", FILE)
    sql = script(one_key, tmp_path)

    def make(jobs, invariant):
        look = "SELECT value FROM Cache"
        return Program(sql, jobs, invariant, look=look, journal_mode="wal", share=cache)

    return make


@pytest.mark.slow
def test_two_incr_of_diskcache_lose_nothing(diskcache_program):
    program = diskcache_program([lambda c: c.incr("a")] * 2, lambda end: end.value == 2)
    found = explore(program, merge=True)
    assert found.proved, found
    assert found.schedules > 1_000 * found.runs
    found.assert_proved()


@pytest.mark.slow
def test_of_two_add_of_diskcache_one_adds(diskcache_program):
    jobs = [lambda c: c.add("b", 1), lambda c: c.add("b", 2)]
    told = lambda end: sorted(end.results.values()) == [False, True]  # noqa: E731
    explore(diskcache_program(jobs, told), merge=True).assert_proved()


@pytest.mark.slow
def test_of_two_pop_of_diskcache_one_gets_the_value(diskcache_program):
    jobs = [lambda c: c.pop("a", default="nothing")] * 2
    told = lambda end: set(end.results.values()) == {0, "nothing"}  # noqa: E731
    explore(diskcache_program(jobs, told), merge=True).assert_proved()


# -- persist-queue: a queue, its two connections shared under its locks ---------------------------


def queue(path, kind):
    import persistqueue

    options = {"db_file_name": FILE, "multithreading": True, "auto_commit": True, "timeout": 5}
    return getattr(persistqueue, kind)(os.path.dirname(path), **options)


def two_items(path, kind):
    filled = queue(path, kind)
    filled.put("one")
    filled.put("two")
    filled.close()


@pytest.fixture
def queue_program(tmp_path):
    def make(kind, jobs, invariant):
        sql = script(functools.partial(two_items, kind=kind), tmp_path)
        share = functools.partial(queue, kind=kind)
        look = "SELECT count(*) FROM sqlite_master"
        return Program(sql, jobs, invariant, look=look, journal_mode="wal", share=share)

    return make


def both_items(end):
    return sorted(end.results.values()) == ["one", "two"]


def test_two_get_of_persist_queue_never_get_the_same(queue_program):
    jobs = [lambda q: q.get(block=False)] * 2
    explore(queue_program("SQLiteQueue", jobs, both_items)).assert_proved()


def test_get_beside_put_of_persist_queue_gets_the_first(queue_program):
    jobs = {"get": lambda q: q.get(block=False), "put": lambda q: q.put("three")}
    program = queue_program("SQLiteQueue", jobs, lambda end: end.results["get"] == "one")
    full, states = explore(program), explore(program, merge=True)
    full.assert_proved()
    assert full == states
    assert states.runs < full.schedules


def test_items_of_persist_queue_are_acknowledged_once(queue_program):
    def work(q):
        item = q.get(block=False)
        q.ack(item)
        return item

    explore(queue_program("SQLiteAckQueue", [work] * 2, both_items)).assert_proved()


# -- huey: the storage of a task queue, a connection for each thread ------------------------------


def storage(path):
    from huey.storage import SqliteStorage

    return SqliteStorage("test", filename=path, timeout=5)


def two_tasks(path):
    filled = storage(path)
    filled.enqueue(b"one")
    filled.enqueue(b"two")
    filled.put_data("key", b"value")
    filled.close()


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        ([lambda s: s.dequeue()] * 2, [b"one", b"two"]),
        ([lambda s: s.put_if_empty("new", b"1"), lambda s: s.put_if_empty("new", b"2")], [0, 1]),
        ([lambda s: s.incr("number")] * 2, [1, 2]),
    ],
    ids=["dequeue", "put_if_empty", "incr"],
)
def test_two_operations_of_hueys_storage(jobs, told, tmp_path):
    program = Program(
        script(two_tasks, tmp_path),
        jobs,
        lambda end: sorted(end.results.values()) == told,
        look="SELECT count(*) FROM task",
        journal_mode="wal",
        share=storage,
    )
    explore(program).assert_proved()
