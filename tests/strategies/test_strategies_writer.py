"""The writer: order, groups, answers, back-pressure, patience, death."""

import contextlib
import functools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing

import pytest
from protocol import AT_ONCE, TIMEOUT, Failing, Held, Thread, create, increment, look, stored, until

from helpers.strategies import OutcomeUnknown, Writer
from helpers.strategies.writer import _Group


@pytest.fixture
def path(tmp_path):
    return create(str(tmp_path / "shop.db"), "wal")


@pytest.fixture
def writer(path):
    with closing(Writer(path)) as writer:
        yield writer


def fails(connection):
    increment(connection)
    raise ValueError("changed its mind")


def insert(number):
    return lambda connection: (
        connection.execute("INSERT INTO item VALUES (?, '')", [number]).rowcount
    )


class Counting(sqlite3.Connection):
    """Counts how many units were committed together."""

    sizes, units = Counter(), 0

    def execute(self, sql, *parameters):
        self.units += sql == "SAVEPOINT unit_of_work"
        rows = super().execute(sql, *parameters)
        if sql == "COMMIT":
            self.sizes[self.units] += 1
            self.units = 0
        return rows


@pytest.fixture
def sizes(monkeypatch):
    """Size of a group -> how many groups of that size a `counting` Writer has committed."""
    monkeypatch.setattr(Counting, "sizes", Counter())
    return Counting.sizes


counting = functools.partial(sqlite3.connect, factory=Counting)


def order(path):
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM item ORDER BY id")]


# -- answers -----------------------------------------------------------------------------------


def test_the_future_answers_with_the_result_or_the_error(writer):
    assert writer.submit(increment).result(20) == 1
    assert str(writer.submit(fails).exception(20)) == "changed its mind"


def test_nothing_is_answered_before_the_commit(path):
    asked = []

    class Watched(sqlite3.Connection):
        def execute(self, sql, *parameters):
            if sql == "COMMIT":
                asked.append([future.done() for future in futures])
            return super().execute(sql, *parameters)

    with closing(Writer(path, lambda *a, **k: sqlite3.connect(*a, factory=Watched, **k))) as writer:
        futures = []
        with Held(writer):
            futures += [writer.submit(increment) for _ in range(3)]
        assert [future.result(20) for future in futures] == [1, 2, 3]
    assert asked[-1] == [False] * 3


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_does_not_end_the_writer(writer, error):
    def callback(future):
        raise error

    with Held(writer):
        first, second = writer.submit(increment), writer.submit(increment)
        first.add_done_callback(callback)
    assert second.result(20) == 2
    assert writer.write(increment) == 3


def test_a_callback_that_would_wait_for_its_own_thread_is_refused_at_once(writer):
    refused = []

    def callback(_):
        for call in (writer.write, writer.submit, writer.read, lambda unit: writer.close()):
            with pytest.raises(RuntimeError, match="within another"):
                call(increment)
            refused.append(call)

    with Held(writer):
        writer.submit(increment).add_done_callback(callback)
    until(lambda: len(refused) == 4)
    assert writer.write(increment) == 2


def test_a_unit_that_has_not_begun_can_be_cancelled(writer, path):
    with Held(writer):
        futures = [writer.submit(increment) for _ in range(3)]
        assert futures[1].cancel()
    assert [futures[0].result(20), futures[2].result(20)] == [1, 2]
    with Held(writer):
        futures = [writer.submit(increment) for _ in range(2)]
        assert all(future.cancel() for future in futures)
    assert writer.write(increment) == 3 == stored(path)


# -- order, groups -----------------------------------------------------------------------------


def test_units_run_in_the_order_of_submission(writer, path):
    with Held(writer):
        for number in range(20):
            writer.submit(
                lambda c, n=number: c.execute("INSERT INTO item (text) VALUES (?)", [n]) and None
            )
    writer.write(look)
    assert order(path) == [str(number) for number in range(20)]


def test_what_waits_together_is_committed_together_up_to_a_limit(path, sizes):
    with closing(Writer(path, counting, group=4)) as writer:
        with Held(writer):
            futures = [writer.submit(increment) for _ in range(10)]
        assert [future.result(20) for future in futures] == list(range(1, 11))
    assert sizes == {1: 1, 4: 2, 2: 1}


def test_one_unit_of_a_group_that_raises_takes_back_its_own_work_only(path, sizes):
    def later(connection):
        increment(connection)
        return connection.execute("SELECT 1")

    with closing(Writer(path, counting)) as writer:
        with Held(writer):
            futures = [writer.submit(u) for u in (increment, fails, increment, later, increment)]
        errors = [type(future.exception(20)) for future in futures]
    none = type(None)
    assert errors == [none, ValueError, none, TypeError, none]
    assert stored(path) == 3
    assert sizes == {1: 1, 5: 1}


def conflicts(connection):
    connection.execute("INSERT OR ROLLBACK INTO item VALUES (1, 'a'), (1, 'b')")


def conflicts_unnoticed(connection):
    with contextlib.suppress(sqlite3.IntegrityError):
        conflicts(connection)


def commits_and_begins(connection):
    connection.commit()
    connection.execute("BEGIN")


def keeps_a_cursor(connection):
    keeps_a_cursor.rows = connection.execute(
        "INSERT INTO item VALUES (1, ''), (2, '') RETURNING id"
    )
    next(keeps_a_cursor.rows)


def names_its_rows(connection):
    connection.row_factory = lambda cursor, row: None
    connection.commit()


@pytest.mark.parametrize(
    ("end", "its_own"),
    [
        (lambda connection: connection.commit(), 1),
        (commits_and_begins, 1),
        (lambda connection: connection.commit() or int("no"), 1),
        (names_its_rows, 1),
        (lambda connection: connection.rollback(), 0),
        (conflicts, 0),
        (conflicts_unnoticed, 0),
        (keeps_a_cursor, 0),
        (lambda connection: connection.close(), 0),
    ],
)
def test_a_unit_that_ends_the_transaction_of_its_group_harms_no_other(writer, path, end, its_own):
    """It gets no neighbour lost, or stored twice, or told wrongly."""

    def unit(connection):
        increment(connection)
        end(connection)

    with Held(writer):
        futures = [writer.submit(u) for u in (increment, fails, unit, increment, fails, increment)]
    errors = [future.exception(20) for future in futures]
    none = type(None)
    assert [type(e) for e in errors] == [none, ValueError, OutcomeUnknown, none, ValueError, none]
    assert isinstance(errors[2].__cause__, (sqlite3.Error, ValueError))
    assert stored(path) == 3 + its_own
    assert writer.write(increment) == 4 + its_own == stored(path)


def test_a_group_that_cannot_be_committed_is_committed_one_by_one(path):
    def connect(*arguments, **options):
        connection = sqlite3.connect(*arguments, **options)
        connection.execute("PRAGMA foreign_keys = 1")
        return connection

    def orphan(connection):
        connection.execute("INSERT INTO child VALUES (7)")
        return increment(connection)

    tries = []

    def raises_at_first(connection):
        tries.append(connection)
        return fails(connection) if len(tries) == 1 else increment(connection)

    with closing(Writer(path, connect)) as writer:
        with Held(writer):
            units = (increment, orphan, raises_at_first)
            futures = [writer.submit(unit) for unit in units]
        errors = [type(future.exception(20)) for future in futures]
    assert errors == [type(None), sqlite3.IntegrityError, type(None)]
    assert (stored(path), futures[2].result()) == (2, 2)


def test_after_a_commit_that_was_done_and_failed_all_the_same_no_unit_runs_again(path):
    def connect(*arguments, **options):
        return sqlite3.connect(*arguments, factory=Failing, **options)

    with closing(Writer(path, connect)) as writer:
        with Held(writer):
            futures = [writer.submit(increment) for _ in range(3)]
            Failing.done = True
            writer.submit(lambda connection: setattr(Failing, "failing", True))
        assert [future.result(20) for future in futures] == [1, 2, 3]
        assert stored(path) == 3
        assert writer.write(increment) == 4


def test_a_database_that_is_locked_fails_each_group_once(path):
    with (
        closing(Writer(path, lambda *a, **k: sqlite3.connect(*a, timeout=0.2, **k))) as writer,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        futures = [writer.submit(increment) for _ in range(20)]
        errors = [future.exception(20) for future in futures]
        assert time.monotonic() - began < 2 * AT_ONCE  # twenty would wait for four seconds
        other.execute("COMMIT")
        assert {error.sqlite_errorname for error in errors} == {"SQLITE_BUSY"}
        assert len(set(map(id, errors))) == 20
        assert writer.write(increment) == 1


def test_a_group_waits_for_the_threads_of_the_last_one_and_not_long(path, sizes):
    with closing(Writer(path, counting)) as writer:
        with Held(writer):
            futures = [writer.submit(increment) for _ in range(30)]
        assert futures[-1].result(20) == 30
        began = time.monotonic()
        for _ in range(20):
            writer.write(increment)
        assert time.monotonic() - began < AT_ONCE
    # The first of them waited for thirty, in vain, and the others for one.
    assert sizes == {1: 21, 30: 1}


def test_threads_that_come_back_share_their_commits(path, sizes):
    with closing(Writer(path, counting)) as writer:
        threads = [Thread(lambda: [writer.write(increment) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.get()
    assert stored(path) == 400
    assert sizes.total() < 200


# -- patience ----------------------------------------------------------------------------------


def test_a_write_that_has_not_begun_in_time_is_taken_back(writer, path):
    with Held(writer, name="the slow one"):
        with pytest.raises(TimeoutError, match=r"not begun in 0\.05 s.* the slow one"):
            writer.write(increment, timeout=0.05)
        assert writer.submit(look).cancel()
    assert writer.write(look) == 0 == stored(path)


def test_a_group_that_was_taken_back_whole_stops_nobody(path):
    """It stays at the head of the queue, with others behind it."""
    with closing(Writer(path, group=1)) as writer:
        with Held(writer):
            late = Thread(functools.partial(writer.write, timeout=0.3), increment, name="late")
            until(lambda: "late" in writer._busy())
            answer = writer.submit(increment)
            with pytest.raises(TimeoutError, match="taken back"):
                late.get()
        assert answer.result(TIMEOUT) == 1 == stored(path)
        assert writer.write(increment) == 2


def test_a_write_that_has_begun_and_is_not_answered_in_time_may_be_stored(writer, path):
    end = threading.Event()

    def slow(connection):
        end.wait(20)
        return increment(connection)

    with pytest.raises(OutcomeUnknown, match=r"not ended in 0\.05 s"):
        writer.write(slow, timeout=0.05)
    end.set()
    assert writer.write(increment) == 2 == stored(path)


def test_the_writers_own_timeout_is_the_default(path):
    with closing(Writer(path, timeout=0.05)) as w, Held(w), pytest.raises(TimeoutError):
        w.write(increment)


def test_an_answer_in_the_last_moment_is_an_answer(writer, monkeypatch):
    """The wait ends in vain, and the answer is there when the unit is to be taken back."""
    take_back = Writer._take_back

    def late(self, job, group):
        end.set()
        until(lambda: group.done)
        return take_back(self, job, group)

    def slow(connection):
        assert end.wait(20)
        return increment(connection)

    monkeypatch.setattr(Writer, "_take_back", late)
    end = threading.Event()
    assert writer.write(slow, timeout=0.01) == 1


def test_a_full_queue_makes_the_submitters_wait_and_then_says_so(path):
    with closing(Writer(path, backlog=2, timeout=0.05)) as writer:
        with Held(writer, name="the slow one"):
            futures = [writer.submit(increment) for _ in range(2)]
            with pytest.raises(TimeoutError, match=r"the queue was full for 0\.05 s.*the slow one"):
                writer.submit(increment)
        assert [future.result(20) for future in futures] == [1, 2]
        assert writer.submit(increment).result(20) == 3


def test_whoever_waits_for_room_gets_it(path):
    with closing(Writer(path, backlog=1)) as writer:
        with Held(writer):
            first = writer.submit(increment)
            waiting = [Thread(writer.submit, increment) for _ in range(3)]
        results = {first.result(20), *(thread.get().result(20) for thread in waiting)}
    assert results == {1, 2, 3, 4}


def test_whoever_waits_for_room_when_it_closes_is_refused_at_once(path):
    with Held(writer := Writer(path, backlog=1)):
        first = writer.submit(increment)
        waiting = [Thread(writer.submit, increment) for _ in range(3)]
        closing_thread = Thread(writer.close)
        until(lambda: writer._closed)
    for thread in waiting:
        with contextlib.suppress(RuntimeError):
            assert thread.get().result(20)
    closing_thread.get()
    assert first.result(20) == 1


def test_a_submission_that_is_refused_takes_no_room(path):
    with closing(Writer(path, backlog=1, timeout=AT_ONCE)) as writer:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="within another"):
                writer.write(lambda connection: writer.submit(increment))
        assert writer.submit(increment).result(20) == 1


def test_a_submission_within_a_unit_is_refused_before_it_waits_for_room(path):
    with closing(Writer(path, backlog=1)) as writer:
        future = writer.submit(lambda connection: writer.submit(increment))
        assert "within another" in str(future.exception(20))


@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan")])
def test_a_wait_that_no_clock_can_measure_is_refused(writer, path, timeout):
    with pytest.raises(ValueError, match="timeout counts seconds, from 0 on, not"):
        writer.write(increment, timeout=timeout)
    assert writer.write(increment) == 1 == stored(path)


def test_a_unit_that_raises_with_a_half_read_cursor_keeps_no_snapshot(writer, path):
    """Its traceback holds the cursor, also while somebody keeps the error."""

    def half_read(connection):
        for _ in connection.execute("VALUES (1), (2), (3)"):
            for _ in connection.execute("SELECT value FROM counter UNION ALL VALUES (1), (2)"):
                raise ValueError("changed its mind")

    kept = []
    for call in (writer.write, lambda unit: writer.submit(unit).result(20)):
        with pytest.raises(ValueError, match="changed its mind") as error:
            call(half_read)
        kept.append(error)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE counter SET value = value + 1")
        assert writer.write(look) == len(kept)


# -- the end -----------------------------------------------------------------------------------


def test_close_finishes_what_waits(path):
    writer = Writer(path)
    with Held(writer):
        futures = [writer.submit(increment) for _ in range(200)]
        closer = Thread(writer.close)
        until(lambda: writer._closed)
        with pytest.raises(RuntimeError, match="has ended"):
            writer.submit(increment)
    closer.get()
    assert [future.result(0) for future in futures] == list(range(1, 201))
    assert stored(path) == 200


def test_every_submission_is_stored_or_refused_when_it_closes_meanwhile(path):
    for _ in range(20):
        writer, stored_before = Writer(path), stored(path)

        def submit(writer=writer):
            done = 0
            while True:
                try:
                    writer.write(increment)
                except RuntimeError:
                    return done
                done += 1

        threads = [Thread(submit) for _ in range(4)]
        time.sleep(0.002)
        writer.close()
        assert stored(path) == stored_before + sum(thread.get() for thread in threads)


def test_the_thread_ends_with_the_writer_and_keeps_no_program_alive(path):
    writer = Writer(path)
    assert writer._thread.daemon
    writer.close()
    assert not writer._thread.is_alive()


class Dies(Writer):
    def _commit(self, jobs):
        raise MemoryError("no memory left")


def test_whatever_the_writer_meets_all_who_wait_are_told(path):
    with closing(Dies(path)) as writer:
        with writer._changed:  # so that both are there when it begins
            threads = [Thread(writer.write, increment) for _ in range(2)]
        for thread in threads:
            with pytest.raises(OutcomeUnknown, match="no memory left"):
                thread.get()
        assert isinstance(writer.submit(increment).exception(20), OutcomeUnknown)


def test_a_file_that_can_no_longer_be_opened_is_told_and_tried_again(path):
    refuses = False

    def connect(*arguments, **options):
        if refuses:
            raise sqlite3.OperationalError("unable to open database file")
        return sqlite3.connect(*arguments, **options)

    with closing(Writer(path, connect)) as writer:
        refuses = True
        for unit in (lambda connection: connection.close(), increment):
            with pytest.raises(OutcomeUnknown, match="unable to open"):
                writer.write(unit)
        refuses = False
        with pytest.raises(sqlite3.ProgrammingError):
            writer.write(increment)
        assert writer.write(increment) == 1 == stored(path)


def test_ctrl_c_while_waiting_takes_the_unit_back(path):
    """In a child: the signal arrives in the main thread while it waits for its answer."""
    program = f"""
import os, signal, threading
from helpers.strategies import Writer
signal.signal(signal.SIGINT, signal.default_int_handler)
writer, begun, end = Writer({path!r}), threading.Event(), threading.Event()
def slow(connection):
    begun.set()
    end.wait(20)
writer.submit(slow)
begun.wait(20)
threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    writer.write(lambda c: c.execute("UPDATE counter SET value = 7") and None)
except KeyboardInterrupt:
    end.set()
writer.write(lambda c: c.execute("UPDATE counter SET value = value + 1") and None)
writer.close()
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=20, env={**os.environ})
    assert (done.returncode, stored(path)) == (0, 1)


def test_ctrl_c_with_the_gate_in_hand_keeps_no_other_thread_waiting(writer, monkeypatch):
    """Two units of one group wait at its gate; whoever comes through first is interrupted."""
    let_through, not_yet = _Group.let_through, threading.Lock()

    def pressed_once(group):
        let_through(group)  # `finally` is left to the end
        if threading.current_thread() in pair and not_yet.acquire(blocking=False):
            raise KeyboardInterrupt

    def both_wait():
        with pytest.raises(TimeoutError) as told:
            writer.write(look, timeout=0)
        return str(told.value).endswith((" A, B", " B, A"))

    with Held(writer):
        pair = [Thread(writer.write, increment, name=name) for name in "AB"]
        until(both_wait)
        monkeypatch.setattr(_Group, "let_through", pressed_once)
    for thread in pair:
        thread.join(10)
    assert not any(thread.is_alive() for thread in pair)
    assert sorted(str(type(thread.error).__name__) for thread in pair) == [
        "KeyboardInterrupt", "NoneType",
    ]  # fmt: skip


def test_readers_do_not_go_through_the_queue(writer):
    with Held(writer, unit=increment):
        assert writer.read(look) == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            writer.read(increment)


@pytest.mark.parametrize("options", [{"group": 0}, {"group": -1}, {"backlog": -1}])
def test_bad_numbers_are_refused(path, options):
    with pytest.raises(ValueError, match=r"group of at least 1|semaphore"):
        Writer(path, **options)


def test_the_group_of_a_thousand_jobs_is_as_large_as_its_limit(path, sizes):
    with closing(Writer(path, counting, group=10**6)) as writer:
        with Held(writer):
            futures = [writer.submit(insert(number)) for number in range(1000)]
        assert sum(future.result(20) for future in futures) == 1000
    assert sizes == {1: 1, 1000: 1}
