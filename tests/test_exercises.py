"""Exercises and predictions: right answers pass, each plausible wrong one hears why not."""

import functools
import sqlite3
import threading
from contextlib import closing

import pytest

from helpers import exercises, promises, workloads
from helpers.predictions import predict
from helpers.strategies.locks import StatementLock, TransactionLock
from helpers.strategies.per_thread import PerThread
from helpers.strategies.pool import Pool
from helpers.strategies.shared import SharedConnection


class Base(SharedConnection):
    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.lock = threading.Lock()


class WholeUnit(Base):
    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)


class NeverReleased(Base):
    def write(self, unit_of_work, /):
        self.lock.acquire()
        result = unit_of_work(self.connection)
        self.connection.commit()
        self.lock.release()
        return result


class NoRollback(Base):
    def write(self, unit_of_work, /):
        with self.lock:
            result = unit_of_work(self.connection)
            self.connection.commit()
            return result


class OnlyTheCommit(Base):
    def write(self, unit_of_work, /):
        result = unit_of_work(self.connection)
        with self.lock:
            self.connection.commit()
        return result


@pytest.fixture
def workload():
    return workloads.Transfer(units=20, cancel_every=4)


def test_a_lock_round_the_whole_unit_is_right(workload):
    verdict = exercises.check_under_load(WholeUnit, workload)
    assert verdict.solved
    assert str(verdict) == "Solved: 5 runs of 5 threads kept every promise"


def test_a_lock_that_is_not_released_is_told_so(workload, monkeypatch):
    monkeypatch.setattr(exercises, "SECONDS", 1.0)
    verdict = exercises.check_under_load(NeverReleased, workload)
    assert not verdict.solved
    assert "is a lock taken and not released?" in verdict.reason


def test_a_missing_rollback_is_told_that_promises_are_broken(workload):
    verdict = exercises.check_under_load(NoRollback, workload)
    assert not verdict.solved
    assert "does not hold what the threads were told" in verdict.reason


@pytest.mark.parametrize("strategy", [OnlyTheCommit, SharedConnection])
def test_too_small_a_lock_or_none_is_not_enough(strategy, workload):
    assert not exercises.check_under_load(strategy, workload).solved


OPTIONS = {"A": "all is well", "B": "an error"}


def test_a_prediction_is_shown_beside_the_observation():
    guess = predict("What happens?", OPTIONS, answer="A")
    assert str(guess.observed("B")) == (
        "Predicted: A - all is well\n"
        "Observed:  B - an error (not what you predicted: what is different?)"
    )
    assert guess.observed("A").right
    assert "(as predicted)" in str(guess.observed("A"))


def test_no_prediction_is_said_so():
    observation = predict("What happens?", OPTIONS).observed("B")
    assert not observation.right
    assert repr(observation).startswith("Predicted: nothing; choose before you run")


def test_the_buttons_and_the_answer_follow_each_other():
    guess = predict("What happens?", OPTIONS)
    bundle = guess._repr_mimebundle_()
    assert bundle["text/plain"] == "What happens?\n  A  all is well\n  B  an error"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    guess._buttons.value = "B"
    assert guess.answer == "B"
    guess.answer = "A"
    assert guess._buttons.value == "A"


def test_wrong_choices_are_named():
    guess = predict("What happens?", OPTIONS)
    with pytest.raises(ValueError, match="'C' is not one of the choices: use one of A, B"):
        guess.answer = "C"
    with pytest.raises(ValueError, match="'Z' is not one"):
        guess.observed("Z")
    with pytest.raises(ValueError, match="'X' is not one"):
        predict("What happens?", OPTIONS, answer="X")
    with pytest.raises(ValueError, match="two choices or more, not 1"):
        predict("What happens?", {"A": "this"})


# -- check: the explorer tells which schedule breaks an attempt ------------------------------

SELECT = "SELECT value FROM counter"
UPDATE = "UPDATE counter SET value = ?"
lock = threading.Lock()


def add_one(connection):
    (value,) = connection.execute(SELECT).fetchone()
    connection.execute(UPDATE, (value + 1,))


def naive(path, timeout=5.0):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=timeout)) as connection:
        add_one(connection)


def patient(path):
    naive(path, timeout=60)


def locked_per_statement(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with lock:
            (value,) = connection.execute(SELECT).fetchone()
        with lock:
            connection.execute(UPDATE, (value + 1,))


def locked(path):
    with lock:
        naive(path)


def transaction(kind):
    def job(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"BEGIN {kind}".strip())
            add_one(connection)
            connection.execute("COMMIT")

    return job


def begins_too_late(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(UPDATE, (value + 1,))
        connection.execute("COMMIT")


def atomic(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE counter SET value = value + 1")


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("right", [locked, transaction("IMMEDIATE"), atomic])
def test_right_increments_are_solved(right, journal_mode):
    verdict = exercises.check(right, journal_mode=journal_mode)
    assert verdict.solved
    assert verdict.exploration.proved
    assert "no increment is lost in any" in str(verdict)
    with pytest.raises(ValueError, match="nothing to replay"):
        verdict.stage()


@pytest.mark.parametrize(
    ("jobs", "lesson"),
    [
        ([naive], "No transaction spans the SELECT and the UPDATE"),
        ([patient], "a longer timeout changes nothing"),
        ([locked_per_statement], "gives it back between its SELECT and its UPDATE"),
        ([locked, naive], "Only A takes the lock"),
        ([transaction("DEFERRED")], "Which BEGIN takes the write lock before the SELECT?"),
        ([transaction("")], "refused at once, whatever its timeout"),
        ([begins_too_late], "it must begin before the SELECT"),
    ],
)
def test_each_wrong_increment_hears_what_is_wrong_with_it(jobs, lesson):
    verdict = exercises.check(*jobs)
    assert not verdict.solved
    assert lesson in verdict.reason
    assert verdict.stage().outcome is not None


def test_the_schedule_of_a_lost_update_is_told_step_by_step():
    told = "B reads in step 2, A writes in step 3, and B overwrites that in step 4."
    assert told in exercises.check(naive).reason
    told = "B reads in step 4, A commits in step 5, and B overwrites that in step 7."
    assert told in exercises.check(begins_too_late).reason


def test_an_increment_that_is_wrong_alone_is_told_so():
    def by_two(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE counter SET value = value + 2")

    def misspelt(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE countre SET value = 1")

    def uncommitted(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE counter SET value = value + 1")

    assert "already alone, without a second thread: 2 in the counter" in str(
        exercises.check(by_two)
    )
    assert "no such table: countre" in str(exercises.check(misspelt))
    assert "0 in the counter" in str(exercises.check(uncommitted))


def test_two_locks_in_opposite_orders_are_a_deadlock():
    first, second = threading.Lock(), threading.Lock()

    def forwards(path):
        with first, second:
            atomic(path)

    def backwards(path):
        with second, first:
            atomic(path)

    verdict = exercises.check(forwards, backwards)
    assert not verdict.solved
    assert "does not come to an end: deadlock" in verdict.reason


def test_the_number_of_functions_is_checked():
    with pytest.raises(ValueError, match="one function, or one for each of two threads, not 3"):
        exercises.check(naive, naive, naive)


# -- check_strategy: two threads that share a strategy -----------------------------------------


class Locked:
    """Right, but for units inside units; the wrong ones below differ in one thing each."""

    def __init__(self, path, connect=sqlite3.connect):
        self.connection = connect(path, check_same_thread=False)
        self.lock = threading.Lock()

    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(self.connection)

    read = write

    def close(self):
        self.connection.close()


class LockedAgain(Locked):
    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.lock = threading.RLock()

    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)


class CommitsOutside(Locked):
    def write(self, unit_of_work, /):
        with self.connection, self.lock:
            return unit_of_work(self.connection)


class KeepsTheLock(Locked):
    def write(self, unit_of_work, /):
        self.lock.acquire()
        result = unit_of_work(self.connection)
        self.connection.commit()
        self.lock.release()
        return result


class ForgetsTheRollback(Locked):
    def write(self, unit_of_work, /):
        with self.lock:
            result = unit_of_work(self.connection)
            self.connection.commit()
            return result


class FetchesOutside(Locked):
    """The lock is free again when the rows are fetched from the one cursor."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.connection.isolation_level = None
        self.cursor = self.connection.cursor()

    def execute(self, sql, parameters=()):
        with self.lock:
            return self.cursor.execute(sql, parameters)

    def write(self, unit_of_work, /):
        return unit_of_work(self)


class CommitsEachStatement(Locked):
    def write(self, unit_of_work, /):
        self.connection.isolation_level = None
        with self.lock:
            return unit_of_work(self.connection)


class ReadsWithoutTheLock(Locked):
    def read(self, unit_of_work, /):
        return unit_of_work(self.connection)


class HidesTheError(Locked):
    def write(self, unit_of_work, /):
        try:
            return super().write(unit_of_work)
        except workloads.Cancelled:
            return None


class OwnConnections:
    begin = "BEGIN IMMEDIATE"

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect = path, connect
        self.local = threading.local()

    def write(self, unit_of_work, /):
        if not hasattr(self.local, "connection"):
            self.local.connection = self.connect(self.path, isolation_level=None)
        self.local.connection.execute(self.begin)
        result = unit_of_work(self.local.connection)
        self.local.connection.execute("COMMIT")
        return result


class OwnConnectionsDeferred(OwnConnections):
    begin = "BEGIN"


class OwnConnectionsWithoutTransaction(OwnConnections):
    def write(self, unit_of_work, /):
        with closing(self.connect(self.path)) as connection, connection:
            return unit_of_work(connection)


@pytest.mark.parametrize("strategy", [Locked, TransactionLock, PerThread, Pool])
def test_right_strategies_are_solved(strategy):
    verdict = exercises.check_strategy(strategy, nested=strategy is not Locked)
    assert verdict.solved
    assert "no reader sees half a transfer" in verdict.reason


@pytest.mark.parametrize(
    ("strategy", "lesson"),
    [
        (StatementLock, "Each thread holds the lock, but gives it back between its SELECT and"),
        (SharedConnection, "The transaction does not span both statements"),
        (CommitsOutside, "before its COMMIT B rolls back in step"),
        (KeepsTheLock, "B's unit raised, and what it held was not given back"),
        (ForgetsTheRollback, "and with it what B has left in their one transaction"),
        (FetchesOutside, "gives it back between its SELECT and its UPDATE"),
        (CommitsEachStatement, "had committed itself, so there was nothing to roll back"),
        (ReadsWithoutTheLock, "Only A takes the lock"),
        (HidesTheError, "raise the error again"),
        (OwnConnections, "must be rolled back, or it stays open"),
        (OwnConnectionsDeferred, "Which BEGIN takes the write lock before the SELECT?"),
        (OwnConnectionsWithoutTransaction, "No transaction spans the SELECT and the UPDATE"),
        (functools.partial(PerThread, begin="DEFERRED"), 'is told "database is locked"'),
    ],
)
def test_each_wrong_strategy_hears_which_schedule_breaks_it(strategy, lesson):
    verdict = exercises.check_strategy(strategy)
    assert not verdict.solved
    assert lesson in verdict.reason
    stage = verdict.stage()
    assert " ".join(name for name in stage.schedule if name != "end") in verdict.reason
    assert stage.outcome is None or stage.outcome.kind != "right"


def test_a_unit_inside_a_unit_must_be_refused():
    assert exercises.check_strategy(LockedAgain).solved
    assert (
        "the inner one commits in step" in exercises.check_strategy(LockedAgain, nested=True).reason
    )
    assert "waits for what it holds itself" in exercises.check_strategy(Locked, nested=True).reason


def test_half_a_unit_is_named_step_by_step():
    told = exercises.check_strategy(CommitsOutside).reason
    assert "A writes in step 5, and before its COMMIT B rolls back in step 9" in told
    told = exercises.check_strategy(ReadsWithoutTheLock).reason
    assert "B reads in steps 4 and 5, A writes in steps 3 and 6" in told


def test_a_strategy_that_cannot_be_tried_is_refused():
    class Nothing:
        def __init__(self, path):
            pass

    class Elsewhere(Nothing):
        real = staticmethod(sqlite3.Connection)

        def __init__(self, path):
            self.path = path

        def write(self, unit_of_work, /):
            with closing(self.real(self.path, timeout=5)) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                return unit_of_work(connection)

    with pytest.raises(TypeError, match="Nothing has no method 'write'"):
        exercises.check_strategy(Nothing)
    with pytest.raises(ValueError, match="none of its SQL calls was seen"):
        exercises.check_strategy(Elsewhere)


def test_a_strategy_without_read_is_tried_without_it():
    verdict = exercises.check_strategy(
        type("WriteOnly", (), {k: v for k, v in vars(Locked).items() if k != "read"})
    )
    assert verdict.solved
    assert "of 2 programs" in verdict.reason


def test_a_strategy_that_is_wrong_alone_is_told_so():
    class Twice(Locked):
        def write(self, unit_of_work, /):
            super().write(unit_of_work)
            return super().write(unit_of_work)

    verdict = exercises.check_strategy(Twice)
    assert "already alone, without a second thread: 2 in the counter" in verdict.reason


def test_a_table_compares_strategies_promise_by_promise():
    table = promises.table({"statement": StatementLock, "unit": TransactionLock}, nested=True)
    broken = table.set_index("strategy")["of which break it"]
    assert (broken["statement"] > 0).all()
    assert (broken["unit"] == 0).all()
    assert len(table) == 8
