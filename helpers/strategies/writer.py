"""One thread that writes: a queue of units of work, committed in groups."""

from __future__ import annotations

import atexit
import copy
import os
import sqlite3
import threading
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from functools import partial
from time import monotonic
from typing import Any

try:
    from .settings import OutcomeUnknown, units
except ImportError:  # this file alone
    units = threading.local()

    class OutcomeUnknown(RuntimeError):  # type: ignore[no-redef]
        """Whether the unit of work is stored is not known: look before you run it again."""


Unit = Callable[[sqlite3.Connection], Any]


class _Job:
    """A unit of work; when its group has been answered, `gate` is open and `done` is true."""

    __slots__ = ("done", "error", "future", "gate", "result", "thread", "unit")

    def __init__(self, unit: Unit, future: Future[Any] | None = None) -> None:
        self.unit, self.future, self.thread = unit, future, threading.current_thread()
        self.done, self.result = False, None
        self.error: BaseException | None = None
        self.gate: threading.Lock


class Writer:
    """A thread that owns the one connection that writes, and a queue of units of work.

    They run in the order in which they come. Those that wait together are committed together,
    each in a savepoint of its own, and answered after the COMMIT; if it fails they run again, one
    by one, so none may send a message. `write` and `read` take a function of the connection and
    return its result, `submit` a future. If they raise, nothing is stored, but for
    `OutcomeUnknown` and Ctrl-C. A read runs in its own thread, on a connection opened for it.

    Args:
        path: the database file.
        connect: opens a connection as `sqlite3.connect` does; `Settings.open` is one.
        group: how many units are committed together at most.
        backlog: how many submitted units may wait; then `submit` waits.
        timeout: seconds that `write` waits for its answer, `submit` for room, `close` for the end.

    Limits: what waits when the process ends is not stored, and was not acknowledged: call `close`,
    which does not wait for reads. At the interpreter's end it is called for you, within `timeout`;
    an atexit function older than the Writer comes too late, and a child of ``multiprocessing`` may
    have none. ``Connection.backup`` in a unit never ends: use `read`. What a unit sets on the
    connection (``row_factory``, PRAGMAs, TEMP tables, attached files) stays: set it for all, in
    `connect` (not an authorizer); ``autocommit`` has all later units refused. That the file was
    replaced goes unnoticed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        group: int = 64,
        backlog: int = 1000,
        timeout: float = 30.0,
    ) -> None:
        if os.fsdecode(path).startswith((":memory:", "file:")) or group < 1:
            raise ValueError(f"give a file and a group of at least 1, not {path!r} and {group!r}")
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout counts seconds, from 0 on, not {timeout!r}")
        self._path, self._connect, self.timeout = os.path.realpath(path), connect, timeout
        self.group, self._room, self._pid = group, threading.Semaphore(backlog), os.getpid()
        #: Size of a group -> how many groups of that size were committed.
        self.group_sizes = Counter[int]()
        self._jobs, self._running, self._last = deque[_Job](), list[_Job](), 1
        # Whoever puts the job with number `_wanted` into the queue wakes the writer.
        self._lock, self._wanted = threading.Lock(), 1
        self._changed = threading.Condition(self._lock)
        self._gate = _locked()
        self._closed, self._exits, self._connection = False, False, self._open()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()
        atexit.register(self._exit)

    def write(self, unit_of_work: Unit, /, timeout: float | None = None) -> Any:
        """Run it in a write transaction, and wait at most `timeout` seconds for its COMMIT."""
        job, limit = _Job(unit_of_work), self.timeout if timeout is None else timeout
        if not 0 <= limit <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout counts seconds, from 0 on, not {limit!r}")
        deadline = monotonic() + limit
        try:
            self._put(job)
            while not job.done:
                gate = job.gate
                if not gate.acquire(timeout=max(0.0, deadline - monotonic())):
                    break
                _unlock(gate)  # for the next thread: each wakes one, so they do not crowd
        except BaseException:  # Ctrl-C, perhaps with the gate in hand
            if not self._take_back(job) and job.done:
                _unlock(job.gate)
            raise
        if not job.done and self._take_back(job):
            raise TimeoutError(f"not begun in {limit} s, and taken back: {self._busy()}")
        if not job.done:  # nor in the last moment
            raise OutcomeUnknown(f"not ended in {limit} s, may be stored yet: {self._busy()}")
        if job.error is not None:
            raise job.error
        return job.result

    def submit(self, unit_of_work: Unit, /) -> Future[Any]:
        """Put it in the queue; the future answers after the COMMIT."""
        self._check()
        limit = 0.0 if threading.current_thread() is self._thread else self.timeout
        if not self._room.acquire(timeout=limit):
            raise TimeoutError(f"the queue was full for {limit} s: {self._busy()}")
        future = Future[Any]()
        try:
            self._put(_Job(unit_of_work, future))
        except BaseException:
            self._room.release()
            raise
        return future

    def read(self, unit_of_work: Unit, /) -> Any:
        """Run it here and now against one snapshot; it cannot write."""
        self._check()
        if self._closed and not self._exits:
            raise RuntimeError("this Writer has ended: make a new one")
        with closing(_open(self._path, self._connect)) as connection:
            connection.execute("PRAGMA query_only = 1")
            return _transact(self._path, connection, "BEGIN", unit_of_work)

    def close(self) -> None:
        """Finish what waits, and end the thread; later units raise."""
        self._check()
        with self._lock:
            self._closed = True
            self._changed.notify()
        self._thread.join(self.timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"still writing after {self.timeout} s: {self._busy()}")
        atexit.unregister(self._exit)

    def _exit(self) -> None:
        """SQLite must not ask the authorizer once Python is gone: end the thread before."""
        if os.getpid() == self._pid:
            self._exits = True
            self.close()

    def _open(self) -> sqlite3.Connection:
        connection = _open(self._path, self._connect)
        # Units share a transaction: inside of one BEGIN, COMMIT and ROLLBACK are refused.
        transaction, path = sqlite3.SQLITE_TRANSACTION, self._path
        connection.set_authorizer(lambda action, *_: action == transaction and _mark(path).locked())
        return connection

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if _mark(self._path).locked():
            raise RuntimeError("a unit of work within another: pass on the outer one's connection")

    def _busy(self) -> str:
        jobs = [*self._running, *self._jobs]
        return "units of thread " + ", ".join(job.thread.name for job in jobs)

    def _put(self, job: _Job) -> None:
        self._check()
        if job.future is None and job.thread is self._thread:
            raise RuntimeError("a future's callback may submit, but not wait for its own thread")
        with self._lock:
            if not self._closed:
                job.gate = self._gate
                self._jobs.append(job)
                if len(self._jobs) == self._wanted:
                    self._changed.notify()
                return
        if self._exits and job.thread.daemon:
            raise SystemExit  # of this thread alone, without a word
        raise RuntimeError("this Writer has ended: make a new one")

    def _take_back(self, job: _Job) -> bool:
        with self._lock:
            waits = job in self._jobs
            if waits:
                self._jobs.remove(job)
            return waits

    def _work(self) -> None:
        death: BaseException | None = None
        try:
            while self._fill():
                self._commit(self._running)
                self._answer(self._running)
        except BaseException as error:
            death = error
        with self._lock:
            self._closed = True
        for job in self._running:
            job.error = OutcomeUnknown(f"the writer died of {death!r}: the unit may be stored")
        for job in self._jobs:
            if job.future is not None:
                self._room.release()
            job.error = RuntimeError(f"the writer died of {death!r}: the unit is not stored")
        self._answer(self._running)
        self._answer(self._jobs)
        self._connection.close()

    def _fill(self) -> bool:
        """Wait for jobs, and half a millisecond for as many as there were in the last group."""
        with self._lock:
            self._wanted = 1
            while not self._jobs and not self._closed:
                self._changed.wait()
            self._wanted = min(self._last, self.group)
            if len(self._jobs) < self._wanted and not self._closed:
                self._changed.wait(0.0005)
            self._wanted = 0
            while self._jobs and len(self._running) < self.group:
                job = self._jobs.popleft()
                if job.future is not None:
                    self._room.release()
                if job.future is None or job.future.set_running_or_notify_cancel():
                    self._running.append(job)
            self._last, self._gate = len(self._running), _locked()
            for job in self._jobs:  # those that are left wait for the next group
                job.gate = self._gate
            return bool(self._running) or not self._closed

    def _commit(self, jobs: list[_Job]) -> None:
        if not jobs:  # all were cancelled
            return
        try:
            _transact(self._path, self._connection, "BEGIN IMMEDIATE", partial(self._run, jobs))
            self.group_sizes[len(jobs)] += 1
        except BaseException as error:
            self._explain(jobs, error)

    def _explain(self, jobs: list[_Job], error: BaseException) -> None:
        """Run the jobs of a group that failed one by one, if that may help; tell them if not."""
        if isinstance(error, sqlite3.ProgrammingError):  # a unit may have closed it
            self._connection.close()
            self._connection = self._open()
        others = [job for job in jobs if job.error is not error]
        is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        unknown = isinstance(error, OutcomeUnknown) and len(others) == len(jobs)
        for job in others:
            if len(jobs) == 1 or is_busy or unknown:
                job.error, error = error, copy.copy(error)  # each thread raises one of its own
            else:
                self._commit([job])

    def _run(self, jobs: list[_Job], connection: sqlite3.Connection) -> None:
        for job in jobs:
            job.error = None
            connection.execute("SAVEPOINT unit_of_a_group")
            try:
                job.result = _call(connection, job.unit)
            except BaseException as error:
                job.error = error
                traceback.clear_frames(error.__traceback__)  # a half-read cursor keeps a lock
                if not connection.in_transaction:
                    raise
                connection.execute("ROLLBACK TO unit_of_a_group")
            connection.execute("RELEASE unit_of_a_group")

    def _answer(self, jobs: list[_Job] | deque[_Job]) -> None:
        for job in jobs:
            job.done = True
        for gate in {job.gate for job in jobs}:
            _unlock(gate)
        for job in jobs:
            if job.future is None:
                continue
            with suppress(BaseException):  # what a callback raises is no business of the others
                if job.error is None:
                    job.future.set_result(job.result)
                else:
                    job.future.set_exception(job.error)
        jobs.clear()


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _unlock(lock: threading.Lock) -> None:
    try:  # noqa: SIM105 (suppress takes ten times as long)
        lock.release()
    except RuntimeError:  # after Ctrl-C: another thread has done it
        pass


def _open(path: str, connect: Callable[..., sqlite3.Connection]) -> sqlite3.Connection:
    connection = connect(path, isolation_level="IMMEDIATE", check_same_thread=False)
    if getattr(connection, "autocommit", -1) != -1:
        connection.close()
        raise ValueError("open it without autocommit, with which commit() may do nothing")
    return connection


def _mark(path: str) -> threading.Lock:
    """Locked while this thread is in a unit of work for `path`, by whichever strategy."""
    marks = units.__dict__
    mark: threading.Lock = marks.get(path) or marks.setdefault(path, threading.Lock())
    return mark


def _transact(path: str, connection: sqlite3.Connection, begin: str, unit: Unit) -> Any:
    """Run `unit` between BEGIN and COMMIT; after any exception ROLLBACK."""
    commits = False
    try:
        connection.execute(begin)
        with _mark(path):  # Ctrl-C cannot come in between
            result = _call(connection, unit)
        commits = True
        connection.commit()  # not as a statement: a unit would find it in the cache, allowed
        return result
    except BaseException as error:
        if connection.in_transaction:
            connection.rollback()
        elif commits and isinstance(error, sqlite3.Error):
            raise OutcomeUnknown(f"the transaction ended, and may be stored: {error}") from error
        raise


def _call(connection: sqlite3.Connection, unit: Unit) -> Any:
    try:
        result = unit(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
            error.add_note("leave BEGIN, commit() and rollback() to the strategy")
        raise
    if not connection.in_transaction:
        raise OutcomeUnknown("transaction ended: let SQLite's errors out of the unit")
    if result is not None and isinstance(result, (AsyncIterator, Awaitable, Iterator)):
        kind, result = type(result).__name__, None  # a cursor would keep its lock
        raise TypeError(f"fetch the rows inside the unit of work: it returned a {kind}")
    return result
