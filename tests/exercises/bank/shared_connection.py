"""Notebook 01: a lock round a unit of work, on one connection that all threads share."""

import sqlite3
import threading

from bank.locks import ForgetsTheRollback, KeepsTheLock
from helpers.strategies import SharedConnection

#: What a run at full speed says. Which of two comes first is a matter of luck.
BROKEN = "in one of the runs"
UNTRUE = "does not hold what the threads were told"
STUCK = "is a lock taken and not released?"


class Base(SharedConnection):
    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.lock = threading.Lock()


class WholeUnit(Base):
    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)


class ByHand(Base):
    def write(self, unit_of_work, /):
        self.lock.acquire()
        try:
            result = unit_of_work(self.connection)
            self.connection.commit()
            return result
        except BaseException:
            self.connection.rollback()
            raise
        finally:
            self.lock.release()


class RollsBackFirst(Base):
    """Whatever the unit before has left behind is gone before the next one begins."""

    def write(self, unit_of_work, /):
        with self.lock:
            self.connection.rollback()
            result = unit_of_work(self.connection)
            self.connection.commit()
            return result


class RollsBackInFinally(Base):
    """After the COMMIT there is nothing left to roll back."""

    def write(self, unit_of_work, /):
        with self.lock:
            try:
                result = unit_of_work(self.connection)
                self.connection.commit()
                return result
            finally:
                self.connection.rollback()


class InSavepoint(Base):
    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("SAVEPOINT unit")
            try:
                return unit_of_work(self.connection)
            except BaseException:
                self.connection.execute("ROLLBACK TO unit")
                raise
            finally:
                self.connection.execute("RELEASE unit")


class PerUnit(Base):
    """A connection for each unit, which begins with the write lock."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.path, self.connect = path, connect

    def write(self, unit_of_work, /):
        connection = self.connect(self.path, timeout=30)
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return unit_of_work(connection)
        finally:
            connection.close()


class OnlyTheCommit(Base):
    def write(self, unit_of_work, /):
        result = unit_of_work(self.connection)
        with self.lock:
            self.connection.commit()
        return result


class LockPerCall(Base):
    def write(self, unit_of_work, /):
        with threading.Lock(), self.connection:
            return unit_of_work(self.connection)


class CommitsInFinally(Base):
    """Ends the transaction on every way out, with a COMMIT."""

    def write(self, unit_of_work, /):
        with self.lock:
            try:
                return unit_of_work(self.connection)
            finally:
                self.connection.commit()


class RollsBackOutside(Base):
    def write(self, unit_of_work, /):
        try:
            with self.lock:
                result = unit_of_work(self.connection)
                self.connection.commit()
                return result
        except BaseException:
            self.connection.rollback()
            raise


class Swallows(Base):
    def write(self, unit_of_work, /):
        with self.lock:
            try:
                unit_of_work(self.connection)
                self.connection.commit()
            except Exception:
                self.connection.rollback()


class ReturnsInFinally(Base):
    """The exception is dropped by the return, as LockableCursor drops it."""

    def write(self, unit_of_work, /):
        result = None
        with self.lock:
            try:
                result = unit_of_work(self.connection)
                self.connection.commit()
            except BaseException:
                self.connection.rollback()
                raise
            finally:
                return result  # noqa: B012


class AutocommitWithoutBegin(Base):
    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.connection.isolation_level = None

    def write(self, unit_of_work, /):
        with self.lock, self.connection:
            return unit_of_work(self.connection)


class ReleasedBeforeTheCommit(Base):
    def write(self, unit_of_work, /):
        with self.connection, self.lock:
            return unit_of_work(self.connection)


class InMemory(Base):
    """Very fast, and every thread is told the truth about a database that nobody else sees."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        memory = connect(":memory:", check_same_thread=False)
        self.connection.backup(memory)
        self.connection.close()
        self.connection = memory

    write = WholeUnit.write


RIGHT = {
    "with lock, connection": WholeUnit,
    "try, except, finally": ByHand,
    "rollback first": RollsBackFirst,
    "rollback in finally": RollsBackInFinally,
    "SAVEPOINT inside BEGIN IMMEDIATE": InSavepoint,
    "a connection for each unit": PerUnit,
}
WRONG = {
    "lock never released": (KeepsTheLock, STUCK),
    "no rollback": (ForgetsTheRollback, UNTRUE),
    "a lock round the COMMIT only": (OnlyTheCommit, BROKEN),
    "no lock": (SharedConnection, BROKEN),
    "a lock for each call": (LockPerCall, BROKEN),
    "COMMIT in finally": (CommitsInFinally, UNTRUE),
    "rollback outside the lock": (RollsBackOutside, BROKEN),
    "exception swallowed": (Swallows, UNTRUE),
    "return in finally": (ReturnsInFinally, UNTRUE),
    "autocommit without BEGIN": (AutocommitWithoutBegin, UNTRUE),
    "COMMIT outside the lock": (ReleasedBeforeTheCommit, BROKEN),
    "in memory": (InMemory, UNTRUE),
}
