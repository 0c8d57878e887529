"""Notebook 06: a lock round a unit of work, with all that `helpers.strategies` promises."""

import contextlib
import sqlite3
import threading

from helpers import workloads
from helpers.strategies import PerThread, SharedConnection, StatementLock, TransactionLock

TWICE = "a unit within a unit"


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


class LocksEachCall(Locked):
    """BEGIN, each statement and COMMIT have the lock, one by one."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.connection.isolation_level = None

    def execute(self, sql, parameters=()):
        with self.lock:
            return self.connection.execute(sql, parameters)

    def write(self, unit_of_work, /):
        self.execute("BEGIN IMMEDIATE")
        result = unit_of_work(self)
        self.execute("COMMIT")
        return result


class LockPerCall(Locked):
    """Nobody else can ask for this lock."""

    def write(self, unit_of_work, /):
        with threading.Lock(), self.connection:
            return unit_of_work(self.connection)


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


class ReturnsInFinally(Locked):
    def write(self, unit_of_work, /):
        result = None
        try:
            result = super().write(unit_of_work)
        finally:
            return result  # noqa: B012


class Twice(Locked):
    def write(self, unit_of_work, /):
        super().write(unit_of_work)
        return super().write(unit_of_work)


# -- the whole contract ----------------------------------------------------------------------


class Whole(LockedAgain):
    """Right in all; the next ones differ in one thing each."""

    begin = "BEGIN IMMEDIATE"

    def write(self, unit_of_work, /):
        with self.lock:
            if self.connection.in_transaction:
                raise RuntimeError(TWICE)
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


class InSavepoint(Whole):
    """The unit's own part can be taken back by itself."""

    def transact(self, unit_of_work):
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("SAVEPOINT unit")
            try:
                return unit_of_work(self.connection)
            except BaseException:
                self.connection.execute("ROLLBACK TO unit")
                raise


class KnowsTheHolder(Locked):
    """A plain lock, and the thread that holds it."""

    holder = None

    def write(self, unit_of_work, /):
        if self.holder is threading.current_thread():
            raise RuntimeError(TWICE)
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


class KeepsTheLockAfterBegin(Locked):
    """BEGIN may fail, too, and then nobody gives the lock back."""

    def write(self, unit_of_work, /):
        self.refuse()
        self.lock.acquire()
        self.connection.execute("BEGIN IMMEDIATE")
        self.holder = threading.current_thread()
        try:
            with self.connection:
                return unit_of_work(self.connection)
        finally:
            self.holder = None
            self.lock.release()

    holder = None

    def refuse(self):
        if self.holder is threading.current_thread():
            raise RuntimeError(TWICE)

    read = write


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


class CommitsAgain(CommitsAfterTheTry):
    """Only the COMMIT is tried again, for as long as it takes."""

    def transact(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        result = unit_of_work(self.connection)
        while self.connection.in_transaction:
            with contextlib.suppress(sqlite3.OperationalError):
                self.connection.commit()
        return result


class CommitsInFinally(Whole):
    def transact(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            return unit_of_work(self.connection)
        finally:
            self.connection.commit()


class ReturnsWithoutCommit(Whole):
    """The return leaves before the COMMIT; the next unit rolls back what it finds."""

    def transact(self, unit_of_work):
        self.connection.rollback()
        self.connection.execute("BEGIN IMMEDIATE")
        return unit_of_work(self.connection)


class RefusesNobody(Locked):
    """A timeout for the lock, and then in without it."""

    def write(self, unit_of_work, /):
        held = self.lock.acquire(timeout=1)
        try:
            with self.connection:
                if not self.connection.in_transaction:
                    self.connection.execute("BEGIN IMMEDIATE")
                return unit_of_work(self.connection)
        finally:
            if held:
                self.lock.release()

    read = write


class Joins(Whole):
    def write(self, unit_of_work, /):
        with self.lock:
            if self.connection.in_transaction:
                return unit_of_work(self.connection)
            return self.transact(unit_of_work)

    read = write


class WritesOnly(Whole):
    read = None


class ReadsBesideTheLock(Whole):
    def read(self, unit_of_work, /):
        return unit_of_work(self.connection)


class RefusesByBegin(Whole):
    """SQLite refuses the inner BEGIN, and the way out rolls back what the outer unit did."""

    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(self.connection)

    read = write


class ReadsUnderTheLockOnly(Whole):
    def read(self, unit_of_work, /):
        with self.lock:
            return unit_of_work(self.connection)


class GivesUp(Whole):
    """A timeout for the lock, and then nothing, as if all were well."""

    def write(self, unit_of_work, /):
        if not self.lock.acquire(timeout=5):
            return None
        try:
            if self.connection.in_transaction:
                raise RuntimeError(TWICE)
            return self.transact(unit_of_work)
        finally:
            self.lock.release()

    read = write


RIGHT = {
    "RLock and in_transaction": Whole,
    "rolled back by hand": RollsBackByHand,
    "SAVEPOINT inside": InSavepoint,
    "a plain lock and its holder": KnowsTheHolder,
    "TransactionLock": TransactionLock,
    "PerThread": PerThread,
}
WRONG = {
    "StatementLock": (StatementLock, "Each thread holds the lock, but gives it back between its"),
    "no lock": (SharedConnection, "The transaction does not span both statements"),
    "COMMIT outside the lock": (CommitsOutside, "before its COMMIT B rolls back in step"),
    "lock never released": (KeepsTheLock, "B's unit raised, and what it held was not given back"),
    "no rollback": (ForgetsTheRollback, "and with it what B has left in their one transaction"),
    "fetched outside the lock": (FetchesOutside, "gives it back between its SELECT and its UPDATE"),
    "a lock for each statement": (LocksEachCall, "within a transaction"),
    "a lock for each call": (LockPerCall, "The transaction does not span both statements"),
    "autocommit without BEGIN": (CommitsEachStatement, "had committed itself"),
    "reads without the lock": (ReadsWithoutTheLock, "Only A takes the lock"),
    "exception swallowed": (HidesTheError, "raise the error again"),
    "return in finally": (ReturnsInFinally, "raise the error again"),
    "runs the unit twice": (Twice, "already alone, without a second thread: 2 in the counter"),
    "a plain lock only": (Locked, "waits for what it holds itself"),
    "RLock lets itself in": (LockedAgain, "the inner one commits in step"),
    "BEGIN": (BeginsLate, "Which BEGIN takes the write lock on the file before the SELECT?"),
    "Python's own BEGIN": (BeginsByItself, "B is another process: your lock keeps out only"),
    "rolls back named errors": (RollsBack, "A's first unit ended with an exception that is no"),
    "rolls back Exception": (RollsBackExceptions, "Roll back after any"),
    "BEGIN before the try": (KeepsTheLockAfterBegin, "The BEGIN of A's first unit failed"),
    "COMMIT after the try": (CommitsAfterTheTry, "what rolls back must surround it too"),
    "only the COMMIT again": (
        CommitsAgain,
        "a unit of B raised. Its transaction must be rolled back",
    ),
    "COMMIT in finally": (CommitsInFinally, "commits in step"),
    "no COMMIT": (ReturnsWithoutCommit, "already alone, without a second thread: 0 in the counter"),
    "in without the lock": (RefusesNobody, "the inner one commits in step 8"),
    "refused by its BEGIN": (RefusesByBegin, "the refusal has ended a transaction that is not its"),
    "no transaction for reads": (ReadsUnderTheLockOnly, "your lock does not keep it out"),
    "gives up in silence": (GivesUp, "write returned as if its unit were stored: raise an error"),
    "inner joins outer": (Joins, "and step 7 rolls both back. What is acknowledged must be"),
    "no method read": (WritesOnly, "there is no method read"),
    "a reader beside the lock": (ReadsBesideTheLock, "Only A takes the lock"),
}
