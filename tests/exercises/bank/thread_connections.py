"""Notebook 07: a connection for each thread, for as long as the thread lives, and no longer."""

import functools
import sqlite3
import threading
import weakref
from contextlib import closing

from bank.locks import HidesTheError as SwallowsUnderALock
from bank.locks import Locked, StatementLock
from helpers.strategies import PerThread, Pool, SharedConnection, TransactionLock


class ThreadLocal:
    """A connection for each thread; who closes it differs in the classes below."""

    checked = False
    begin = "BEGIN IMMEDIATE"

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect = path, connect
        self.options = {"isolation_level": None, "check_same_thread": self.checked}
        self.local = threading.local()
        self.all = []

    def write(self, unit_of_work, /):
        with self.mine() as connection:
            connection.execute(self.begin)
            return unit_of_work(connection)

    def mine(self):
        if not hasattr(self.local, "connection"):
            self.local.connection = self.connect(self.path, **self.options)
            self.opened(self.local.connection)
        return self.local.connection

    def opened(self, connection):
        pass

    def close(self):
        for connection in self.all:
            connection.close()


class Listed(ThreadLocal):
    def opened(self, connection):
        self.all.append(connection)


class Mark:
    """Lives as long as the thread that keeps it."""


class OnlyMine(ThreadLocal):
    def opened(self, connection):
        mark = self.local.mark = Mark()
        weakref.finalize(mark, connection.close)

    def close(self):
        if hasattr(self.local, "connection"):
            self.local.connection.close()


class Finalized(OnlyMine):
    def opened(self, connection):
        mark = self.local.mark = Mark()
        self.all.append(weakref.finalize(mark, connection.close))

    def close(self):
        for finalizer in self.all:
            finalizer()


class Waits(Finalized):
    """As `Finalized`, and its units and `close` exclude each other."""

    def opened(self, connection):
        super().opened(connection)
        self.all[-1] = self.all[-1], self.local.in_use

    def write(self, unit_of_work, /):
        with self.local.__dict__.setdefault("in_use", threading.Lock()):
            return super().write(unit_of_work)

    def close(self):
        for finalizer, in_use in self.all:
            with in_use:
                finalizer()


class WaitsExclusive(Waits):
    begin = "BEGIN EXCLUSIVE"


class InSavepoint(Waits):
    def write(self, unit_of_work, /):
        def inside(connection):
            connection.execute("SAVEPOINT unit")
            return unit_of_work(connection)

        return super().write(inside)


class FinalizedElsewhere(Waits):
    checked = True


class PerUnit(ThreadLocal):
    def write(self, unit_of_work, /):
        with closing(self.connect(self.path, **self.options)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(connection)


class Closer:
    """Closes a connection when the thread that keeps it ends."""

    def __init__(self, connection):
        self.connection = connection

    def __del__(self):
        self.connection.close()


class OneAtATime(ThreadLocal):
    """No finalizer: what the thread keeps closes itself, and one lock serves all."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.turn = threading.Lock()
        self.all = weakref.WeakSet()

    def opened(self, connection):
        self.local.closer = Closer(connection)
        self.all.add(self.local.closer)

    def write(self, unit_of_work, /):
        with self.turn:
            return super().write(unit_of_work)

    def close(self):
        with self.turn:
            for closer in list(self.all):
                closer.connection.close()


class Shared:
    """One connection and a lock: nothing stays open, and nobody has a connection."""

    def __init__(self, path, connect=sqlite3.connect):
        self.connection = connect(path, check_same_thread=False)
        self.turn = threading.Lock()

    def write(self, unit_of_work, /):
        with self.turn, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            return unit_of_work(self.connection)

    def close(self):
        with self.turn:
            self.connection.close()


class OpensAgain(Waits):
    """Keeps the connection of its last unit, and opens another for the next."""

    def write(self, unit_of_work, /):
        if hasattr(self.local, "connection"):
            self.local.connection.close()
            del self.local.connection
        return super().write(unit_of_work)


class NoRollback(Waits):
    def write(self, unit_of_work, /):
        connection = self.mine_in_use()
        connection.execute("BEGIN IMMEDIATE")
        result = unit_of_work(connection)
        connection.execute("COMMIT")
        return result

    def mine_in_use(self):
        self.local.__dict__.setdefault("in_use", threading.Lock())
        return self.mine()


class Deferred(Waits):
    begin = "BEGIN"


class WithoutTransaction(ThreadLocal):
    def write(self, unit_of_work, /):
        with closing(self.connect(self.path)) as connection, connection:
            return unit_of_work(connection)


class ByIdentity(ThreadLocal):
    """A dict by the thread's number, which the next thread gets again, with its connection."""

    def mine(self):
        kept = self.__dict__.setdefault("kept", {})
        number = threading.get_ident()
        if number not in kept:
            kept[number] = self.connect(self.path, **self.options)
        return kept[number]

    def close(self):
        for connection in self.kept.values():
            connection.close()


class CommitsInFinally(Waits):
    def write(self, unit_of_work, /):
        with self.local.__dict__.setdefault("in_use", threading.Lock()):
            connection = self.mine()
            connection.execute("BEGIN IMMEDIATE")
            try:
                return unit_of_work(connection)
            finally:
                connection.execute("COMMIT")


class Swallows(Waits):
    def write(self, unit_of_work, /):
        try:
            return super().write(unit_of_work)
        except Exception:
            return None


class WaitsBeforehand(Waits):
    """Takes the lock to open the connection, and gives it back before the unit runs."""

    def write(self, unit_of_work, /):
        with self.local.__dict__.setdefault("in_use", threading.Lock()):
            connection = self.mine()
        return ThreadLocal.write(self, unit_of_work) if connection else None


class NeverCloses(Waits):
    def close(self):
        pass


RIGHT = {
    "finalizers, and a lock for each thread": Waits,
    "BEGIN EXCLUSIVE": WaitsExclusive,
    "SAVEPOINT inside": InSavepoint,
    "one lock, and a weak set": OneAtATime,
    "PerThread": PerThread,
}
WRONG = {
    "nobody closes": (ThreadLocal, "were dropped without a call of close()"),
    "a list": (Listed, "3 threads have come and gone, and 3 connections are still open"),
    "closed under a unit": (Finalized, "close() closed a connection under a unit of work"),
    "closed elsewhere": (FinalizedElsewhere, "called by another thread, raised ProgrammingError"),
    "closes only its own": (OnlyMine, "after close(), 3 connections are still open, those of"),
    "one for all, and a lock": (Shared, "connections that they keep: 0. Either they share one"),
    "TransactionLock": (TransactionLock, "connections that they keep: 0. Either they share one"),
    "Pool": (Pool, "Each thread has to keep one"),
    "one for each unit": (PerUnit, "connections that they keep: 0. Either they share one"),
    "opened again": (OpensAgain, "3 threads ran a second unit, and opened 3 more"),
    "no rollback": (NoRollback, "must be rolled back, or it stays open"),
    "BEGIN": (Deferred, "Which BEGIN takes the write lock before the SELECT?"),
    "begin=DEFERRED": (
        functools.partial(PerThread, begin="DEFERRED"), 'is told "database is locked"',
    ),
    "no transaction": (WithoutTransaction, "No transaction spans the SELECT and the UPDATE"),
    "no lock": (SharedConnection, "The transaction does not span both statements"),
    "a lock per statement": (StatementLock, "gives it back between its SELECT"),
    "by the thread's number": (ByIdentity, "Each thread has to keep one"),
    "COMMIT in finally": (CommitsInFinally, "commits in step"),
    "exception swallowed": (Swallows, "raise the error again"),
    "swallowed under a lock": (SwallowsUnderALock, "raise the error again"),
    "the lock of notebook 06": (Locked, "Either they share one"),
    "lock given back too early": (WaitsBeforehand, "closed a connection under a unit of work"),
    "never closed": (NeverCloses, "after close(), 3 connections are still open"),
}  # fmt: skip
