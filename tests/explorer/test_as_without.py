"""One thread alone finds in an explored program what it finds without the explorer."""

import contextlib
import queue
import random
import sqlite3
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import closing

import pytest
from ways import WAYS

from helpers import databases
from helpers.explorer import Program, explore


def told(call, *arguments, **options):
    """What a call returns, or the error that it raises."""
    try:
        return call(*arguments, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# -- locks ---------------------------------------------------------------------------------------


def locks_it(lock, path):
    yield lock.acquire(), lock.locked(), lock.acquire(False), lock.acquire(timeout=0.01)
    yield lock.release(), lock.locked(), told(lock.release)
    with lock:
        yield lock.locked()
    yield lock.acquire(blocking=False), lock.release(), lock.acquire(timeout=1), lock.release()


def locks_it_again(lock, path):
    yield lock.acquire(), lock.acquire(False), lock.acquire(timeout=1)
    yield lock.release(), lock.release(), lock.release(), told(lock.release)
    with lock, lock:
        yield lock.acquire(blocking=False), lock.release()
    yield told(lock.release)


def waits_on_it(condition, path):
    yield told(condition.notify), told(condition.wait, 0.01)
    with condition:
        yield condition.wait(0.01), condition.wait_for(lambda: True)
        yield condition.notify(), condition.notify_all(), condition.acquire(False)
        if isinstance(condition._lock, type(REENTRANT)):
            yield condition.wait(0.01), condition.release()
    yield told(condition.release)


def counts_down(semaphore, path):
    yield semaphore.acquire(), semaphore.acquire(blocking=False), semaphore.acquire(False)
    yield semaphore.release(), semaphore.release(), told(semaphore.release), semaphore._value


def sets_it(event, path):
    yield event.is_set(), event.clear(), event.is_set(), event.wait(0.01)
    yield event.set(), event.wait(), event.wait(0.01), event.is_set()


def meets_nobody(barrier, path):
    yield barrier.parties, barrier.abort(), told(barrier.wait), barrier.broken, barrier.reset()
    yield barrier.broken, barrier.n_waiting


def keeps_it(local, path):
    yield hasattr(local, "value")
    local.value = 1
    yield local.value, vars(local)


REENTRANT = threading.RLock()
ON_A_LOCK, ON_AN_RLOCK = threading.Condition(threading.Lock()), threading.Condition()
SEMAPHORE = threading.BoundedSemaphore(2)
EVENT = threading.Event()
EVENT.set()


# -- queues --------------------------------------------------------------------------------------


def fills_it(items, path):
    yield items.empty(), items.full(), items.qsize(), items.maxsize
    yield items.put((2, "b")), items.put_nowait((1, "a")), items.full(), items.qsize()
    yield told(items.put_nowait, (3, "c")), told(items.put, (3, "c"), timeout=0.01)
    yield told(items.put, (3, "c"), False), items.empty()
    yield items.get(), items.get(timeout=1), items.task_done(), items.unfinished_tasks
    yield told(items.get_nowait), told(items.get, timeout=0.01), told(items.get, False)
    yield items.task_done(), items.join(), told(items.task_done), items.unfinished_tasks


def fills_a_simple_one(items, path):
    yield items.empty(), items.put(2), items.put_nowait(3), items.qsize(), items.empty()
    yield items.get_nowait(), items.get(False), told(items.get_nowait), told(items.get, True, 0.01)


# -- connections ---------------------------------------------------------------------------------


def connect(path, **options):
    return closing(sqlite3.connect(path, **options))


ADD = "UPDATE counter SET value = value + 1"


def reads_rows(path, **options):
    with connect(path, **options) as connection:
        cursor = connection.cursor()
        rows = "SELECT 1 AS n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4"
        yield cursor.execute(rows) is cursor, cursor.fetchone(), cursor.fetchmany(2)
        yield cursor.fetchall(), cursor.fetchone(), cursor.arraysize, cursor.description[0][0]
        cursor.arraysize = 3
        yield cursor.execute(rows).fetchmany(), next(cursor), told(next, cursor, None)
        yield [*connection.execute(rows)], cursor.connection is connection
        connection.row_factory = sqlite3.Row
        yield dict(connection.execute(rows).fetchone()), connection.total_changes


def changes_rows(path, **options):
    with connect(path, **options) as connection:
        yield connection.isolation_level, connection.in_transaction
        cursor = connection.execute(ADD)
        yield cursor.rowcount, cursor.lastrowid, connection.in_transaction
        yield connection.rollback(), connection.in_transaction
        many = connection.executemany("INSERT INTO counter (value) VALUES (?)", [(5,), (6,)])
        yield many.rowcount, connection.in_transaction
        yield connection.commit(), connection.in_transaction, connection.commit()
        yield connection.execute(ADD + " RETURNING value").fetchall(), connection.commit()
        yield connection.execute("SELECT sum(value) FROM counter").fetchone()
        yield connection.execute("BEGIN").rowcount, connection.in_transaction
        yield told(connection.execute, "BEGIN"), told(connection.execute, "SELEC 1")
        yield told(connection.execute, "SELECT ?"), connection.rollback(), connection.rollback()


def runs_a_script(path, **options):
    with connect(path, **options) as connection:
        connection.execute(ADD)
        cursor = connection.executescript("-- first\nBEGIN; SELECT ';' ; ; " + ADD + ";")
        yield type(cursor).__mro__[-2], connection.in_transaction, connection.rollback()
        yield connection.execute("SELECT value FROM counter").fetchall()


def ends_it_with_with(path, **options):
    with connect(path, **options) as connection:
        with contextlib.suppress(ValueError), connection:
            connection.execute(ADD)
            raise ValueError
        yield connection.execute("SELECT value FROM counter").fetchall()
        with connection as same:
            yield same is connection, connection.execute(ADD).rowcount, connection.in_transaction
        yield connection.execute("SELECT value FROM counter").fetchall()
        yield connection.in_transaction


def changes_its_level(path, **options):
    with connect(path, **options) as connection:
        connection.isolation_level = "IMMEDIATE"
        yield connection.isolation_level, connection.execute(ADD).rowcount
        connection.isolation_level = None
        yield connection.in_transaction, connection.isolation_level
        yield connection.execute(ADD).rowcount, connection.in_transaction
        connection.isolation_level = ""
        yield connection.execute(ADD).rowcount, connection.in_transaction, connection.rollback()
        yield connection.execute("SELECT value FROM counter").fetchall()


def sets_flags(path, **options):
    with connect(path, **options) as connection:
        yield connection.execute("PRAGMA foreign_keys = 1").fetchall()
        yield connection.execute("PRAGMA foreign_keys").fetchall()
        yield connection.execute("PRAGMA busy_timeout = 1200").fetchall()
        yield connection.execute("PRAGMA user_version = 3").fetchall(), connection.in_transaction
        yield connection.execute("PRAGMA user_version").fetchall()
        yield connection.execute("CREATE TABLE t (i)").rowcount, connection.in_transaction
        yield connection.execute("WITH n AS (SELECT 1) SELECT * FROM n").fetchall()
        yield connection.execute("SAVEPOINT s").fetchall(), connection.in_transaction
        yield connection.execute("ROLLBACK TO s").fetchall(), connection.in_transaction
        yield connection.execute("RELEASE s").fetchall(), connection.in_transaction


def is_closed(path, **options):
    connection = sqlite3.connect(path, **options)
    connection.execute(ADD)
    yield connection.close(), connection.close()
    yield told(connection.execute, ADD), told(connection.cursor), told(connection.commit)
    yield told(connection.rollback), told(lambda: connection.in_transaction)
    with connect(path) as other:
        yield other.execute("SELECT value FROM counter").fetchall()
    yield told(sqlite3.connect, path + "/nowhere")


def keeps_the_new_regime(path, *, autocommit, **options):
    with connect(path, autocommit=autocommit, **options) as connection:
        yield connection.autocommit, connection.in_transaction
        yield connection.execute(ADD).rowcount, connection.in_transaction
        yield connection.commit(), connection.in_transaction
        yield connection.execute(ADD).rowcount, connection.rollback(), connection.in_transaction
        yield connection.execute("SELECT value FROM counter").fetchall()


# -- threads, futures, chance --------------------------------------------------------------------


def starts_a_thread(path):
    told_by = []
    thread = threading.Thread(target=told_by.append, args=(1,), name="helper")
    yield thread.is_alive(), thread.name, told(thread.join)
    yield thread.start(), thread.join(), thread.is_alive(), told_by
    unnamed = threading.Thread(target=time.sleep, args=(0,))
    yield unnamed.start(), unnamed.join(timeout=5), unnamed.is_alive()


def answers_a_future(path):
    future, called = Future(), []
    yield future.done(), future.running(), future.cancelled(), told(future.result, 0.01)
    yield told(future.exception, timeout=0.01), future.add_done_callback(called.append)
    yield future.set_running_or_notify_cancel(), future.running(), future.cancel()
    yield future.set_result(7), future.result(), future.exception(), future.done()
    yield called == [future]
    failed, dropped = Future(), Future()
    yield failed.set_exception(KeyError("k")), told(failed.result), repr(failed.exception())
    yield dropped.cancel(), dropped.cancelled(), dropped.set_running_or_notify_cancel()


def draws(path):
    random.seed(3)
    yield random.random(), random.uniform(1, 2), random.randint(1, 9), random.randrange(9)
    yield random.getrandbits(9), random.randbytes(2), random.choice("abc"), random.choices("abc")
    yield random.sample(range(9), 3), random.triangular(), random.gauss(), random.expovariate(2)
    items = [1, 2, 3, 4]
    yield random.shuffle(items), items


def with_a(thing, job):
    """The job with what was made before it, and with what it makes for itself."""

    def with_one_made_before(path):
        return job(thing, path)

    return with_one_made_before


def with_its_own(make, job):
    return lambda path: job(make(), path)


IN_PYTHON = {
    "lock": with_a(threading.Lock(), locks_it),
    "own lock": with_its_own(lambda: threading.Lock(), locks_it),
    "rlock": with_a(REENTRANT, locks_it_again),
    "own rlock": with_its_own(lambda: threading.RLock(), locks_it_again),
    "condition": with_a(ON_A_LOCK, waits_on_it),
    "condition on an rlock": with_a(ON_AN_RLOCK, waits_on_it),
    "own condition": with_its_own(lambda: threading.Condition(), waits_on_it),
    "semaphore": with_a(SEMAPHORE, counts_down),
    "own semaphore": with_its_own(lambda: threading.BoundedSemaphore(2), counts_down),
    "event": with_a(EVENT, sets_it),
    "own event": with_its_own(lambda: threading.Event(), sets_it),
    "barrier": with_a(threading.Barrier(2), meets_nobody),
    "local": with_a(threading.local(), keeps_it),
    "queue": with_a(queue.Queue(2), fills_it),
    "own queue": with_its_own(lambda: queue.Queue(maxsize=2), fills_it),
    "lifo queue": with_a(queue.LifoQueue(2), fills_it),
    "priority queue": with_a(queue.PriorityQueue(2), fills_it),
    "simple queue": with_a(queue.SimpleQueue(), fills_a_simple_one),
    "thread": starts_a_thread,
    "future": answers_a_future,
    "chance": draws,
}
IN_SQLITE = (
    reads_rows, changes_rows, runs_a_script, ends_it_with_with, changes_its_level, sets_flags,
    is_closed,
)  # fmt: skip


def both(job, path, waiting="auto", mode="delete"):
    """What the job yields without the explorer, and in an explored program."""
    path.write_bytes(databases.template("counter", mode))
    chance, last = random.getstate(), []
    without = [repr(found) for found in job(str(path))]
    random.setstate(chance)

    def explored(path):
        last[:] = [repr(found) for found in job(path)]

    found = explore(
        Program("counter", [explored], lambda end: True, journal_mode=mode), waiting=waiting
    )
    assert found.counts == {"right": 1}
    return without, last


@pytest.mark.parametrize("job", IN_PYTHON.values(), ids=IN_PYTHON)
def test_pythons_primitives(job, tmp_path):
    without, explored = both(job, tmp_path / "counter.db")
    assert explored == without


@pytest.mark.parametrize("waiting", WAYS)
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("same_thread", [True, False])
@pytest.mark.parametrize("job", IN_SQLITE)
def test_connections(job, same_thread, mode, waiting, tmp_path):
    def run(path):
        return job(path, check_same_thread=same_thread)

    without, explored = both(run, tmp_path / "counter.db", waiting, mode)
    assert explored == without


@pytest.mark.skipif(sys.version_info < (3, 12), reason="autocommit= is new in 3.12")
@pytest.mark.parametrize("waiting", WAYS)
@pytest.mark.parametrize("autocommit", [True, False, -1])
@pytest.mark.parametrize("same_thread", [True, False])
def test_the_attribute_autocommit(same_thread, autocommit, waiting, tmp_path):
    def run(path):
        options = {"check_same_thread": same_thread}
        return keeps_the_new_regime(path, autocommit=autocommit, **options)

    without, explored = both(run, tmp_path / "counter.db", waiting)
    assert explored == without
