"""The threads of an explored program, each parked on a raw lock of its own; who waits for whom.

A `ControlledThread` is one thread of the program in one run. The real thread that plays it, a
`Worker`, belongs to a `WorkerPool` and is kept alive between runs.
"""

from __future__ import annotations

import random
import sys
import threading
import traceback
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from helpers.explorer.program import Step
from helpers.history import CallError, Text


class Cancelled(BaseException):
    """Raised inside a program's thread to end it; not an `Exception`, so programs let it pass."""


class ThreadState(Enum):
    """Where a thread of a run stands."""

    NEW = "it starts when it is picked"
    PARKED = "before its next step"
    SLEEPING = "before its next step, for which another has to take one first"
    WAITING = "inside SQLite, whose busy handler was called"
    ENDING = "its function is over, what it left open is being closed"
    DONE = "over"


@dataclass(slots=True)
class PendingStep:
    """The step that a thread takes next.

    `ready` says whether it can be taken now (None: always), `timeout` for how long it is waited
    for, in seconds; `holders` who is in the way and with what; `wants` names what is waited for.
    """

    label: str
    sql: str = ""
    connection: int = 0
    parameters: object = None
    ready: Callable[[], bool] | None = None
    timeout: float | None = None
    holders: Callable[[], Iterable[tuple[ControlledThread | None, str]]] | None = None
    wants: str = ""


class ControlledThread:
    """One thread of the program in one run."""

    __slots__ = (
        "asked", "attempted", "cancelled", "connections", "end", "given_back", "ident",
        "in_the_way", "is_last", "job", "locals", "name", "next", "phase", "random", "since",
        "slept", "state", "step", "taken", "timed_out", "until", "waiting", "worker",
    )  # fmt: skip

    def __init__(self, name: str, job: Callable[[], Any]) -> None:
        self.name = name
        self.job: Callable[[], Any] | None = job
        self.worker: Worker | None = None
        self.ident = 0
        self.state = ThreadState.PARKED
        self.step = Step(name, "start")  # the step being taken
        self.next = PendingStep("start")
        self.since = 0  # number of the step at which it began to wait
        self.until = 0.0  # when its patience ends, by the scheduler's clock
        self.waiting: Any = None  # the connection in which it waits, if it is `WAITING`
        self.phase: object = None
        self.in_the_way: object = None  # the locks of all other connections when it tried
        self.given_back = 0
        self.attempted = self.taken = 0  # numbers of steps: in all when it tried; its own
        self.timed_out = False  # it was picked because its timeout expired
        self.cancelled = self.asked = False  # it is to end; it takes no step and was told so
        self.is_last = False  # it began when all others had ended
        self.slept = -1
        self.connections: list[Any] = []
        self.random: random.Random | None = None  # see `helpers.explorer.steps.primitives`
        self.locals: list[dict[str, Any]] = []  # its values in each `threading.local`
        self.end: Any = None

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.state is ThreadState.DONE

    @property
    def label(self) -> str:
        """What its next step is called."""
        return self.next.label

    def can_go_on(self) -> bool:
        """Whether its next step can be taken, if it does not wait inside SQLite."""
        return self.next.ready is None or self.next.ready()

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
        """While it is unwound: whether it may put back one more thing, or is in a loop."""
        self.given_back += 1
        return self.given_back <= 100

    def let_go(self) -> None:
        """After the run: drop what refers back to it."""
        self.job = self.waiting = None
        self.next = PendingStep("")
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


def why_over(threads: Iterable[ControlledThread]) -> str:
    """Why no thread can go on: all are through, or a deadlock and who is in it."""
    stuck = [thread for thread in threads if not thread.done]
    if not stuck:
        return "finished"
    for thread in stuck:
        circle = cycle(thread)
        if circle:
            return f"deadlock: {circle}"
    texts = [why_blocked(thread) for thread in stuck if thread.next.wants]
    return "deadlock: " + "; ".join(texts or ["nobody can go on"])


def why_blocked(thread: ControlledThread) -> str:
    """What `thread` waits for and who has it, in words; empty if it can go on."""
    coming = thread.next
    if thread.state is ThreadState.WAITING:
        holders, wants = thread.waiting.holders(), "the lock on the database file"
    elif thread.state is ThreadState.PARKED and not thread.can_go_on():
        holders, wants = coming.holders() if coming.holders else (), coming.wants or coming.label
    else:
        return ""
    have = [f"{holder.name} holds {what}" for holder, what in holders if holder is not None]
    return f"{thread.name} waits for {wants}" + (f" ({', '.join(have)})" if have else "")


def cycle(start: ControlledThread) -> str:
    """The circle of threads that wait for one another, in words; empty if there is none."""
    path: list[ControlledThread] = []
    thread: ControlledThread | None = start
    texts: dict[str, str] = {}
    while thread is not None and thread not in path and not thread.done:
        path.append(thread)
        holder = next(iter(_in_the_way_of(thread)), None)
        if holder is None:
            return ""
        waits = thread.state is ThreadState.WAITING
        wants = "the database file" if waits else thread.next.wants
        texts[thread.name] = f"{thread.name} waits for {wants}, which {holder[0].name} holds"
        thread = holder[0]
    if thread is None or thread.done:
        return ""
    members = [member.name for member in path[path.index(thread) :]]
    first = members.index(min(members))
    return ", ".join(texts[name] for name in members[first:] + members[:first])


def _in_the_way_of(thread: ControlledThread) -> list[tuple[ControlledThread, str]]:
    """Those whose locks keep `thread` waiting, threads that wait themselves first."""
    if thread.state is ThreadState.WAITING:
        holders = thread.waiting.holders()
    elif thread.next.holders is not None and not thread.can_go_on():
        holders = thread.next.holders()
    else:
        return []
    others = [(who, what) for who, what in holders if who is not None and who is not thread]
    return [pair for pair in others if not pair[0].done] or others


def alone(things: list[Any]) -> bool:
    """Whether nothing refers to any of `things` but this list."""
    return all(count <= _ALONE for count in _references(things))


def _references(things: list[Any]) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


(_ALONE,) = _references([object()])
