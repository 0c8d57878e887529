"""One thread that writes: a queue of functions, committed in groups, answered by futures."""

from __future__ import annotations

import atexit
import contextlib
import queue
import sqlite3
import threading
from collections import Counter
from concurrent.futures import Future
from typing import Any, TypeVar

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.errors import (
    ClosedError,
    NestedError,
    Process,
    UnitError,
    WaitTimeout,
    WriterDied,
)
from helpers.strategies.per_thread import PerThread
from helpers.strategies.retry import is_busy
from helpers.strategies.settings import AS_IT_IS, Path_, Settings, check_file


class _Job:
    """A unit of work, a lock that opens when it is answered, and how it went, before that is told.

    A `Future` does the same at several times the cost, so `submit` has one and `write` has none.
    """

    __slots__ = ("answered", "error", "given_up", "result", "unit")

    def __init__(self, unit: UnitOfWork) -> None:
        self.unit = unit
        self.result: Any = None
        self.error: BaseException | None = None
        self.given_up = False
        self.answered = threading.Lock()
        self.answered.acquire()

    def begin(self) -> bool:
        """Whether the submitter still wants it."""
        return not self.given_up

    def wait(self) -> Any:
        """The result, or the error, once the writer has answered."""
        try:
            self.answered.acquire()
        except BaseException:
            # After Ctrl-C nobody waits for the answer: do not begin if it has not begun.
            self.given_up = True
            raise
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            del self  # or the traceback would keep the job, and the job the traceback

    def answer(self) -> None:
        self.answered.release()

    def refuse(self, error: BaseException) -> None:
        """Answer with `error`, unless it was answered."""
        if self.answered.locked():
            self.error = error
            self.answer()


class _Promise(_Job):
    """A unit of work that a `Future` answers for."""

    __slots__ = ("future",)

    def __init__(self, unit: UnitOfWork) -> None:
        super().__init__(unit)
        self.future: Future[Any] = Future()

    def begin(self) -> bool:
        return self.future.set_running_or_notify_cancel()

    def answer(self) -> None:
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)

    def refuse(self, error: BaseException) -> None:
        if self.future.running() or (not self.future.done() and self.begin()):
            self.future.set_exception(error)


_AnyJob = TypeVar("_AnyJob", bound=_Job)


class Writer:
    """A thread that owns the one connection that writes, and a queue of units of work.

    Units run one after the other, in the order in which they were submitted: no thread
    starves, and none waits for a lock. Those that wait in the queue together are committed
    together (group commit), so that they share the disk's time; each runs in a savepoint of
    its own, so that one that raises takes back its own work only. A unit is acknowledged, by
    its future, after the COMMIT and never before.

    If a group as a whole cannot be committed (a deferred foreign key of one unit, a full
    disk), each of its units runs once more in a transaction of its own. So keep out of a
    unit what must not happen twice, such as sending a message.

    Reads run on a connection for each thread, see `PerThread`; in WAL mode beside the writer.

    Args:
        path: the database file.
        connect: opens a connection; pass `History.connect` to record the calls.
        settings: of each connection.
        group: how many units are committed together at most.
        backlog: how many units may wait. When the queue is full, `submit` waits.
        timeout: seconds that `submit` waits for room, and `close` for the end.

    Raises:
        ValueError: for a database in memory, or `group` or `backlog` below 1.
    """

    def __init__(
        self,
        path: Path_,
        connect: Connect = sqlite3.connect,
        *,
        settings: Settings = AS_IT_IS,
        group: int = 64,
        backlog: int = 1000,
        timeout: float = 30.0,
    ) -> None:
        check_file(path, self)
        for name, value in (("group", group), ("backlog", backlog)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.group, self.backlog, self.timeout = group, backlog, timeout
        #: Size of a group -> how many groups of that size were committed.
        self.group_sizes: Counter[int] = Counter()
        self._process = Process()
        self._readers = PerThread(path, connect, settings=settings, timeout=timeout)
        self._queue: queue.Queue[_Job | None] = queue.Queue(backlog)
        self._closed = self._refuses = False
        self._ended = False
        self._death: BaseException | None = None
        self._connection = settings.open(path, connect)
        self._in_unit = self._unit_ended = False
        self._connection.set_authorizer(self._authorize)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()
        # A daemon thread does not keep the process alive; what waits is written all the same.
        atexit.register(self.close)

    # -- the threads that submit -------------------------------------------------------------

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Submit it and wait: its result, once it is committed.

        Raises:
            WaitTimeout: if the queue stayed full.
            NestedError, ClosedError, ForkedError, UnitError: if the unit is refused.
            WriterDied: if the writer's thread ended before it could answer.
            sqlite3.Error, Exception: what SQLite or the unit raise.
        """
        return self._put(_Job(unit_of_work)).wait()

    def submit(self, unit_of_work: UnitOfWork, /) -> Future[Any]:
        """Put it in the queue, waiting for room; the future answers once it is committed.

        A unit that has not begun can be cancelled by the future.

        Raises:
            WaitTimeout, NestedError, ClosedError, ForkedError, WriterDied: as for `write`.
        """
        return self._put(_Promise(unit_of_work)).future

    def _put(self, job: _AnyJob) -> _AnyJob:
        self._process.check(self)
        if threading.current_thread() is self._thread:
            raise NestedError(self)
        self._check_open()
        try:
            self._queue.put(job, timeout=self.timeout)
        except queue.Full:
            raise WaitTimeout(
                f"the queue stayed full for {self.timeout} s ({self.backlog} units wait): "
                "submit less, or make the units shorter"
            ) from None
        if self._ended:
            # The thread may have looked into the queue for the last time before the put.
            self._refuse_all()
        return job

    def _check_open(self) -> None:
        if self._death is not None:
            raise _died(NOT_STORED, self._death)
        if self._closed:
            raise ClosedError(self)

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it here and now, against one snapshot; sees all that was acknowledged before."""
        return self._readers.read(unit_of_work)

    @property
    def waiting(self) -> int:
        """How many units are in the queue."""
        return self._queue.qsize()

    def close(self, *, drain: bool = True) -> None:
        """Refuse new units, finish those that wait, and end the thread. Again: nothing.

        Args:
            drain: False refuses the units that wait as well: their futures raise `ClosedError`.

        Raises:
            WaitTimeout: if the queue is not empty after `timeout` seconds; the writer goes on.
            NestedError: if a unit of work calls it.
        """
        if not self._process.is_this:
            return
        if threading.current_thread() is self._thread:
            raise NestedError(self)
        atexit.unregister(self.close)
        self._refuses = self._refuses or not drain
        self._closed = True
        # Wakes the thread if it waits for work; if the queue is full, it does not wait.
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(self.timeout)
        if self._thread.is_alive():
            raise WaitTimeout(f"{self.waiting} units still wait after {self.timeout} s")
        self._readers.close()

    # -- the thread that writes --------------------------------------------------------------

    def _run(self) -> None:
        jobs: list[_Job] = []
        try:
            while self._fill(jobs):
                self._commit_or_retry(jobs)
                for job in jobs:
                    job.answer()
                jobs.clear()
        except BaseException as error:
            self._death = error
            for job in jobs:
                job.refuse(_died("whether this unit of work is stored is not known", error))
        finally:
            self._ended = True
            self._refuse_all()
            self._connection.close()

    def _fill(self, jobs: list[_Job]) -> bool:
        """Add the units that wait, at most `group` of them; False when the writer is to end."""
        with contextlib.suppress(queue.Empty):
            while len(jobs) < self.group:
                job = self._queue.get(block=not jobs and not self._closed)
                if job is None:
                    continue
                if self._refuses:
                    job.refuse(ClosedError(self))
                elif job.begin():
                    jobs.append(job)
        return bool(jobs)

    def _refuse_all(self) -> None:
        """Answer what is left in the queue: with the thread gone nobody else would."""
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    job.refuse(_died(NOT_STORED, self._death) if self._death else ClosedError(self))

    def _commit_or_retry(self, jobs: list[_Job]) -> None:
        try:
            self._commit(jobs)
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            if len(jobs) > 1 and not is_busy(error):
                for job in jobs:
                    if not isinstance(job.error, UnitError):
                        self._commit_or_retry([job])
                return
            for job in jobs:
                job.error = job.error or error

    def _commit(self, jobs: list[_Job]) -> None:
        """Run all units in one transaction, each in a savepoint."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for job in jobs:
            execute("SAVEPOINT unit_of_work")
            self._run_unit(job)
            execute("RELEASE unit_of_work")
        self._connection.commit()
        self.group_sizes[len(jobs)] += 1

    def _run_unit(self, job: _Job) -> None:
        job.result = job.error = None
        self._in_unit, self._unit_ended = True, False
        try:
            job.result = transactions.finished(job.unit(self._connection))
            if self._unit_ended or not self._connection.in_transaction:
                raise UnitError(transactions.ENDED)
        except BaseException as error:
            job.error = UnitError(transactions.ENDED) if self._unit_ended else error
            self._in_unit = False
            self._connection.execute("ROLLBACK TO unit_of_work")
        finally:
            self._in_unit = False

    def _authorize(self, action: int, *_: object) -> int:
        """Deny COMMIT and ROLLBACK inside a unit of work: they would end the whole group's."""
        if action == sqlite3.SQLITE_TRANSACTION and self._in_unit:
            self._unit_ended = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


NOT_STORED = "this unit of work is not stored"


def _died(what: str, error: BaseException) -> WriterDied:
    died = WriterDied(f"the writer's thread ended with {error!r}: {what}; make a new Writer")
    died.__cause__ = error
    return died
