"""One thread that writes: a queue of functions, committed in groups, answered by futures."""

from __future__ import annotations

import atexit
import contextlib
import queue
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from helpers.strategies import Connect, UnitOfWork, transactions
from helpers.strategies.backlog import Backlog
from helpers.strategies.errors import (
    ClosedError,
    NestedError,
    Process,
    StrategyError,
    UnitError,
    WaitTimeout,
    WriterDied,
)
from helpers.strategies.guarded import Guarded
from helpers.strategies.jobs import Job, Promise
from helpers.strategies.per_thread import PerThread
from helpers.strategies.regulars import Regulars
from helpers.strategies.retry import is_busy
from helpers.strategies.settings import AS_IT_IS, Path_, Settings, check_file, check_seconds

_AnyJob = TypeVar("_AnyJob", bound=Job)


class Writer:
    """A thread that owns the one connection that writes, and a queue of units of work.

    Units run one after the other, in the order in which they were submitted: no thread
    starves, and none waits for a lock. Those that wait in the queue together are committed
    together (group commit), so that they share the disk's time; each runs in a savepoint of
    its own, so that one that raises takes back its own work only. A group waits for half a
    millisecond at most for threads of the last one that are about to come back, see `Regulars`.
    A unit is acknowledged, by its future, after the COMMIT and never before.

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
        path = check_file(path, self)
        for name, value in (("group", group), ("backlog", backlog)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.group, self.backlog = group, backlog
        self.timeout = check_seconds("timeout", timeout)
        #: Size of a group -> how many groups of that size were committed.
        self.group_sizes: Counter[int] = Counter()
        self._process = Process()
        self._readers = PerThread(path, connect, settings=settings, timeout=timeout)
        self._queue: Backlog[Job] = Backlog(backlog)
        self._regulars = Regulars()
        # What is not answered yet, wherever it is; who takes a job out of here answers it.
        self._pending: dict[Job, None] = {}
        # Those of the last group whom the others are waking.
        self._woken: Iterator[Job] = iter(())
        self._closed = self._refuses = False
        self._ended = False
        self._death: BaseException | None = None
        self._connection = Guarded(settings, path, connect)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()
        _open.add(self)

    # -- the threads that submit -------------------------------------------------------------

    def write(self, unit_of_work: UnitOfWork, /) -> Any:
        """Submit it and wait: its result, once it is committed.

        Raises:
            WaitTimeout: if the queue stayed full.
            NestedError, ClosedError, ForkedError, UnitError, MovedError: if the unit is refused.
            WriterDied: if the writer's thread ended before it could answer.
            sqlite3.Error, Exception: what SQLite or the unit raise.
        """
        job = Job(unit_of_work)
        try:
            self._put(job)
            job.answered.acquire()
        except BaseException:
            # Ctrl-C: do not begin, and whoever wakes this job goes on to the next one.
            job.give_up()
            raise
        finally:
            # See `_answer_all`. No Python function is called, or Ctrl-C could come in between.
            for other in job.next_ones:
                try:
                    other.answered.release()
                except RuntimeError:  # the writer died just then, and has woken it
                    continue
                if not other.given_up:
                    break
        if job.error is None:
            return job.result
        try:
            raise job.error
        finally:
            del job  # or the traceback would keep the job, and the job the traceback

    def submit(self, unit_of_work: UnitOfWork, /) -> Future[Any]:
        """Put it in the queue, waiting for room; the future answers once it is committed.

        A unit that has not begun can be cancelled by the future.

        Raises:
            WaitTimeout, NestedError, ClosedError, ForkedError, WriterDied: as for `write`.
        """
        return self._put(Promise(unit_of_work)).future

    def _put(self, job: _AnyJob) -> _AnyJob:
        self._process.check(self)
        if threading.current_thread() is self._thread:
            raise NestedError(self)
        self._check_open()
        self._pending[job] = None
        try:
            self._queue.put(job, self.timeout)
        except queue.Full:
            del self._pending[job]
            raise WaitTimeout(
                f"the queue stayed full for {self.timeout} s ({self.backlog} units wait): "
                "submit less, or make the units shorter"
            ) from None
        except BaseException:
            # Ctrl-C: it may have come before the put or after it.
            job.give_up()
            raise
        if self._ended:
            # The thread may have looked for the last time before the put.
            self._refuse_all()
        return job

    def _check_open(self) -> None:
        if self._death is not None:
            raise _died(NOT_STORED, self._death)
        if self._closed:
            raise ClosedError(self)

    def read(self, unit_of_work: UnitOfWork, /) -> Any:
        """Run it here and now, against one snapshot; sees all that was acknowledged before.

        Raises:
            NestedError: if a unit of work that writes calls it: it would not see its own changes.
            ClosedError, ForkedError, UnitError, sqlite3.Error, Exception: as for `write`.
        """
        if threading.current_thread() is self._thread:
            raise NestedError(self)
        if self._closed:
            raise ClosedError(self)
        return self._readers.read(unit_of_work)

    @property
    def waiting(self) -> int:
        """How many units are in the queue."""
        return len(self._queue)

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
        self._readers.check_outside()
        self._refuses = self._refuses or not drain
        self._closed = True
        self._queue.call()
        self._thread.join(self.timeout)
        if self._thread.is_alive():
            raise WaitTimeout(f"{self.waiting} units still wait after {self.timeout} s")
        _open.discard(self)
        self._readers.close()

    # -- the thread that writes --------------------------------------------------------------

    def _run(self) -> None:
        jobs: list[Job] = []
        try:
            while self._fill(jobs):
                self._commit_or_retry(jobs)
                self._answer_all(jobs)
                jobs.clear()
        except BaseException as error:
            self._death = error
            for job in self._pending.keys() & jobs:
                job.error = _died("whether this unit of work is stored is not known", error)
                self._answer(job)
        finally:
            self._ended = True
            self._refuse_all()
            self._connection.close()

    def _fill(self, jobs: list[Job]) -> bool:
        """Add the units that wait, at most `group` of them; False when the writer is to end."""
        self._take(jobs)
        if jobs and not self._closed and not self._regulars.at_once():
            self._wait_for_regulars(jobs)
        return bool(jobs)

    def _wait_for_regulars(self, jobs: list[Job]) -> None:
        regulars = self._regulars
        room = self.group - len(jobs)
        missing = min(room, regulars.missing(job.thread for job in jobs))
        if missing:
            regulars.note(self._queue.gather(missing, regulars.PATIENCE))
            self._take(jobs)
        regulars.remember(job.thread for job in jobs)

    def _take(self, jobs: list[Job]) -> None:
        with contextlib.suppress(queue.Empty):
            while len(jobs) < self.group:
                job = self._queue.get(block=not jobs and not self._closed)
                if job is None:
                    continue
                if self._refuses:
                    job.error = ClosedError(self)
                    self._answer(job)
                elif job.begin():
                    jobs.append(job)
                else:
                    self._pending.pop(job, None)

    def _answer_all(self, jobs: list[Job]) -> None:
        """Answer futures, and wake one of the threads that wait: each wakes the next one.

        Were all awake at once, they would queue up for the interpreter's lock (GIL), and most
        of the time would go into handing it over.
        """
        for job in self._woken:
            # Left over only if a thread was interrupted twice while it woke the next one.
            job.answer()
        self._woken = next_ones = iter([job for job in jobs if not isinstance(job, Promise)])
        for job in jobs:
            if isinstance(job, Promise):
                self._answer(job)
            else:
                job.next_ones = next_ones
        for job in next_ones:
            job.answer()
            if not job.given_up:
                break
        for job in jobs:
            self._pending.pop(job, None)

    def _answer(self, job: Job) -> None:
        """Answer a job, unless somebody has."""
        if job in self._pending:
            job.answer()
            self._pending.pop(job, None)

    def _refuse_all(self) -> None:
        """Answer what is left: with the thread gone nobody else would."""
        for job in self._woken:
            job.answer()
        while self._pending:
            with contextlib.suppress(KeyError):
                job, _ = self._pending.popitem()
                job.error = _died(NOT_STORED, self._death) if self._death else ClosedError(self)
                job.answer()
        # Makes room for those who wait to put something into the queue.
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get(block=False)

    def _commit_or_retry(self, jobs: list[Job]) -> None:
        try:
            self._commit(jobs)
        except (sqlite3.Error, StrategyError) as error:
            moved = self._connection.moved()
            self._connection.mend()
            if len(jobs) > 1 and not is_busy(error) and not moved:
                for job in jobs:
                    self._commit_or_retry([job])
                return
            for job in jobs:
                job.error = moved or job.error or error

    def _commit(self, jobs: list[Job]) -> None:
        """Run all units in one transaction, each in a savepoint."""
        connection = self._connection.ready()
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            connection.execute(f"SAVEPOINT {UNIT}")
            self._run_unit(job, connection)
            connection.execute(f"RELEASE {UNIT}")
        transactions.commit(connection)
        self._connection.check_file()
        self.group_sizes[len(jobs)] += 1

    def _run_unit(self, job: Job, connection: sqlite3.Connection) -> None:
        job.result = job.error = None
        try:
            job.result = transactions.finished(self._connection.run(job.unit, connection))
        except BaseException as error:
            job.error = error
        if not transactions.is_open(connection):
            raise UnitError(transactions.CLOSED)
        if not connection.in_transaction:
            raise UnitError(transactions.ENDED)
        if job.error is not None:
            connection.execute(f"ROLLBACK TO {UNIT}")


#: A daemon thread does not keep the process alive; what waits at its end is written all the same.
_open: weakref.WeakSet[Writer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    with contextlib.ExitStack() as stack:
        for writer in list(_open):
            stack.callback(writer.close)


#: The name of each unit's savepoint: one that a unit would not choose for its own.
UNIT = '"unit of work"'
NOT_STORED = "this unit of work is not stored"


def _died(what: str, error: BaseException) -> WriterDied:
    died = WriterDied(f"the writer's thread ended with {error!r}: {what}; make a new Writer")
    died.__cause__ = error
    return died
