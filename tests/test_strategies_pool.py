"""A pool: one connection that writes, some that only read, lent to one thread at a time."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from units import Held, Thread, add, elsewhere, increment, look, stored, until

from helpers import databases
from helpers.strategies.errors import ClosedError, NestedError, WaitTimeout
from helpers.strategies.pool import Pool
from helpers.strategies.settings import Settings

QUICK = Settings(busy_timeout=0.2, synchronous="OFF")


@pytest.fixture
def database():
    with databases.fresh("counter", "wal") as database:
        yield database


@pytest.fixture
def pool(database):
    pool = Pool(database, readers=2, settings=QUICK, timeout=0.1)
    yield pool
    pool.close()
    assert pool.holders() == []


def test_the_number_of_connections_is_fixed(database):
    opened = []

    def connect(path, **options):
        opened.append(str(path).endswith("?mode=ro"))
        return sqlite3.connect(path, **options)

    pool = Pool(database, connect, readers=3, timeout=20)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: (pool.write(increment), pool.read(look)), range(40)))
    assert opened == [False, True, True, True]
    pool.close()
    assert stored(database) == 40


def test_readers_cannot_write_whatever_they_try(pool):
    with pool.checkout() as connection:
        connection.execute("PRAGMA query_only = 0")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            increment(connection)


def test_readers_read_beside_the_writer_and_each_other(pool):
    with Held(pool, unit=increment), Held(pool, write=False, unit=look) as reader:
        assert pool.read(look) == 0
    assert reader.thread.result == 0
    assert pool.read(look) == 1


def test_a_wait_in_vain_names_who_holds_and_the_line_that_took_it(pool):
    with Held(pool, name="the slow one"):
        with pytest.raises(WaitTimeout) as caught:
            pool.write(increment)
        (holder,) = pool.holders()
    assert str(caught.value).startswith(
        "no writing connection came free within 0.1 s; held by the slow one for "
    )
    assert "taken by `self.result = self.function(*self.arguments)`" in str(caught.value)
    assert str(caught.value).endswith("Give connections back sooner, or raise timeout=")
    assert (holder.thread.name, holder.write, holder.unit) == ("the slow one", True, True)


def test_readers_run_out_too(pool):
    with (
        pool.checkout() as one,
        pool.checkout() as two,
        pytest.raises(WaitTimeout, match=r"reading .*MainThread.*; MainThread.*raise readers="),
    ):
        elsewhere(pool.read, look)
    assert one is not two
    assert pool.write(increment) == pool.read(look) == 1


def test_whoever_waits_gets_what_comes_back(database):
    pool = Pool(database, settings=QUICK, timeout=20)
    with Held(pool, unit=increment):
        second = Thread(pool.write, increment)
    assert second.get() == 2
    pool.close()


# -- checkout ----------------------------------------------------------------------------


def test_a_borrowed_connection_is_in_autocommit_and_open_transactions_are_rolled_back(
    pool, database
):
    with pool.checkout(write=True) as connection:
        add(1)(connection)
        assert stored(database) == 1
        connection.execute("BEGIN")
        add(10)(connection)
    assert stored(database) == 1
    assert pool.write(increment) == 2


def test_release_gives_back_once(pool):
    checkout = pool.checkout(write=True)
    for _ in range(3):
        checkout.release()
    assert pool._idle[True].qsize() == 1
    assert pool.write(increment) == 1


def test_one_that_is_never_given_back_goes_back_with_a_warning_that_names_the_line(pool):
    checkout = pool.checkout(write=True)
    add(10)(checkout.connection)
    checkout.connection.execute("BEGIN IMMEDIATE")
    with pytest.warns(
        ResourceWarning, match=r"MainThread .*`checkout = pool.checkout\(write=True\)`"
    ):
        del checkout
    assert pool.write(increment) == 11


def test_a_thread_may_not_borrow_the_writer_twice(pool):
    with pool.checkout(write=True), pytest.raises(NestedError):
        pool.checkout(write=True)
    with pool.checkout(write=True), pytest.raises(WaitTimeout):
        elsewhere(lambda: pool.checkout(write=True))


def test_a_borrowed_connection_that_was_closed_is_replaced(pool):
    with pool.checkout(write=True) as connection:
        connection.close()
    assert pool.write(increment) == 1


def test_a_half_read_cursor_leaves_the_next_borrower_no_old_snapshot(pool):
    kept = []
    for _ in range(2):
        with pool.checkout() as connection:
            kept.append(connection.execute("SELECT value FROM counter UNION ALL SELECT 7"))
            assert kept[-1].fetchone() == (0,)
    pool.write(increment)
    assert [pool.read(look) for _ in range(4)] == [1] * 4


def test_a_thread_that_ends_leaves_nothing_behind(pool):
    thread = Thread(lambda: pool.checkout(write=True))
    checkout = thread.get()
    assert [holder.thread for holder in pool.holders()] == [thread]
    checkout.release()
    assert pool.write(increment) == 1


# -- close -------------------------------------------------------------------------------


def test_whoever_waits_when_it_closes_is_refused(database):
    pool = Pool(database, timeout=20)
    with Held(pool, unit=increment):
        waiting = [Thread(pool.write, increment) for _ in range(3)]
        end = Thread(pool.close)
        until(lambda: pool._closed)
    end.get()
    for thread in waiting:
        with pytest.raises(ClosedError):
            thread.get()
    assert stored(database) == 1


def test_close_in_vain_closes_the_others_names_who_holds_and_can_be_repeated(database):
    pool = Pool(database, readers=2, timeout=0.1)
    with (
        Held(pool, write=False, name="the slow one"),
        pytest.raises(WaitTimeout, match=r"cannot close: no reading .*the slow one"),
    ):
        pool.close()
    assert sum(map(len, pool._open.values())) == 1
    for _ in range(2):
        pool.close()
    assert pool._open == {True: set(), False: set()}


def test_two_threads_may_close_it(database):
    pool = Pool(database)
    pool.write(increment)
    for thread in [Thread(pool.close) for _ in range(4)]:
        thread.get()


def test_a_pool_that_cannot_open_its_readers_closes_its_writer(database):
    opened = []

    def connect(path, **options):
        if "mode=ro" in str(path):
            raise sqlite3.OperationalError("no more")
        opened.append(sqlite3.connect(path, **options))
        return opened[-1]

    with pytest.raises(sqlite3.OperationalError, match="no more"):
        Pool(database, connect)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_crash_is_rolled_back_before_the_readers_open():
    with databases.fresh("counter") as original, databases.Database() as crashed:
        with sqlite3.connect(original, isolation_level=None) as connection:
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE big AS SELECT randomblob(1000000)")
            add(1)(connection)
            for path in original.folder.iterdir():
                target = path.name.replace(original.path.name, crashed.path.name)
                (crashed.folder / target).write_bytes(path.read_bytes())
            connection.execute("ROLLBACK")
        connection.close()
        assert (crashed.folder / f"{crashed.path.name}-journal").exists()
        pool = Pool(crashed)
        assert pool.read(look) == 0
        pool.close()


@pytest.mark.parametrize("readers", [0, -1])
def test_it_needs_readers(database, readers):
    with pytest.raises(ValueError, match=f"readers must be at least 1, not {readers}"):
        Pool(database, readers=readers)


def test_a_database_in_memory_is_refused():
    with pytest.raises(ValueError, match="Pool opens several connections"):
        Pool(":memory:")


def test_holders_are_sorted_by_time(pool):
    with pool.checkout() as _, Held(pool, name="later"):
        assert [holder.thread.name for holder in pool.holders()] == [
            threading.current_thread().name,
            "later",
        ]


@pytest.mark.parametrize("write", [True, False])
def test_whoever_asked_first_is_served_first(database, write):
    pool = Pool(database, readers=1, settings=QUICK, timeout=20)
    order, call = [], pool.write if write else pool.read

    def ask(number):
        call(lambda connection: order.append(number))

    with Held(pool, write=write):
        threads = []
        for number in range(6):
            threads.append(Thread(ask, number))
            # The first waits for the connection, the others for their turn.
            until(lambda number=number: len(pool._turn[write]._waiting) == number)
            until(lambda: pool._turn[write]._holder)
    ask(6)
    for thread in threads:
        thread.get()
    assert order == list(range(7))
    pool.close()


def test_a_borrower_may_change_the_journal_mode():
    with databases.fresh("counter", "wal") as database:
        pool = Pool(database, readers=1)
        assert pool.write(increment) == 1
        with pool.checkout(write=True) as connection:
            assert connection.execute("PRAGMA journal_mode = delete").fetchone() == ("delete",)
        assert pool.write(increment) == pool.read(look) == 2
        pool.close()


def test_an_exception_that_is_kept_does_not_keep_a_connection_that_is_lost(pool):
    with pytest.raises(ZeroDivisionError) as kept:
        pool.write(lambda connection: 1 / 0)
    elsewhere(pool._get, True)  # as if Ctrl-C came before the thread had taken it
    assert elsewhere(pool.write, increment) == 1
    assert kept.tb is not None
