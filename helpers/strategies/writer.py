"""One thread that writes: a queue of units of work, committed in groups."""

from __future__ import annotations

import copy
import os
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any

try:
    from .settings import OutcomeUnknown, units
except ImportError:  # this file alone
    units = threading.local()  # path -> a lock, held while this thread is in a unit of work for it
    OutcomeUnknown = type("OutcomeUnknown", (RuntimeError,), {})  # type: ignore[misc, assignment]

Unit = Callable[[sqlite3.Connection], Any]
_LATER = AsyncIterator, Awaitable, Iterator
#: A transaction that sets the number has been committed if the number is there after its end.
_MARK = "CREATE TEMP TABLE last_group AS SELECT 0 AS number"


class Writer:
    """A thread that owns the one connection that writes, and a queue of units of work.

    Units run in the order in which they come. Those that wait together are committed together,
    each in a savepoint of its own, and answered after the COMMIT. `write` and `read` take a
    function of the connection and return its result, `submit` a future. If they raise, nothing
    is stored, but for `OutcomeUnknown` and Ctrl-C. A read has a connection of its own.

    Args:
        path: the database file.
        connect: opens a connection as `sqlite3.connect` does; `Settings.open` is one.
        group: how many units are committed together at most.
        backlog: how many submitted units may be unanswered; then `submit` waits.
        timeout: seconds that `write` waits for its answer, `submit` for room, `close` for the end.

    Limits: if a group fails, its units run again, one by one: none may send a message. What waits
    when the program ends is not stored, and was not acknowledged: call `close`. `OutcomeUnknown`
    is also for a unit that ends its transaction (COMMIT, ROLLBACK, ``executescript``,
    OR ROLLBACK); if it closes the connection after a COMMIT, its neighbours may be stored twice.
    What it sets on the connection (``row_factory``, PRAGMAs, TEMP tables) stays, until a group
    fails: do that for all, in `connect`. Give SQLite no function in Python to call: it may, when
    Python is gone. A future's callback runs in the writer's thread, and may use no strategy for
    this file. ``backup`` in a `write` never ends: use `read`. A replaced file goes unnoticed.
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
        self._queue, self._running, self._closed = deque([_Group()]), _Group(), False
        # Whoever makes a group as large as the last one wakes the writer.
        self._lock, self._wanted = threading.Lock(), 1
        self._changed = threading.Condition(self._lock)
        self._connection, self._number = self._open(_MARK), 0
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def write(self, unit_of_work: Unit, /, timeout: float | None = None) -> Any:
        """Run it in a write transaction, and wait at most `timeout` seconds for its COMMIT."""
        limit = self.timeout if timeout is None else timeout
        if not 0 <= limit <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout counts seconds, from 0 on, not {limit!r}")
        group = self._put(job := _Job(unit_of_work))
        try:
            group.gate.acquire(timeout=limit)
        finally:  # after Ctrl-C, too
            waits = not group.done and self._take_back(job, group)
            if group.done:
                group.let_through()  # the next thread: each wakes one, so they do not crowd
        if waits:
            raise TimeoutError(f"not begun in {limit} s, and taken back: {self._busy()}")
        if not group.done:
            raise OutcomeUnknown(f"not ended in {limit} s, may be stored yet: {self._busy()}")
        return job.answer()

    def submit(self, unit_of_work: Unit, /) -> Future[Any]:
        """Put it in the queue; the future answers after the COMMIT."""
        self._check()
        if not self._room.acquire(timeout=self.timeout):
            raise TimeoutError(f"the queue was full for {self.timeout} s: {self._busy()}")
        future = Future[Any]()
        future.add_done_callback(lambda _: self._room.release())
        try:
            self._put(_Job(unit_of_work, future))
        except BaseException:
            future.cancel()  # and leave the room to others
            raise
        return future

    def read(self, unit_of_work: Unit, /) -> Any:
        """Run it here and now against one snapshot; it cannot write."""
        self._check()
        if self._closed:
            raise RuntimeError("this Writer has ended: make a new one")
        job = _Job(unit_of_work)
        mark = units.__dict__.setdefault(self._path, threading.Lock())
        with mark, closing(self._open("PRAGMA query_only = 1")) as connection:
            job.run(connection)
        return job.answer()

    def close(self) -> None:
        """Finish what waits, and end the thread; later units raise."""
        self._check()
        with self._lock:
            self._closed = True
            self._changed.notify()
        self._thread.join(self.timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"still writing after {self.timeout} s: {self._busy()}")

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("made before a fork: make a strategy in each process")
        if (mark := units.__dict__.get(self._path)) and mark.locked():
            raise RuntimeError("a unit of work within another: pass on the outer one's connection")

    def _busy(self) -> str:
        jobs = [job for group in [self._running, *self._queue] for job in group.jobs]
        return "units of thread " + ", ".join(job.thread.name for job in jobs)

    def _open(self, first: str) -> sqlite3.Connection:
        connection = self._connect(self._path, isolation_level=None, check_same_thread=False)
        connection.isolation_level = None  # whatever `connect` made of it: Python begins nothing
        connection.execute(first)
        return connection

    def _put(self, job: _Job) -> _Group:
        self._check()
        with self._lock:
            if self._closed:
                raise RuntimeError("this Writer has ended: make a new one")
            if len(self._queue[-1].jobs) == self.group:
                self._queue.append(_Group())
            group = self._queue[-1]
            group.jobs.append(job)
            if len(group.jobs) >= self._wanted:
                self._changed.notify()
            return group

    def _take_back(self, job: _Job, group: _Group) -> bool:
        with self._lock:
            if waits := group in self._queue:
                group.jobs.remove(job)
                if not group.jobs and group is not self._queue[-1]:
                    self._queue.remove(group)  # or the writer would wait for it, and for ever
            return waits

    def _work(self) -> None:
        units.__dict__.setdefault(self._path, threading.Lock()).acquire()  # callbacks included
        while group := self._next():
            try:
                self._commit(group.jobs)
            except BaseException as error:
                for job in group.jobs:
                    job.error = OutcomeUnknown(f"the writer met {error!r}: it may be stored")
            group.done = True
            group.let_through()
            for job in group.jobs:
                if job.future is not None:
                    job.tell(job.future)
        self._connection.close()

    def _next(self) -> _Group | None:
        """Wait for jobs, and half a millisecond for as many as there were in the last group."""
        with self._lock:
            self._wanted = 1
            self._changed.wait_for(lambda: self._queue[0].jobs or self._closed)
            if not self._queue[0].jobs:
                return None
            self._wanted = len(self._running.jobs)
            if len(self._queue[0].jobs) < self._wanted:
                self._changed.wait(0.0005)
            group = self._running = self._queue.popleft()
            if not self._queue:
                self._queue.append(_Group())
        futures = ((job, job.future) for job in group.jobs)
        group.jobs = [job for job, f in futures if f is None or f.set_running_or_notify_cancel()]
        return group

    def _commit(self, jobs: list[_Job]) -> None:
        """Run them in one transaction; those that a neighbour undoes run again, each alone."""
        self._number, ran = self._number + 1, 0
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE temp.last_group SET number = ?", [self._number])
            for job in jobs:
                job.run(self._connection)
                ran += 1
            self._connection.execute("COMMIT")
        except BaseException as error:
            is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            for job in jobs[ran + 1 :] if self._is_stored() else jobs:
                if is_busy or len(jobs) == 1:
                    job.error = job.error or copy.copy(error)  # each thread raises one of its own
                elif job.error is not error:
                    self._commit([job])

    def _is_stored(self) -> bool:
        """Whether the last group was committed after all; opens a new connection."""
        found = []
        with closing(self._connection) as last, suppress(sqlite3.Error):  # or it is closed
            if last.in_transaction:
                last.execute("ROLLBACK")
            sql = "SELECT number FROM temp.last_group WHERE number = ?"
            found = last.execute(sql, [self._number]).fetchall()
        self._connection = self._open(_MARK)
        return bool(found)


class _Group:
    """Jobs that are committed together, and the gate at which their threads wait."""

    def __init__(self) -> None:
        self.jobs, self.done, self.gate = list[_Job](), False, threading.Lock()
        self.gate.acquire()

    def let_through(self) -> None:
        try:  # noqa: SIM105 (suppress takes ten times as long)
            self.gate.release()
        except RuntimeError:  # after Ctrl-C: another thread has done it
            pass


class _Job:
    """A unit of work, and what became of it."""

    def __init__(self, unit: Unit, future: Future[Any] | None = None) -> None:
        self.unit, self.future, self.thread = unit, future, threading.current_thread()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Run it in a savepoint: if that is gone at the end, so is the transaction."""
        self.error = None
        connection.execute("SAVEPOINT unit_of_work")
        try:
            try:
                self.result = self.unit(connection)
                if self.result is not None and isinstance(self.result, _LATER):
                    kind, self.result = type(self.result).__name__, None  # keeps a lock
                    raise TypeError(f"fetch the rows inside the unit of work: it returned a {kind}")
            except BaseException as error:
                self.error = error
                connection.execute("ROLLBACK TO unit_of_work")
            connection.execute("RELEASE unit_of_work")
        except sqlite3.Error as error:
            cause = self.error or error
            self.error = OutcomeUnknown(f"its transaction ended, maybe stored: {cause}")
            raise self.error from cause

    def answer(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result

    def tell(self, future: Future[Any]) -> None:
        with suppress(BaseException):  # what a callback raises is no business of the others
            if self.error is None:
                future.set_result(self.result)
            else:
                future.set_exception(self.error)
