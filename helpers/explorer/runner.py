"""Run one schedule after another of one program, each from a fresh database.

A `Runner` keeps its threads, its folder and its patches between schedules, which is what
makes a thousand of them a second possible, and puts everything back when it is left.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sqlite3
import sys
import tempfile
import zlib
from _thread import allocate_lock
from collections.abc import Callable, Collection
from typing import Any

from helpers.explorer.engine.confinement import FoundShared, LentToAnother, Sharing, sharing_of
from helpers.explorer.engine.policies import Replay, RoundRobin
from helpers.explorer.engine.processor import Together, gc_paused
from helpers.explorer.engine.scheduler import Scheduler, SchedulingPolicy, set_active
from helpers.explorer.engine.threads import ControlledThread, WorkerPool, why_blocked
from helpers.explorer.program import (
    START,
    Outcome,
    Program,
    Run,
    ScheduleError,
    Step,
    thread_of,
)  # fmt: skip
from helpers.explorer.steps import pools, primitives, waiting
from helpers.history import CallError
from helpers.workloads import check_positive

#: Steps after which a schedule is cut: no program of this course needs half as many.
STEP_LIMIT = 200

#: The thread that closes what `Program.share` returned.
CLOSER = "end"

_one_at_a_time = allocate_lock()


class Runner:
    """A context manager that runs schedules of `program`.

    Args:
        program: what to run.
        waiting_by: ``"busy handler"``, ``"rule"`` or ``"auto"``; see `steps.waiting`.
        step_limit: steps after which a schedule is cut and called endless.
        track: note what each step touches (merging states, the stage and replays need it).
        sharing: what is known of the threads' sharing; by default what this process knows.
        pinned: keep the calling thread and the program's on one processor, see `processor`.

    Raises:
        ValueError: if `step_limit` is less than 1.
        RuntimeError: on entering, if another exploration runs in this process.
    """

    def __init__(
        self,
        program: Program,
        waiting_by: str = "auto",
        step_limit: int = STEP_LIMIT,
        track: bool = False,
        sharing: Sharing | None = None,
        pinned: bool = False,
    ) -> None:
        self.program = program
        self.sharing = sharing_of(program) if sharing is None else sharing
        self.waiting = waiting.choose(waiting_by)
        self.step_limit = check_positive("step_limit", step_limit)
        self.track = track
        self.template = program.template()
        self.workers = WorkerPool()
        self.together = Together(self.workers.native_ids) if pinned else None
        self.runs = 0
        self._is_clean = False
        self.shared: Any = None
        #: What happened that no step shows; empty if nothing was noticed.
        self.unseen = ""
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Runner:
        if not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("another exploration is running in this process: let it end first")
        with contextlib.ExitStack() as stack:
            stack.callback(_one_at_a_time.release)
            self.home = tempfile.mkdtemp(prefix="sqlite-explorer-", dir=_memory_folder())
            stack.callback(_remove, self.home)
            self._new_folder()
            self._try_look()
            stack.callback(self.workers.close)
            # A collection inside a run would call finalizers at any step.
            stack.enter_context(gc_paused())
            if self.together is not None:
                stack.enter_context(self.together)
            functions = [*self.program.threads.values()]
            if self.program.share is not None:
                functions.append(self.program.share)
            self.refresh = stack.enter_context(primitives.stepping(self.waiting, functions))
            if stack.enter_context(pools.pooling()) and self.sharing.lends is None:
                self._try_lending()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def run(
        self, policy: SchedulingPolicy, observe: Any = None, late: Collection[str] = ()
    ) -> tuple[Scheduler, Outcome | None]:
        """Run one schedule; the outcome is None if the policy stopped before the end.

        `observe(scheduler)` is called after every step, and once before the first. The threads
        in `late` start when the policy says so, all others before the first step.

        Raises:
            Diverged, ScheduleError: from the policy.
            FoundShared: if the schedules run so far do not count, see `confinement`.
            RuntimeError: if a thread can be neither stepped nor stopped.
        """
        if self.together is not None:
            self.together.keep()
        self._fresh_file()
        scheduler = Scheduler(
            self.workers, policy, self.step_limit, self.track, self.program.journal_mode == "wal"
        )
        scheduler.lends = self.sharing.lends is not False
        scheduler.found_shared = self.sharing.found
        scheduler.path, scheduler.late = self.path, late
        scheduler.expire = self.program.expire is True
        scheduler.impatient = self.program.expire == "any"
        if observe is not None:
            scheduler.observer = lambda _: observe(scheduler)
        elif not self.runs:
            scheduler.observer = self._watching(scheduler)
        set_active(scheduler)
        try:
            self.refresh()
            threads = self._prepare(scheduler)
            scheduler.run(lambda: _stand(scheduler, self.program))
        except LentToAnother:
            self.sharing.lends = False
            raise
        except FoundShared as found:
            self.sharing.found.add(found.thing)
            raise
        finally:
            set_active(None)
            self._dispose()
            self._is_clean = scheduler.close()
            self._collect()
        if not scheduler.ended:
            return scheduler, None
        for name, thread in threads.items():
            if not thread.taken:
                self.unseen = self.unseen or f"thread {name} took no step"
        ends = {name: thread.end for name, thread in threads.items()}
        others = {n: a.end for n, a in scheduler.threads.items() if isinstance(a.end, CallError)}
        ends.update(others)
        cycle = scheduler.cycles[0] if scheduler.cycles else ""
        return scheduler, self.program.judge(self.path, scheduler.ended, ends, cycle)

    def _watching(self, scheduler: Scheduler) -> Callable[[int], None]:
        """Notice whether the file changes in a step that only reads or is Python's alone."""
        contents: list[int] = []
        wal: list[bool] = []

        def look(steps: int) -> None:
            contents.append(self._content())
            wal.append(os.path.exists(f"{self.path}-wal"))
            if not steps or contents[-1] == contents[-2] or _may_write(scheduler.steps[-1]):
                return
            # The last connection to close writes what was committed, and removes the WAL.
            if not (wal[-2] and not wal[-1]):
                last = scheduler.steps[-1]
                found = f"the file changed after {last.thread}: {last.label}, in no step"
                self.unseen = self.unseen or found

        return look

    def _content(self) -> int:
        found = 0
        for name in (self.path, f"{self.path}-wal"):
            with contextlib.suppress(OSError), open(name, "rb") as file:
                found = zlib.crc32(file.read(), found)
        return found

    def _try_look(self) -> None:
        self._fresh_file()
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            try:
                connection.execute(self.program.look).fetchall()
            except sqlite3.Error as error:
                error.add_note(f"raised by look={self.program.look!r} on the fresh database")
                raise

    def _collect(self) -> None:
        """Between the runs, now and then: what they left in circles is young."""
        self.runs += 1
        if self.runs % 256 == 0:
            gc.collect(0)

    def _try_lending(self) -> None:
        """Let the threads take turns, and see whether one uses what was lent to another."""
        self.sharing.lends = True
        with contextlib.suppress(LentToAnother):
            self.trace(RoundRobin())

    def _dispose(self) -> None:
        """Give up a shared engine of SQLAlchemy: its idle connections are closed."""
        dispose = getattr(self.shared, "dispose", None)
        self.shared = None
        if dispose is not None:
            dispose()

    def trace(
        self, policy: SchedulingPolicy, observe: Any = None, late: Collection[str] = ()
    ) -> Run:
        """Run one schedule and keep all that it did; takes and raises what `run` does."""
        while True:
            with contextlib.suppress(FoundShared):
                scheduler, outcome = self.run(policy, observe, late)
                break
        return Run(
            tuple(scheduler.schedule),
            scheduler.steps,
            outcome,
            scheduler.pending,
            scheduler.blocked,
            scheduler.choices,
            scheduler.notes,
            scheduler.lines,
        )

    def replay(self, schedule: list[str], observe: Any = None) -> Run:
        """Run a given schedule, to its end or the program's; `observe` as in `run`.

        Raises:
            ScheduleError: if it names a thread that cannot take a step then.
        """
        late = [thread_of(choice) for choice in schedule if choice.endswith(START)]
        run = self.trace(Replay(schedule), observe, late)
        rest = [name for name in schedule[len(run.schedule) :] if not name.endswith(START)]
        if rest:
            number = len(run.schedule) + 1
            raise ScheduleError(f"step {number}: {rest[0]} cannot go on, for the run is over")
        return run

    def _prepare(self, scheduler: Scheduler) -> dict[str, ControlledThread]:
        """Make the program's threads and what they share."""
        program, given = self.program, [self.path]
        threads = {
            name: scheduler.add(name, lambda job=job: job(given[0]))  # type: ignore[misc]
            for name, job in program.threads.items()
        }
        if program.share is not None:
            try:
                shared: Any = program.share(self.path)
            except BaseException:
                scheduler.cancel()  # or its workers would stay
                raise
            self.shared = shared
            given[0] = shared
            close = getattr(shared, "close", None)
            if callable(close) and not isinstance(shared, sqlite3.Connection):
                scheduler.add_after(threads.values(), CLOSER, close)
        return threads

    def _fresh_file(self) -> None:
        """The old file with its first content, if no thread can have it open; else a new one.

        A lock that outlived its run stays with the old file.
        """
        names = os.listdir(self.folder)
        if not self._is_clean or names != [os.path.basename(self.path)]:
            try:
                for name in names:
                    os.unlink(os.path.join(self.folder, name))
            except OSError:  # a folder; on Windows, a file that an open cursor holds
                shutil.rmtree(self.folder, ignore_errors=True)
                self._new_folder()
        self._is_clean = False
        # Written over what is there, the file keeps its memory, which would take longer to get.
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0))
        try:
            os.write(file, self.template)
            os.ftruncate(file, len(self.template))
        finally:
            os.close(file)

    def _new_folder(self) -> None:
        self.folder = tempfile.mkdtemp(dir=self.home)
        self.path = os.path.join(self.folder, "database.db")


def _may_write(step: Step) -> bool:
    return bool(step.connection) and not step.sql.lstrip().upper().startswith("SELECT")


def _remove(folder: str) -> None:
    try:
        shutil.rmtree(folder)
    except OSError:  # Windows: a connection in a reference cycle still has a file open
        gc.collect()
        shutil.rmtree(folder, ignore_errors=True)


def _stand(scheduler: Scheduler, program: Program) -> None:
    """Note where the threads stand, before those who have not ended are unwound."""
    frames = {} if scheduler.ended == "finished" else sys._current_frames()
    for name, thread in scheduler.threads.items():
        if not thread.done:
            scheduler.pending[name] = thread.label
            code = getattr(program.threads.get(name), "__code__", None)
            frame = frames.get((thread.worker and thread.worker.ident) or 0)
            while frame is not None and frame.f_code is not code:
                frame = frame.f_back
            if frame is not None:
                scheduler.lines[name] = frame.f_lineno
            why = why_blocked(thread)
            if why:
                scheduler.blocked[name] = why
    scheduler.choices = [] if scheduler.ended else scheduler.offers()


def _memory_folder() -> str | None:
    """A folder in memory if the system has one: databases there need no disk."""
    folder = "/dev/shm"
    return folder if sys.platform == "linux" and os.access(folder, os.W_OK) else None
