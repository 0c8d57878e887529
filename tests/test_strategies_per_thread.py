"""A connection for each thread: opened when needed, closed when the thread or the strategy ends."""

import gc
import sqlite3
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from units import PATIENCE, Held, Thread, elsewhere, increment, look, stored, until

from helpers import databases
from helpers.strategies.errors import WaitTimeout
from helpers.strategies.per_thread import PerThread
from helpers.strategies.retry import Retry
from helpers.strategies.settings import Settings

QUICK = Settings(busy_timeout=0.2, synchronous="OFF")


@pytest.fixture
def database():
    with databases.fresh("counter", "wal") as database:
        yield database


@pytest.fixture
def strategy(database):
    strategy = PerThread(database, settings=QUICK)
    yield strategy
    strategy.close()
    assert strategy.open_connections == []


def test_a_connection_is_opened_once_and_only_when_needed(database):
    opened = []

    def connect(*arguments, **options):
        opened.append(threading.current_thread().name)
        return sqlite3.connect(*arguments, **options)

    strategy = PerThread(database, connect)
    assert opened == strategy.open_connections == []
    for _ in range(3):
        strategy.write(increment)
        strategy.read(look)
    assert opened == strategy.open_connections == ["MainThread"]
    strategy.close()


def test_each_thread_has_its_own_with_the_settings(database):
    strategy = PerThread(database, settings=Settings(busy_timeout=0.25, foreign_keys=True))
    seen = {}

    def settings(connection):
        seen[threading.current_thread().name] = id(connection)
        names = ("busy_timeout", "foreign_keys")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    with Held(strategy, write=False, unit=settings, name="one"):
        assert strategy.read(settings) == [250, 1]
        assert len(set(seen.values())) == 2
        assert strategy.open_connections == ["one", "MainThread"]
    strategy.close()


def test_readers_do_not_wait_for_a_writer(strategy):
    with Held(strategy, unit=increment):
        assert strategy.read(look) == 0
    assert strategy.read(look) == 1


def test_writers_wait_for_each_other_inside_sqlite(database):
    strategy = PerThread(database, settings=Settings(busy_timeout=PATIENCE))
    with Held(strategy, unit=increment):
        second = Thread(strategy.write, increment)
        until(lambda: len(strategy.open_connections) == 2)
        assert second.is_alive()
    assert second.get() == 2
    strategy.close()


def test_the_end_of_a_thread_closes_its_connection_at_once(strategy):
    gc.disable()
    try:
        for _ in range(3):
            assert elsewhere(strategy.write, increment)
            until(lambda: strategy.open_connections == [])
    finally:
        gc.enable()


def test_a_thread_that_dies_closes_its_connection_and_rolls_back(strategy, database):
    def die():
        def unit(connection):
            increment(connection)
            raise SystemExit("died")

        strategy.write(unit)

    with pytest.raises(SystemExit, match="died"):
        elsewhere(die)
    until(lambda: strategy.open_connections == [])
    assert strategy.write(increment) == stored(database) == 1


def test_in_a_thread_pool_connections_live_as_long_as_its_threads(strategy, database):
    with ThreadPoolExecutor(3, thread_name_prefix="pool") as pool:
        list(pool.map(lambda _: strategy.write(increment), range(30)))
        assert {name[:4] for name in strategy.open_connections} == {"pool"}
        assert len(strategy.open_connections) <= 3
    until(lambda: strategy.open_connections == [])
    assert stored(database) == 30


def test_close_closes_connections_of_threads_that_live_on(database):
    strategy = PerThread(database)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(strategy.write, increment).result()
        strategy.close()
        assert strategy.open_connections == []
        with pytest.raises(RuntimeError, match="PerThread is closed"):
            pool.submit(strategy.read, look).result()


def test_close_in_vain_closes_the_others_and_names_the_late_ones(database):
    strategy = PerThread(database, timeout=0.05)
    strategy.write(increment)
    with Held(strategy, name="the slow one"), pytest.raises(WaitTimeout, match=": the slow one; "):
        strategy.close()
    until(lambda: strategy.open_connections == [])


def test_a_thread_that_opens_while_close_looks_is_refused(database):
    opening, closed = threading.Event(), threading.Event()

    def connect(*arguments, **options):
        opening.set()
        assert closed.wait(PATIENCE)
        return sqlite3.connect(*arguments, **options)

    strategy = PerThread(database, connect)
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(strategy.write, increment)
        assert opening.wait(PATIENCE)
        strategy.close()
        closed.set()
        with pytest.raises(RuntimeError, match="is closed"):
            refused.result(PATIENCE)
        assert strategy.open_connections == []
    assert stored(database) == 0


def test_a_strategy_that_is_forgotten_closes_its_connections(database):
    closed = []

    class Connection(sqlite3.Connection):
        def close(self):
            closed.append(1)
            super().close()

    strategy = PerThread(database, lambda path, **options: Connection(path, **options))
    strategy.write(increment)
    forgotten = weakref.ref(strategy)
    del strategy
    until(lambda: gc.collect() >= 0 and forgotten() is None)
    assert closed == [1]


def test_deferred_is_refused_when_another_has_written_and_retry_runs_it_again(database):
    attempts = []

    def unit(connection):
        value = look(connection)
        attempts.append(value)
        if len(attempts) == 1:
            elsewhere(immediate.write, increment)
        connection.execute("UPDATE counter SET value = ?", [value + 1])
        return value + 1

    immediate = PerThread(database)
    deferred = PerThread(database, begin="DEFERRED")
    with pytest.raises(sqlite3.OperationalError) as caught:
        deferred.write(unit)
    assert caught.value.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"
    attempts.clear()
    again = PerThread(database, begin="deferred", retry=Retry())
    assert again.write(unit) == stored(database) == 3
    assert attempts == [1, 2]
    for strategy in (immediate, deferred, again):
        strategy.close()


@pytest.mark.parametrize("path", [":memory:", "", "file:x?mode=memory", "file::memory:"])
def test_a_database_in_memory_is_refused(path):
    with pytest.raises(ValueError, match=r"PerThread opens several connections, and with .*Lock"):
        PerThread(path)


def test_begin_must_be_known(database):
    with pytest.raises(ValueError, match="not 'NOW'"):
        PerThread(database, begin="NOW")


def test_sixteen_first_units_at_once_can_switch_to_wal():
    with databases.fresh("counter") as database:
        strategy = PerThread(database, settings=Settings("wal", "OFF", busy_timeout=PATIENCE))
        start = threading.Barrier(16)

        def work():
            start.wait(PATIENCE)
            return strategy.write(increment)

        threads = [Thread(work) for _ in range(16)]
        assert sorted(thread.get() for thread in threads) == list(range(1, 17))
        assert database.query("PRAGMA journal_mode") == [("wal",)]
        strategy.close()
