"""What one strategy promises and the others do not: order, threads, connections."""

import functools
import gc
import itertools
import sqlite3
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
from protocol import AT_ONCE, TIMEOUT, Held, Thread, create, increment, look, stored, until
from units import Interruption

from helpers.databases import ConnectionCounter
from helpers.strategies import (
    FAST,
    LockableCursor,
    OutcomeUnknown,
    PerThread,
    Pool,
    Retry,
    Settings,
    SharedConnection,
    StatementLock,
    TransactionLock,
    Writer,
)


@pytest.fixture
def path(tmp_path):
    return create(str(tmp_path / "shop.db"))


@pytest.fixture
def wal(tmp_path):
    return create(str(tmp_path / "wal.db"), "wal")


# -- one connection, one lock ------------------------------------------------------------------


def test_threads_have_their_turn_in_the_order_of_asking(path):
    with closing(TransactionLock(path)) as strategy:
        done = []
        with Held(strategy):
            threads = []
            for number in range(12):
                threads.append(Thread(strategy.write, lambda _, n=number: done.append(n)))
                until(lambda n=number: len(strategy._line) == n + 2)
        for thread in threads:
            thread.get()
    assert done == list(range(12))


def test_one_unit_at_a_time_reads_included(path):
    with closing(TransactionLock(path)) as strategy, Held(strategy, write=False):
        second = Thread(strategy.read, look)
        until(lambda: len(strategy._line) == 2)
        assert second.is_alive()
    assert second.get() == 0


def test_whoever_waits_in_vain_leaves_the_line_and_names_the_holder(path):
    with closing(TransactionLock(path, timeout=0.05)) as strategy:
        with (
            Held(strategy, name="the slow one"),
            pytest.raises(TimeoutError, match=r"the slow one .* over 0\.05 s"),
        ):
            strategy.write(increment)
        assert len(strategy._line) == 0
        assert strategy.write(increment) == 1


def test_a_database_in_memory_is_shared_by_all_threads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(TransactionLock(":memory:")) as strategy:
        strategy.write(lambda c: c.execute("CREATE TABLE counter (value)") and None)
        strategy.write(lambda c: c.execute("INSERT INTO counter VALUES (0)") and None)
        assert Thread(strategy.write, increment).get() == 1 == Thread(strategy.read, look).get()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [TransactionLock, PerThread, Pool, Writer])
def test_a_file_is_the_same_by_whatever_name(path, tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    with closing(make("shop.db")) as one, closing(make(path)) as other:

        def unit(connection):
            with pytest.raises(RuntimeError, match="within another"):
                other.write(increment)
            return increment(connection)

        assert one.write(unit) == 1


@pytest.mark.parametrize(
    ("make", "seconds"), [(TransactionLock, 30), (PerThread, 30), (Pool, 5), (Writer, 30)]
)
def test_patience_that_is_not_asked_for(path, make, seconds):
    with closing(make(path)) as strategy:
        assert strategy.timeout == seconds


def test_it_uses_one_connection(path):
    opened = ConnectionCounter()
    with closing(TransactionLock(path, opened.connect)) as strategy:
        Thread(strategy.write, increment).get()
        Thread(strategy.read, look).get()
        assert opened.total == 1
    assert opened.threads == []


# -- a connection for each thread --------------------------------------------------------------


def test_a_connection_is_opened_once_and_only_when_it_is_needed(path):
    opened = ConnectionCounter()
    with closing(PerThread(path, opened.connect)) as strategy:
        assert opened.total == 0 == len(strategy.open_connections)
        for _ in range(3):
            strategy.write(increment)
            strategy.read(look)
        assert opened.threads == strategy.open_connections == ["MainThread"]


def test_readers_do_not_wait_for_a_writer(wal):
    with closing(PerThread(wal)) as strategy:
        with Held(strategy, unit=increment):
            assert strategy.read(look) == 0
        assert strategy.read(look) == 1


def test_the_end_of_a_thread_closes_its_connection_at_once(path):
    opened = ConnectionCounter()
    with closing(PerThread(path, opened.connect)) as strategy:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                Thread(strategy.write, increment).get()
                until(lambda: strategy.open_connections == [] == opened.threads)
        finally:
            gc.enable()
        assert opened.total == 3


def test_in_a_thread_pool_connections_live_as_long_as_its_threads(path):
    with closing(PerThread(path)) as strategy:
        with ThreadPoolExecutor(3, "pool") as pool:
            list(pool.map(lambda _: strategy.write(increment), range(30)))
            assert {name[:4] for name in strategy.open_connections} == {"pool"}
            assert len(strategy.open_connections) <= 3
        until(lambda: strategy.open_connections == [])


def test_close_closes_connections_of_threads_that_live_on(path):
    opened = ConnectionCounter()
    strategy = PerThread(path, opened.connect)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(strategy.write, increment).result()
        strategy.close()
        assert strategy.open_connections == [] == opened.threads
        with pytest.raises(RuntimeError, match="closed"):
            pool.submit(strategy.read, look).result()
        assert opened.threads == []


def test_close_in_vain_closes_the_others_and_names_the_late_ones(path):
    opened = ConnectionCounter()
    strategy = PerThread(path, opened.connect, timeout=0.05)
    strategy.read(look)
    with (
        Held(strategy, write=False, name="one"),
        Held(strategy, write=False, name="two"),
    ):
        with pytest.raises(TimeoutError, match=r"after 0\.05 s: one, two"):
            strategy.close()
        assert opened.threads == ["one", "two"]
    until(lambda: opened.threads == [])


def test_a_thread_that_opens_while_close_looks_is_refused_and_leaves_nothing_open(path):
    opening, go_on, opened = threading.Event(), threading.Event(), ConnectionCounter()

    def connect(*arguments, **options):
        opening.set()
        assert go_on.wait(TIMEOUT)
        return opened.connect(*arguments, **options)

    strategy = PerThread(path, connect)
    late = Thread(strategy.write, increment)
    assert opening.wait(TIMEOUT)
    strategy.close()
    go_on.set()
    with pytest.raises(RuntimeError, match="closed"):
        late.get()
    assert opened.total == 1
    assert opened.threads == []
    assert stored(path) == 0


def test_a_strategy_that_is_forgotten_closes_its_connections(path):
    opened = ConnectionCounter()
    strategy = PerThread(path, opened.connect)
    strategy.write(increment)
    forgotten = weakref.ref(strategy)
    del strategy
    gc.collect()
    assert forgotten() is None
    assert (opened.threads, opened.dropped) == ([], 0)


def test_deferred_is_refused_when_another_has_written_and_retry_runs_it_again(wal):
    with (
        closing(PerThread(wal)) as immediate,
        closing(PerThread(wal, begin="DEFERRED")) as deferred,
        closing(PerThread(wal, begin="DEFERRED", retry=Retry())) as again,
    ):
        tries = []

        def late(connection):
            tries.append(look(connection))
            if len(tries) == 1:
                Thread(immediate.write, increment).get()
            return increment(connection)

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            deferred.write(late)
        tries.clear()
        assert again.write(late) == 3
        assert tries == [1, 2]


def test_sixteen_first_units_at_once_can_switch_to_wal(path):
    with closing(PerThread(path, Settings("wal", "OFF", busy_timeout=TIMEOUT).open)) as strategy:
        barrier = threading.Barrier(16)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: (barrier.wait(), strategy.write(increment)), range(16)))
    assert stored(path) == 16


# -- a pool ------------------------------------------------------------------------------------


def test_the_number_of_connections_is_fixed(wal):
    opened = ConnectionCounter()
    with closing(Pool(wal, opened.connect, readers=2)) as pool, ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: (pool.write(increment), pool.read(look)), range(60)))
        assert opened.total <= 3
    assert opened.threads == []
    assert stored(wal) == 60


def test_readers_read_beside_the_writer_and_each_other(wal):
    with (
        closing(Pool(wal, readers=2)) as pool,
        Held(pool, unit=increment),
        Held(pool, write=False),
    ):
        assert pool.read(look) == 0


@pytest.mark.parametrize("write", [True, False])
def test_a_wait_for_a_connection_in_vain_names_who_holds_it(path, write):
    with closing(Pool(path, readers=1, timeout=0.05)) as pool:
        call = pool.write if write else pool.read
        with (
            Held(pool, write=write, name="the slow one"),
            pytest.raises(TimeoutError, match=r"after 0\.05 s .*: the slow one"),
        ):
            call(look)
        assert call(look) == 0


def test_two_threads_may_close_a_pool_while_units_run(path):
    pool = Pool(path, readers=4)
    with ExitStack() as units:
        for number in range(4):
            units.enter_context(Held(pool, write=False, name=f"reader {number}"))
        both = [Thread(pool.close, name=name) for name in "AB"]
        until(lambda: pool._closed)
        for thread in both:
            thread.join(0.2)  # each has had the time to take a turn
    for thread in both:
        thread.get()


def test_whoever_waits_gets_what_comes_back(path):
    with closing(Pool(path, readers=1, timeout=TIMEOUT)) as pool:
        for write in (True, False):
            with Held(pool, write=write):
                waiting = [Thread(pool.write if write else pool.read, look) for _ in range(3)]
            assert [thread.get() for thread in waiting] == [0] * 3


def test_a_thread_that_gives_a_connection_back_cannot_overtake(path):
    """It asks again at once, while another one has waited for long."""
    with closing(Pool(path)) as pool:
        done = []
        for _ in range(20):
            with Held(pool):
                waiting = Thread(pool.write, lambda _: done.append("waited"))
                until(lambda: len(pool._write.line) == 2)
                greedy = Thread(pool.write, lambda _: done.append("came later"))
            waiting.get()
            greedy.get()
        assert done == ["waited", "came later"] * 20


def test_whoever_waits_when_it_closes_is_refused_soon(path):
    pool = Pool(path, timeout=TIMEOUT)
    with Held(pool):
        waiting = Thread(pool.write, increment)
        until(lambda: len(pool._write.line) == 2)
        closer = Thread(pool.close)
        until(lambda: pool._closed)
        began = time.monotonic()
    with pytest.raises(RuntimeError, match="closed"):
        waiting.get()
    closer.get()
    assert time.monotonic() - began < AT_ONCE
    assert stored(path) == 0


def test_a_unit_that_raises_leaves_no_old_snapshot_to_the_next(wal):
    kept = []

    def half_read(connection):
        for row in connection.execute("SELECT value FROM counter UNION ALL SELECT 1"):
            raise ValueError(row)

    with closing(Pool(wal, readers=1)) as pool:
        for _ in range(3):
            try:
                pool.read(half_read)
            except ValueError as error:
                kept.append(error)
            expected = pool.write(increment)
            assert pool.read(look) == expected


def test_what_a_unit_sets_is_gone_when_a_unit_raises(path):
    def sets(connection):
        connection.row_factory = sqlite3.Row
        raise ValueError("no")

    with closing(Pool(path, readers=1)) as pool:
        with pytest.raises(ValueError, match="no"):
            pool.read(sets)
        row = pool.read(lambda c: c.execute("SELECT value FROM counter").fetchone())
        assert type(row) is tuple


@pytest.mark.parametrize("readers", [0, -1])
def test_it_needs_readers(path, readers):
    with pytest.raises(ValueError, match="at least one reader"):
        Pool(path, readers=readers)


def test_a_crash_is_rolled_back_before_readers_look(path):
    crashed = path + ".crashed"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        increment(connection)
        connection.executemany(
            "INSERT INTO item VALUES (?, ?)", [(n, "x" * 4000) for n in range(99)]
        )
        for suffix in ("", "-journal"):
            with open(path + suffix, "rb") as source, open(crashed + suffix, "wb") as copy:
                copy.write(source.read())
        connection.execute("ROLLBACK")
    with closing(Pool(crashed)) as pool:
        assert pool.read(look) == 0


# -- a unit that ends its own transaction ------------------------------------------------------


@pytest.mark.parametrize("make", [TransactionLock, PerThread, Pool, Writer])
def test_what_is_busy_after_its_own_commit_is_not_run_again(path, make):
    runs = []

    def unit(connection):
        runs.append(increment(connection))
        connection.commit()
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    with closing(make(path)) as strategy, pytest.raises(OutcomeUnknown) as caught:
        Retry()(strategy.write)(unit)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert len(runs) == 1 == stored(path)


@pytest.mark.parametrize("make", [TransactionLock, PerThread, Pool, Writer])
@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 has brought autocommit")
@pytest.mark.parametrize("value", [True, False])
def test_autocommit_that_a_unit_sets_loses_nobody_elses_work(path, make, value):
    def unit(connection):
        increment(connection)
        connection.autocommit = value

    with closing(make(path)) as strategy:
        with suppress(OutcomeUnknown):
            strategy.write(unit)
        before = stored(path)
        for number in range(1, 4):
            assert strategy.write(increment) == before + number == stored(path)


@pytest.mark.parametrize("make", [TransactionLock, PerThread, Pool, Writer])
def test_python_begins_nothing_whatever_connect_makes_of_it(path, make):
    def connect(*arguments, isolation_level, **options):
        return sqlite3.connect(*arguments, **options)

    def unit(connection):
        with suppress(sqlite3.IntegrityError):
            connection.execute("INSERT OR ROLLBACK INTO item VALUES (1, 'a'), (1, 'b')")
        increment(connection)

    with closing(make(path, connect)) as strategy, pytest.raises(OutcomeUnknown):
        strategy.write(unit)


# -- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [TransactionLock, PerThread, Pool, Writer])
@pytest.mark.parametrize("call", ["write", "read"])
@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.slow)])
# Between the opening of a connection and the name for it nobody can close it (Python 3.13 warns).
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_an_interruption_at_any_place_leaves_the_strategy_fit(tmp_path, make, call, first):
    for number in itertools.count(1):
        path = create(str(tmp_path / f"{number}.db"), "wal")
        strategy = make(path, Settings(synchronous="OFF").open, timeout=0.5)
        if not first:
            strategy.write(increment)
            strategy.read(look)
        with Interruption(number) as interruption:
            getattr(strategy, call)({"write": increment, "read": look}[call])
        assert Thread(strategy.write, increment).get() == stored(path)
        assert Thread(strategy.read, look).get() + 1 == strategy.write(increment)
        strategy.close()
        if not interruption.happened:
            break
    gc.collect()
    assert number > 5


class Interrupted(sqlite3.Connection):
    """Ctrl-C comes as a PRAGMA begins, or as it ends."""

    when = None

    def execute(self, sql, *parameters):
        is_switch = self.when and sql.startswith("PRAGMA query_only")
        if is_switch and self.when == "before":
            raise KeyboardInterrupt
        cursor = super().execute(sql, *parameters)
        if is_switch:
            raise KeyboardInterrupt
        return cursor


@pytest.mark.parametrize("make", [TransactionLock, PerThread])
@pytest.mark.parametrize("calls", ["write read", "read write"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_between_reads_and_writes_leaves_both_fit(path, make, calls, when):
    with closing(make(path, functools.partial(sqlite3.connect, factory=Interrupted))) as strategy:
        units = {"write": increment, "read": look}
        first, second = calls.split()
        getattr(strategy, first)(units[first])
        Interrupted.when = when
        try:
            with suppress(KeyboardInterrupt):
                getattr(strategy, second)(units[second])
        finally:
            Interrupted.when = None
        value = strategy.read(look)
        assert strategy.write(increment) == value + 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            strategy.read(increment)


# -- what is set for all -----------------------------------------------------------------------


@pytest.mark.parametrize("make", [TransactionLock, PerThread, Pool, Writer])
def test_connect_sets_what_every_unit_is_to_find(path, make):
    def connect(*arguments, **options):
        connection = FAST.open(*arguments, **options)
        connection.row_factory = sqlite3.Row
        return connection

    def unit(connection):
        row = connection.execute("SELECT value FROM counter").fetchone()
        return row["value"], connection.execute("PRAGMA foreign_keys").fetchone()[0]

    with closing(make(path, connect)) as strategy:
        assert strategy.write(unit) == Thread(strategy.read, unit).get() == (0, 1)


# -- the flawed ones ---------------------------------------------------------------------------


def test_a_lock_for_each_statement_keeps_no_unit_whole(path):
    def unit(connection):
        connection.execute("UPDATE counter SET value = ?", [5])
        raise ValueError("no")

    with closing(StatementLock(path)) as strategy:
        with pytest.raises(ValueError, match="no"):
            strategy.write(unit)
        assert strategy.read(look) == 5


def test_a_shared_connection_leaves_the_open_transaction_to_the_next(path):
    def unit(connection):
        increment(connection)
        raise ValueError("no")

    with closing(SharedConnection(path)) as strategy:
        with pytest.raises(ValueError, match="no"):
            strategy.write(unit)
        assert strategy.write(look) == 1 == stored(path)


@pytest.fixture
def locked_cursor(path):
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as shared:
        yield LockableCursor(shared.cursor())


def test_a_locked_cursor_returns_the_rows_it_is_asked_for(locked_cursor):
    assert locked_cursor.execute("INSERT INTO counter VALUES (5)") is None
    select = "SELECT value FROM counter WHERE value = 5"
    assert locked_cursor.execute(select) is None
    assert locked_cursor.execute("all", select) == [(5,)]
    assert locked_cursor.execute("one", select) == (5,)


def test_a_locked_cursor_hides_the_error_of_a_statement_whose_rows_are_wanted(locked_cursor):
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        locked_cursor.execute("SELECT valeu FROM counter")
    with pytest.raises(UnboundLocalError) as caught:
        locked_cursor.execute("all", "SELECT valeu FROM counter")
    assert "no such column" in str(caught.value.__context__)
    assert not locked_cursor.lock.locked()


def test_a_locked_cursor_hides_ctrl_c(locked_cursor):
    def interrupted(sql):
        raise KeyboardInterrupt

    locked_cursor.cursor = type("Interrupted", (), {"execute": staticmethod(interrupted)})
    with pytest.raises(UnboundLocalError):
        locked_cursor.execute("all", "SELECT value FROM counter")


@pytest.mark.parametrize(
    ("journal_mode", "free"), [("delete", (False, True)), ("wal", (True, False))]
)
def test_one_of_several_rows_keeps_a_lock_until_the_next_statement(tmp_path, journal_mode, free):
    """Free: may another connection commit, and may it empty the WAL?"""

    def found(other):
        try:
            other.execute("UPDATE counter SET value = value + 1")
            commits = True
        except sqlite3.OperationalError:
            commits = False
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return commits, not busy

    path = tmp_path / "rows.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as shared:
        shared.execute(f"PRAGMA journal_mode = {journal_mode}")
        shared.execute("CREATE TABLE counter (value)")
        shared.execute("INSERT INTO counter VALUES (1), (2)")
        cursor = LockableCursor(shared.cursor())
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0.1)) as other:
            assert cursor.execute("one", "SELECT value FROM counter") == (1,)
            assert found(other) == free
            cursor.execute("one", "SELECT 1")
            assert found(other) == (True, True)
