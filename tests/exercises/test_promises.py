"""What a strategy promises: right ones keep it in every order, wrong ones hear which breaks it."""

import functools
import sqlite3
import threading
from contextlib import closing

import attempts
import pytest

from helpers import exercises, workloads
from helpers.exercises import promises
from helpers.explorer.engine.guard import Unseen
from helpers.strategies import PerThread, Pool, SharedConnection, StatementLock, TransactionLock


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

    write = attempts.WholeUnit.write


class CommitsOutside(Locked):
    def write(self, unit_of_work, /):
        with self.connection, self.lock:
            return unit_of_work(self.connection)


class KeepsTheLock(Locked):
    write = attempts.NeverReleased.write


class ForgetsTheRollback(Locked):
    write = attempts.NoRollback.write


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


class Whole(LockedAgain):
    """Right in all; the next ones differ in one thing each."""

    begin = "BEGIN IMMEDIATE"

    def write(self, unit_of_work, /):
        with self.lock:
            if self.connection.in_transaction:
                raise RuntimeError("a unit within a unit")
            return self.transact(unit_of_work)

    read = write

    def transact(self, unit_of_work):
        with self.connection:
            self.connection.execute(self.begin)
            return unit_of_work(self.connection)


class RollsBackByHand(Whole):
    def transact(self, unit_of_work):
        try:
            self.connection.execute("BEGIN EXCLUSIVE")
            result = unit_of_work(self.connection)
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.rollback()
        return result


class KnowsTheHolder(Locked):
    """A plain lock, and the thread that holds it."""

    holder = None

    def write(self, unit_of_work, /):
        if self.holder is threading.current_thread():
            raise RuntimeError("a unit within a unit")
        with self.lock:
            self.holder = threading.current_thread()
            try:
                with self.connection:
                    self.connection.execute("BEGIN IMMEDIATE")
                    return unit_of_work(self.connection)
            finally:
                self.holder = None

    def read(self, unit_of_work, /):
        return self.write(unit_of_work)


class BeginsLate(Whole):
    begin = "BEGIN"


class BeginsByItself(Whole):
    """Python sends the BEGIN, before the UPDATE."""

    begin = "SELECT 1"


class RollsBack(Whole):
    """After what it names."""

    named = (workloads.Cancelled, RuntimeError)

    def transact(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = unit_of_work(self.connection)
            self.connection.commit()
        except self.named:
            self.connection.rollback()
            raise
        return result


class RollsBackExceptions(RollsBack):
    named = Exception


class CommitsAfterTheTry(Whole):
    def transact(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = unit_of_work(self.connection)
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()
        return result


class Joins(Whole):
    def write(self, unit_of_work, /):
        with self.lock:
            if self.connection.in_transaction:
                return unit_of_work(self.connection)
            return self.transact(unit_of_work)

    read = write


class WritesOnly(Whole):
    read = None


def test_a_right_strategy_is_solved():
    verdict = exercises.check_strategy(Locked)
    assert verdict.solved
    assert "no reader sees half a transfer" in verdict.reason


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize(
    "strategy", [Whole, RollsBackByHand, KnowsTheHolder, TransactionLock, PerThread, Pool]
)
def test_the_contract_is_kept(strategy, journal_mode):
    verdict = exercises.check_strategy(strategy, journal_mode=journal_mode, contract=True)
    assert verdict.solved, verdict
    assert "beside another process nothing is lost or refused" in verdict.reason


@pytest.mark.parametrize(
    ("strategy", "lesson"),
    [
        (BeginsLate, 'is told "database is locked"'),
        (BeginsLate, "Which BEGIN takes the write lock on the file before the SELECT?"),
        (BeginsByItself, "B is another process: your lock keeps out only threads of its own"),
        (RollsBack, "A's first unit ended with an exception that is no Exception"),
        (RollsBackExceptions, "Roll back after any"),
        (CommitsAfterTheTry, "A ends with RuntimeError: a unit within a unit"),
        (CommitsAfterTheTry, "what rolls back must surround it too"),
        (Joins, "and step 7 rolls both back. What is acknowledged must be stored"),
        (WritesOnly, "there is no method read"),
    ],
)
def test_who_breaks_the_rest_of_the_contract_hears_what_breaks_it(strategy, lesson):
    assert exercises.check_strategy(strategy).solved
    verdict = exercises.check_strategy(strategy, contract=True)
    assert not verdict.solved
    assert lesson in verdict.reason


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
    let_in = exercises.check_strategy(LockedAgain, contract=True)
    assert "the inner one commits in step" in let_in.reason
    stuck = exercises.check_strategy(Locked, contract=True)
    assert "waits for what it holds itself" in stuck.reason


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
    with pytest.raises(Unseen, match="by other means than"):
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
