"""One connection and a lock: the fair lock, the lock round a unit, the lock round a statement."""

import os
import signal
import sqlite3
import threading

import pytest
from units import PATIENCE, Held, Thread, ctrl_c, elsewhere, increment, look, stored, until

from helpers import databases
from helpers.strategies.errors import NestedError, WaitTimeout
from helpers.strategies.fairness import FairLock
from helpers.strategies.locks import LockableCursor, StatementLock, TransactionLock
from helpers.strategies.settings import Settings

QUICK = Settings(busy_timeout=0.2, synchronous="OFF")


@pytest.fixture
def lock():
    lock = FairLock()
    yield lock
    assert elsewhere(taken, lock, 0.05), "the lock is not free at the end"


def taken(lock, timeout=PATIENCE):
    """Whether the lock comes free within `timeout`."""
    if lock.acquire(timeout):
        lock.release()
        return True
    return False


@pytest.fixture
def database():
    with databases.fresh("counter") as database:
        yield database


# -- FairLock ----------------------------------------------------------------------------


def test_whoever_asked_first_is_next(lock):
    order = []

    def ask(number):
        assert lock.acquire(PATIENCE)
        order.append(number)
        lock.release()

    lock.acquire()
    threads = []
    for number in range(8):
        threads.append(Thread(ask, number))
        until(lambda number=number: len(lock._waiting) == number + 1)
    lock.release()
    # It was handed over already: whoever asks now is last, even without a pause.
    ask(8)
    for thread in threads:
        thread.get()
    assert order == list(range(9))


def test_it_excludes(lock):
    inside = []

    def work():
        for _ in range(200):
            assert lock.acquire(PATIENCE)
            inside.append(1)
            assert len(inside) == 1
            inside.pop()
            lock.release()

    for thread in [Thread(work) for _ in range(4)]:
        thread.get()


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_waiting_in_vain_ends_and_leaves_no_trace(lock, timeout):
    lock.acquire()
    assert not elsewhere(lock.acquire, timeout)
    assert not lock._waiting
    lock.release()


def test_a_hand_over_in_the_last_moment_is_accepted(lock):
    lock.acquire()
    leave = lock._leave

    def late(turn):
        # The timeout has passed; before the thread can say so, it is its turn.
        lock._pass_on(lock._holder)
        return leave(turn)

    lock._leave = late
    assert elsewhere(lambda: lock.acquire(0.01) and (lock.release() or True))


def test_only_the_holder_can_release(lock):
    with pytest.raises(RuntimeError, match="it is free"):
        lock.release()
    lock.acquire()
    with pytest.raises(RuntimeError, match="held by thread MainThread"):
        elsewhere(lock.release)
    assert not elsewhere(taken, lock, 0)
    lock.release()
    with pytest.raises(RuntimeError, match="only the thread that holds"):
        lock.release()


def test_it_says_who_holds_it(lock):
    assert str(lock) == "free"
    assert not lock.mine
    lock.acquire()
    assert str(lock) == "held by thread MainThread for 0.0 s"
    assert lock.mine
    assert not elsewhere(lambda: lock.mine)
    lock.release()
    assert not lock.mine


@pytest.mark.skipif(
    os.name != "posix", reason="on Windows waiting for a lock cannot be interrupted"
)
@ctrl_c()
def test_ctrl_c_while_waiting_leaves_the_queue(lock):
    main = threading.get_ident()
    with Holding(lock) as holding:

        def interrupt():
            until(lambda: lock._waiting)
            signal.pthread_kill(main, signal.SIGINT)

        thread = Thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire(PATIENCE)
        thread.get()
        assert not lock._waiting
    holding.thread.get()
    assert taken(lock)


class Holding:
    """Another thread holds the lock until the end of the ``with``."""

    def __init__(self, lock):
        self.begun, self.end, self.lock = threading.Event(), threading.Event(), lock

    def _run(self):
        self.lock.acquire()
        self.begun.set()
        self.end.wait(PATIENCE)
        self.lock.release()

    def __enter__(self):
        self.thread = Thread(self._run)
        self.begun.wait(PATIENCE)
        return self

    def __exit__(self, *error):
        self.end.set()


# -- TransactionLock ---------------------------------------------------------------------


def test_one_unit_at_a_time_reads_included(database):
    lock = TransactionLock(database, settings=QUICK, timeout=0.05)
    with Held(lock, unit=increment), pytest.raises(WaitTimeout):
        lock.read(look)
    with Held(lock, write=False), pytest.raises(WaitTimeout):
        lock.write(increment)
    assert lock.read(look) == 1
    lock.close()


def test_a_wait_in_vain_names_the_holder_and_says_what_to_do(database):
    lock = TransactionLock(database, timeout=0.05)
    with Held(lock, name="the slow one"):
        with pytest.raises(WaitTimeout, match=r"0\.05 s: .*the slow one for 0\.. s; make units"):
            lock.write(increment)
        with pytest.raises(WaitTimeout, match=r"cannot close .*the slow one.*; close again"):
            lock.close()
    assert lock.write(increment) == 1
    lock.close()


def test_a_database_in_memory_is_shared_by_all_threads():
    lock = TransactionLock(":memory:")
    lock.write(lambda c: c.execute("CREATE TABLE counter (id, value)").rowcount)
    lock.write(lambda c: c.execute("INSERT INTO counter VALUES (1, 0)").rowcount)
    for thread in [Thread(lock.write, increment) for _ in range(5)]:
        thread.get()
    assert lock.read(look) == 5
    lock.close()


def test_units_of_other_connections_may_write_too(database):
    lock = TransactionLock(database, settings=QUICK)
    other = TransactionLock(database)
    with Held(other, unit=increment), pytest.raises(sqlite3.OperationalError, match="locked"):
        lock.write(increment)
    other.close()
    assert lock.write(increment) == 2
    lock.close()


def test_it_uses_one_connection(database):
    opened = []

    def connect(*arguments, **options):
        opened.append(1)
        return sqlite3.connect(*arguments, **options)

    lock = TransactionLock(database, connect)
    for _ in range(3):
        elsewhere(lock.write, increment)
        elsewhere(lock.read, look)
    lock.close()
    assert len(opened) == 1


def test_the_refusal_of_nested_use_names_the_strategy(database):
    lock = TransactionLock(database)
    with pytest.raises(NestedError, match="its own TransactionLock again: pass the connection on"):
        lock.write(lambda connection: lock.read(look))
    lock.close()


# -- StatementLock, point by point what is wrong with it -----------------------------------


@pytest.fixture
def flawed(database):
    strategy = StatementLock(database)
    yield strategy
    strategy.close()


def test_flaw_1_anybody_may_write_between_two_statements(flawed, database):
    def unit(cursor):
        (value,) = cursor.execute("SELECT value FROM counter").fetchone()
        elsewhere(flawed.write, increment)
        cursor.execute("UPDATE counter SET value = ?", [value + 1])

    flawed.write(unit)
    assert stored(database) == 1  # of two


def test_flaw_2_a_value_rewrites_the_statement(flawed):
    assert flawed.cursor.filled_in("a = ? AND b = ?", [1, "x"]) == "a = 1 AND b = 'x'"
    rows = flawed.cursor.execute("SELECT ?", ["x' UNION SELECT 'injected"])
    assert sorted(rows) == [("injected",), ("x",)]


def test_flaw_3_the_cursor_is_shared_and_rows_are_fetched_under_the_lock(flawed):
    assert flawed.cursor.execute("SELECT 1 UNION SELECT 2") == [(1,), (2,)]
    rows = flawed.cursor.execute("SELECT 1 UNION SELECT 2")
    assert rows.fetchone() == (1,)
    assert rows.fetchall() == [(2,)]
    assert [rows.fetchone(), rows.fetchone()] == [(2,), None]


def test_flaw_4_nothing_is_rolled_back(flawed, database):
    def unit(cursor):
        cursor.execute("UPDATE counter SET value = 7")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        flawed.write(unit)
    assert stored(database) == 7


def test_flaw_5_an_error_keeps_the_lock(flawed):
    with pytest.raises(sqlite3.OperationalError):
        flawed.write(lambda cursor: cursor.execute("SELECT nothing"))
    assert not flawed.cursor.lock.acquire(timeout=0.05)
    assert isinstance(flawed.cursor, LockableCursor)
