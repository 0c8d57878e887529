"""One thread that writes: order, groups, answers after COMMIT, and an end that loses nothing."""

import contextlib
import ctypes
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from units import (
    PATIENCE,
    Interruption,
    Thread,
    add,
    ctrl_c,
    elsewhere,
    increment,
    look,
    stored,
    until,
)

from helpers import databases
from helpers.strategies.errors import (
    ClosedError,
    NestedError,
    UnitError,
    WaitTimeout,
    WriterDied,
)
from helpers.strategies.settings import Settings
from helpers.strategies.writer import Writer

QUICK = Settings(busy_timeout=0.2, synchronous="OFF")


@pytest.fixture(params=["delete", "wal"])
def database(request):
    with databases.fresh("counter", request.param) as database:
        yield database


@pytest.fixture
def writer(database):
    writer = Writer(database, settings=QUICK)
    yield writer
    writer.close()
    assert not writer._thread.is_alive()


class Busy:
    """In ``with`` the writer is busy with one unit, so that others meet in the queue."""

    def __init__(self, writer, unit=lambda connection: None):
        self.begun, self.end = threading.Event(), threading.Event()

        def wait(connection):
            result = unit(connection)
            self.begun.set()
            assert self.end.wait(PATIENCE)
            return result

        self.future = writer.submit(wait)

    def __enter__(self):
        assert self.begun.wait(PATIENCE)
        return self

    def __exit__(self, *error):
        self.end.set()


def fail(connection):
    increment(connection)
    raise ValueError("halfway")


# -- answers -----------------------------------------------------------------------------


def test_the_future_answers_with_the_result_or_the_error(writer, database):
    assert writer.submit(increment).result(PATIENCE) == 1
    with pytest.raises(ValueError, match="halfway"):
        writer.submit(fail).result(PATIENCE)
    assert writer.write(increment) == stored(database) == 2


def test_nothing_is_answered_before_the_commit(writer, database):
    """What a stranger sees at the moment of the answer."""
    seen, futures = [], []
    with Busy(writer):
        for _ in range(5):
            future = writer.submit(increment)
            future.add_done_callback(
                lambda future: seen.append((future.result(), stored(database)))
            )
            futures.append(future)
    for future in futures:
        future.result(PATIENCE)
    until(lambda: len(seen) == 5)
    assert seen == [(number, 5) for number in range(1, 6)]


def test_a_callback_that_fails_or_writes_harms_nothing(writer, database):
    refused = []

    def callback(future):
        try:
            writer.write(increment)
        except NestedError as error:
            refused.append(error)
        raise RuntimeError("in a callback")

    with Busy(writer):
        future = writer.submit(increment)
        future.add_done_callback(callback)
    future.result(PATIENCE)
    assert writer.write(increment) == stored(database) == 2
    assert len(refused) == 1


def test_units_run_in_the_order_of_submission(writer):
    order = []
    with Busy(writer):
        for number in range(100):
            writer.submit(lambda connection, number=number: order.append(number))
    writer.write(look)
    assert order == list(range(100))


# -- groups ------------------------------------------------------------------------------


def test_what_waits_together_is_committed_together(database):
    commits = []

    class Connection(sqlite3.Connection):
        def commit(self):
            commits.append(1)
            super().commit()

    def connect(path, **options):
        return Connection(path, **options)

    writer = Writer(database, connect, settings=QUICK, group=10)
    with Busy(writer):
        futures = [writer.submit(increment) for _ in range(25)]
    assert [future.result(PATIENCE) for future in futures] == list(range(1, 26))
    writer.close()
    assert writer.group_sizes == {1: 1, 10: 2, 5: 1}
    assert len(commits) == 4
    assert stored(database) == 25


BAD = {
    "raises": fail,
    "raises SystemExit": lambda c: (add(100)(c), sys.exit(3)),
    "commits": lambda c: (add(100)(c), c.commit()),
    "catches what a commit raised": lambda c: (
        add(100)(c),
        contextlib.suppress(sqlite3.Error).__enter__(),
        c.executescript("COMMIT"),
    ),
    "INSERT OR ROLLBACK": lambda c: c.execute("INSERT OR ROLLBACK INTO counter VALUES (1, 0)"),
    "returns a cursor": lambda c: c.execute("UPDATE counter SET value = value + 100"),
    "closes": lambda c: (add(100)(c), c.close()),
    "leaves savepoints": lambda c: (
        c.execute("SAVEPOINT unit_of_work"), add(100)(c), c.execute("SAVEPOINT a"), fail(c),
    ),
    "releases a savepoint that is not its own": lambda c: (
        add(100)(c), c.execute('RELEASE "unit of work"'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_unit_of_a_group_that_fails_does_not_harm_the_others(writer, database, name):
    with Busy(writer, increment):
        before = [writer.submit(increment) for _ in range(3)]
        bad = writer.submit(BAD[name])
        after = [writer.submit(increment) for _ in range(3)]
    assert [future.result(PATIENCE) for future in before + after] == [2, 3, 4, 5, 6, 7]
    assert isinstance(bad.exception(PATIENCE), BaseException)
    assert writer.write(increment) == stored(database) == 8


def test_a_group_that_cannot_be_committed_is_committed_one_by_one():
    script = """
        CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO parent VALUES (1), (2), (3)"""
    with databases.Database() as database:
        with contextlib.closing(database.connect()) as connection:
            connection.executescript(script)
        writer = Writer(database, settings=Settings(foreign_keys=True, synchronous="OFF"))

        def insert(number):
            return lambda c: c.execute("INSERT INTO child VALUES (?)", [number]).lastrowid

        with Busy(writer):
            futures = {number: writer.submit(insert(number)) for number in (1, 9, 2, 8, 3)}
        errors = [number for number, future in futures.items() if future.exception(PATIENCE)]
        assert errors == [9, 8]
        assert isinstance(futures[9].exception(), sqlite3.IntegrityError)
        assert database.query("SELECT id FROM child") == [(1,), (2,), (3,)]
        writer.close()


def test_a_database_that_is_locked_fails_the_group_and_nothing_else(writer, database):
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        with Busy(writer):
            futures = [writer.submit(increment) for _ in range(3)]
            until(lambda: writer.waiting == 3)
        # The writer holds the lock until the first group is committed.
        other.execute("PRAGMA busy_timeout = 20000")
        other.execute("BEGIN IMMEDIATE")
        failed = [f for f in futures if isinstance(f.exception(PATIENCE), sqlite3.OperationalError)]
        other.execute("ROLLBACK")
    assert stored(database) == 3 - len(failed)
    assert writer.write(increment) == 4 - len(failed)


# -- the queue ---------------------------------------------------------------------------


def test_a_full_queue_makes_the_submitters_wait_and_then_says_so(database):
    writer = Writer(database, settings=QUICK, backlog=2, timeout=0.05)
    with Busy(writer):
        futures = [writer.submit(increment) for _ in range(2)]
        assert writer.waiting == 2
        with pytest.raises(WaitTimeout, match=r"stayed full for 0\.05 s \(2 units wait\): submit"):
            writer.submit(increment)
    assert [future.result(PATIENCE) for future in futures] == [1, 2]
    assert writer.write(increment) == 3
    writer.close()


def test_whoever_waits_for_room_gets_it(database):
    writer = Writer(database, settings=QUICK, backlog=1, timeout=PATIENCE)
    with Busy(writer):
        writer.submit(increment)
        threads = [Thread(writer.write, increment) for _ in range(4)]
    for thread in threads:
        thread.get()
    writer.close()
    assert stored(database) == 5


def test_a_unit_that_has_not_begun_can_be_cancelled(writer, database):
    with Busy(writer, increment) as busy:
        futures = [writer.submit(increment) for _ in range(3)]
        assert futures[1].cancel()
        assert not busy.future.cancel()
    assert [futures[0].result(PATIENCE), futures[2].result(PATIENCE)] == [2, 3]
    with pytest.raises(CancelledError):
        futures[1].result()
    assert stored(database) == 3


def test_fairness_is_the_order_of_asking(writer):
    def work():
        return [writer.write(increment) for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        results = [future.result(PATIENCE) for future in [pool.submit(work) for _ in range(4)]]
    assert sorted(itertools.chain(*results)) == list(range(1, 201))
    assert all(result == sorted(result) for result in results)


def test_readers_do_not_go_through_the_queue(writer, database):
    with Busy(writer, increment) as busy:
        assert writer.read(look) == 0
        assert elsewhere(writer.read, look) == 0
    busy.future.result(PATIENCE)
    assert writer.read(look) == 1


# -- the end -----------------------------------------------------------------------------


def test_close_finishes_what_waits(writer, database):
    with Busy(writer):
        futures = [writer.submit(increment) for _ in range(200)]
        end = Thread(writer.close)
        until(lambda: writer._closed)
        with pytest.raises(ClosedError):
            writer.submit(increment)
    end.get()
    assert [future.result(0) for future in futures] == list(range(1, 201))
    assert stored(database) == 200


def test_close_without_draining_refuses_what_waits(writer, database):
    with Busy(writer, increment) as busy:
        futures = [writer.submit(increment) for _ in range(200)]
        end = Thread(lambda: writer.close(drain=False))
        until(lambda: writer._closed)
    end.get()
    assert busy.future.result(0) == 1
    for future in futures:
        with pytest.raises(ClosedError, match="Writer is closed"):
            future.result(0)
    assert stored(database) == 1


def test_every_submission_is_stored_or_refused_when_it_closes_meanwhile(database):
    for _ in range(20):
        before = stored(database)
        writer = Writer(database, settings=QUICK, backlog=3)
        told, start = [], threading.Barrier(5)

        def submit(writer=writer, told=told, start=start):
            start.wait(PATIENCE)
            with contextlib.suppress(ClosedError):
                for _ in range(1000):
                    told.append(writer.write(increment))

        threads = [Thread(submit) for _ in range(4)]
        start.wait(PATIENCE)
        writer.close()
        for thread in threads:
            thread.get()
        assert len(told) == stored(database) - before


def test_close_in_vain_goes_on_writing(database):
    writer = Writer(database, settings=QUICK, timeout=0.05)
    with Busy(writer):
        future = writer.submit(increment)
        with pytest.raises(WaitTimeout, match=r"1 units still wait after 0\.05 s"):
            writer.close()
    assert future.result(PATIENCE) == stored(database) == 1
    writer.close()


def test_what_waits_at_the_end_of_the_program_is_written(database):
    program = f"""
import threading
from helpers.strategies.writer import Writer
writer = Writer({database.path.as_posix()!r})
begun, end = threading.Event(), threading.Event()
writer.submit(lambda c: (begun.set(), end.wait()))
begun.wait()
for _ in range(50):
    writer.submit(lambda c: c.execute("UPDATE counter SET value = value + 1").rowcount)
end.set()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert stored(database) == 50


# -- death -------------------------------------------------------------------------------


class Killed(BaseException):
    """What kills a thread from outside."""


def kill(thread):
    ident, killed = ctypes.c_ulong(thread.ident), ctypes.py_object(Killed)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, killed) == 1


def test_an_exception_from_outside_between_units_ends_it_loudly(writer, database):
    assert writer.write(increment) == 1
    kill(writer._thread)
    # An idle thread gets it when it wakes.
    with pytest.raises((WriterDied, Killed)):
        list(map(writer.write, [increment] * 1000))
    until(lambda: not writer._thread.is_alive())
    with pytest.raises(WriterDied, match=r"ended with Killed\(\): .* make a new Writer"):
        writer.write(increment)
    told = stored(database)
    writer.close()
    assert stored(database) == told


def test_an_exception_from_outside_inside_a_unit_is_the_units_own(writer, database):
    def unit(connection):
        increment(connection)
        kill(threading.current_thread())
        while True:
            pass

    with Busy(writer):
        before, killed, after = (writer.submit(u) for u in (increment, unit, increment))
    assert (before.result(PATIENCE), after.result(PATIENCE)) == (1, 2)
    with pytest.raises(Killed):
        killed.result()
    assert writer.write(increment) == stored(database) == 3


@pytest.mark.parametrize("backlog", [1, 1000])
def test_a_dead_writer_fails_all_who_wait(database, backlog):
    writer = Writer(database, settings=QUICK, backlog=backlog)

    def die(*_):
        raise Killed

    with Busy(writer):
        threads = [Thread(writer.write, increment) for _ in range(6)]
        until(lambda: writer.waiting == min(6, backlog))
        writer._commit_or_retry = die
    for thread in threads:
        with pytest.raises(WriterDied, match="stored"):
            thread.get()
    with pytest.raises(WriterDied, match="is not stored"):
        writer.submit(increment)
    writer.close()
    assert stored(database) == 0


def test_a_unit_is_refused_while_another_thread_may_still_be_told(writer):
    with pytest.raises(UnitError, match="returned a Cursor"):
        writer.write(lambda c: c.execute("SELECT 1"))


@pytest.mark.parametrize("name", ["group", "backlog"])
def test_bad_numbers_are_refused_by_name(database, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        Writer(database, **{name: 0})


def test_a_database_in_memory_is_refused():
    with pytest.raises(ValueError, match="Writer opens several connections"):
        Writer(":memory:")


#: When Ctrl-C comes to the second of five threads whose units are in one group.
MOMENTS = ["before its unit runs", "while its unit runs", "when a function written in C returns"]


@pytest.mark.parametrize("moment", MOMENTS)
@ctrl_c()
def test_an_interruption_keeps_nobody_of_its_group_waiting(moment):
    # Each thread of a group wakes the next: whoever is interrupted must not break that chain.
    if moment in MOMENTS[:2]:
        if os.name != "posix":
            pytest.skip("on Windows waiting for a lock cannot be interrupted")
        Interrupted(moment).run(1_000_000)
        return
    number = next(n for n in itertools.count(1) if not Interrupted(moment).run(n))
    assert number > 5


class Interrupted:
    """Five threads with a unit each; the second, which is the main one, is interrupted."""

    def __init__(self, moment):
        self.moment = moment
        self.runs, self.over = threading.Event(), threading.Event()

    def run(self, number):
        """Whether it was interrupted at the `number`-th place, or from outside."""
        with databases.fresh("counter", "wal") as database:
            self.writer = Writer(database, settings=QUICK)
            with Busy(self.writer) as self.busy:
                first = Thread(self.writer.write, increment)
                until(lambda: self.writer.waiting == 1)
                crowd = Thread(self._crowd)
                with Interruption(number) as interruption:
                    self.writer.write(self._unit)
                self.over.set()
                threads = crowd.get()
            for thread in (first, *threads):
                thread.get()
            self.writer.close()
            assert stored(database) in (4, 5)
        return interruption.happened

    def _unit(self, connection):
        if self.moment == MOMENTS[1]:
            self.runs.set()
            assert self.over.wait(PATIENCE)
        return increment(connection)

    def _crowd(self):
        until(lambda: self.writer.waiting == 2 or self.over.is_set())
        there = self.writer.waiting
        threads = [Thread(self.writer.write, increment) for _ in range(3)]
        until(lambda: self.writer.waiting == there + 3)
        if self.moment == MOMENTS[0]:
            self._interrupt()
        self.busy.end.set()
        if self.moment == MOMENTS[1]:
            assert self.runs.wait(PATIENCE)
            self._interrupt()
        return threads

    def _interrupt(self):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert self.over.wait(PATIENCE)
