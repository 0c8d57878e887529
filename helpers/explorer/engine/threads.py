"""The threads of an explored program: real ones, each parked on a raw lock of its own.

A `ControlledThread` is one thread of the program in one run. The real thread that plays it, a
`Worker`, belongs to a `WorkerPool` and is kept alive between runs.
"""

from __future__ import annotations

import random
import threading
import traceback
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from helpers.explorer.program import Step
from helpers.history import CallError, Text


class Cancelled(BaseException):
    """Raised inside a program's thread to end it; not an `Exception`, so programs let it pass."""


class ControlledThread:
    """One thread of the program in one run."""

    __slots__ = (
        "asked", "attempted", "cancelled", "connection", "connections", "done", "end",
        "ending", "given_back", "holders", "ident", "in_the_way", "is_last", "job", "label",
        "locals", "name", "parameters", "phase", "random", "ready", "retrying", "since",
        "sleeping", "slept", "sql", "step", "taken", "timed_out", "timeout", "until", "waiting",
        "wants", "worker",
    )  # fmt: skip

    def __init__(self, name: str, job: Callable[[], Any]) -> None:
        self.name = name
        self.job: Callable[[], Any] | None = job
        self.worker: Worker | None = None
        self.ident = 0
        self.step = Step(name, "start")  # the step being taken
        self.label, self.sql = "start", ""  # the step to come
        self.parameters: object = None
        self.connection = 0
        self.ready: Callable[[], bool] | None = None
        self.timeout: float | None = None
        self.holders: Callable[[], Iterable[tuple[ControlledThread | None, str]]] | None = None
        self.wants = ""
        self.since = 0  # number of the step at which it began to wait
        self.until = 0.0  # when its patience ends, by the scheduler's clock
        self.waiting: Any = None  # the connection in which SQLite's busy handler waits
        self.phase: object = None
        self.in_the_way: object = None  # the locks of all other connections when it tried
        self.given_back = 0
        self.attempted = self.taken = 0  # numbers of steps: in all when it tried; its own
        self.retrying = self.sleeping = self.timed_out = False
        self.cancelled = self.asked = self.ending = self.done = False
        self.is_last = False  # it began when all others had ended
        self.slept = -1
        self.connections: list[Any] = []
        self.random: random.Random | None = None  # see `helpers.explorer.steps.clock`
        self.locals: list[dict[str, Any]] = []  # its values in each `threading.local`
        self.end: Any = None

    def play(self) -> None:
        """Run the job to its end; errors are kept as texts, for a traceback keeps locks."""
        self.ident = get_ident()
        try:
            if not self.cancelled and self.job is not None:
                self.end = self.job()
        except BaseException as error:
            cut = isinstance(error, Cancelled)
            self.end = Text("cut short") if cut else CallError.of(error)
            _forget(error)

    def gives_back(self) -> bool:
        """While it is unwound: whether this is one of the few things it returns, not a loop."""
        self.given_back += 1
        return self.given_back <= 100

    def let_go(self) -> None:
        """After the run: drop what refers back to it."""
        self.job = self.ready = self.holders = self.waiting = None
        self.connections.clear()
        self.locals.clear()


def _forget(error: BaseException) -> None:
    """Let go of all that an exception keeps: a cursor in a frame is a lock on the file."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        following = chain.__cause__ or chain.__context__
        chain.__traceback__ = chain.__context__ = chain.__cause__ = None
        chain = following


class Finishing(Protocol):
    """The run to which a thread belongs, as its worker sees it."""

    def finish(self, thread: ControlledThread) -> None:
        """The thread's function is over."""


class Worker(threading.Thread):
    """A real thread that plays one controlled thread after another, parked in between."""

    def __init__(self) -> None:
        super().__init__(name="explorer", daemon=True)
        self.go = allocate_lock()
        self.go.acquire()
        self.thread: ControlledThread | None = None
        self.scheduler: Finishing | None = None
        self.start()

    def run(self) -> None:
        """Play what is given until nothing is given."""
        while True:
            self.go.acquire()
            thread, scheduler = self.thread, self.scheduler
            if thread is None or scheduler is None:
                return
            self.name = thread.name
            thread.play()
            self.thread = self.scheduler = None
            scheduler.finish(thread)


class WorkerPool:
    """The worker threads of one exploration, kept alive between its schedules."""

    def __init__(self) -> None:
        self.idle: list[Worker] = []
        self.all: list[Worker] = []

    def give(self, thread: ControlledThread, scheduler: Finishing) -> None:
        """Hand `thread` to an idle worker, which begins when its `go` lock is released."""
        worker = self.idle.pop() if self.idle else self._hire()
        worker.thread, worker.scheduler = thread, scheduler
        thread.worker = worker

    def _hire(self) -> Worker:
        worker = Worker()
        self.all.append(worker)
        return worker

    def native_ids(self) -> list[int]:
        """The ids by which the operating system knows the workers."""
        return [worker.native_id for worker in self.all if worker.native_id is not None]

    def close(self) -> None:
        """End every worker and wait until it has ended."""
        for worker in self.all:
            if worker.thread is None:
                worker.go.release()
                worker.join()
        self.all.clear()
        self.idle.clear()
