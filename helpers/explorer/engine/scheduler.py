"""Baton passing: real threads, of which exactly one runs at a time, in an order you choose.

Every thread of a program is a `ControlledThread`, played by a real thread that is parked on a raw
lock of its own. A thread that reaches a scheduling point (`Scheduler.point`) picks the
next one and wakes it; picking itself costs no switch. Which one is picked is decided by
a `SchedulingPolicy`: a list of names, a depth-first search, a random number.

The architecture is that of CHESS (Musuvathi et al., OSDI 2008), loom and shuttle: make
threads take turns, switch only at synchronisation, replay from the start.
"""

from __future__ import annotations

import random
import sys
from _thread import get_ident
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from helpers.explorer.engine.baton import Baton
from helpers.explorer.engine.deadlocks import cycle, why_over
from helpers.explorer.engine.threads import (
    Cancelled,
    ControlledThread,
    PendingStep,
    ThreadState,
    WorkerPool,
)
from helpers.explorer.program import Step

# Looked up at every step: an enum's members are slow to find.
_DONE, _WAITING, _PARKED = ThreadState.DONE, ThreadState.WAITING, ThreadState.PARKED
_NEW = ThreadState.NEW

#: How a schedule names the expiry of a thread's timeout, and a start after the first step.
TIMEOUT = ":timeout"
START = ":start"


class ScheduleError(RuntimeError):
    """A schedule names a thread that cannot take a step now; the message says why."""


class Diverged(RuntimeError):
    """The same schedule led to another step: the program depends on something else too."""


class LentToAnother(RuntimeError):
    """A thread used a connection that another thread has checked out of a pool."""

    def __init__(self, connection: int, borrower: str, user: str) -> None:
        super().__init__(
            f"{user} used connection {connection}, which {borrower} had checked out of the pool: "
            "the threads share it. Explore the program again: its connections now count as shared"
        )


def thread_of(choice: str) -> str:
    """The name of the thread that an item of a schedule is about."""
    return choice.partition(":")[0]


class SchedulingPolicy(Protocol):
    """Decides which thread takes the next step."""

    def pick(self, scheduler: Scheduler, offers: list[str]) -> str | None:
        """One of `offers` (names, or one ``name:timeout``), or None to stop the run here."""

    def erased(self, name: str) -> None:
        """The last pick was a retry that failed and changed nothing: it never happened."""


#: The run in progress; there is at most one in a process. A variable of the module: an attribute
#: of the class could not change without undoing Python's caches of the class's methods.
_active: Scheduler | None = None


def set_active(run: Scheduler | None) -> Scheduler | None:
    """Say which run is in progress; returns what was said before."""
    global _active
    before, _active = _active, run
    return before


def alone(things: list[Any]) -> bool:
    """Whether nothing refers to any of `things` but this list."""
    return all(count <= _ALONE for count in _references(things))


def _references(things: list[Any]) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


(_ALONE,) = _references([object()])


class Scheduler(Baton):
    """One run of a program: who is where, who may go on, what has happened so far.

    With `track`, each step notes the shared resources that it touched.
    """

    def __init__(
        self,
        workers: WorkerPool,
        policy: SchedulingPolicy,
        step_limit: int,
        track: bool,
        is_wal: bool,
    ) -> None:
        super().__init__()
        self.workers = workers
        self.policy = policy
        self.step_limit = step_limit
        self.track = track
        self.is_wal = is_wal
        self.lends = True  # what a pool lends to a thread is that thread's own
        self.found_shared: set[str] = set()  # see `helpers.explorer.engine.confinement`
        self.late: Collection[str] = ()  # threads that start when the policy says so
        self.expire = False  # every busy timeout counts as 0
        self.impatient = False  # a wait may end at any step
        self.may_connect = False  # the connection being opened is not the program's
        self.clock = 0.0  # seconds that the program has waited, see `helpers.explorer.steps.clock`
        self.name = "the program"  # while it is set up
        self.random: random.Random | None = None
        self.commits = 0  # versions of the database so far, for naming snapshots
        self.unstarted: list[ControlledThread] = []
        self.last: tuple[list[ControlledThread], str, Callable[[], Any]] | None = None
        self.steps: list[Step] = []
        self.tried: set[str] = set()  # failed retries at this node
        self.connections: list[Any] = []
        self.notes: list[str] = []
        self.cycles: list[str] = []  # circles of locks that a timeout broke
        self.pending: dict[str, str] = {}  # the four that follow: where the threads stood
        self.blocked: dict[str, str] = {}  # when the run stopped
        self.lines: dict[str, int] = {}
        self.choices: list[str] = []
        self.failure: BaseException | None = None
        self.names: dict[str, int] = {}
        self.numbered: list[tuple[str, int, str]] = []  # what may be shared: kind, number, maker
        self.path = ""  # of the database
        self.elsewhere = False  # a connection has another database
        self.shares = ""  # what the threads share that no step shows, see `steps.shared_objects`
        self.observer: Callable[[int], None] | None = None  # called after each step
        self.setting_up = get_ident()  # the controller's thread while it prepares the run

    # -- called by the controller ------------------------------------------------------

    def add(self, name: str, job: Callable[[], Any]) -> ControlledThread:
        """Make a thread; it runs to its first step before the next step of any, unless `late`."""
        unique, number = name, 1
        while unique in self.threads:
            number += 1
            unique = f"{name} {number}"
        thread = self.threads[unique] = ControlledThread(unique, job)
        active = set_active(None)  # a worker's own locks are real ones
        try:
            self.workers.give(thread, self)
        finally:
            set_active(active)
        if unique in self.late:
            thread.state = ThreadState.NEW
        else:
            self.unstarted.append(thread)
        return thread

    def add_after(
        self, threads: Iterable[ControlledThread], name: str, job: Callable[[], Any]
    ) -> None:
        """Make a thread as soon as all of `threads` have ended."""
        self.last = (list(threads), name, job)

    def run(self, at_stop: Callable[[], None] | None = None) -> None:
        """Run until the policy stops, or all have ended, or none can go on.

        `at_stop` is called then, while those who have not ended are still parked.

        Raises:
            Diverged, ScheduleError: from the policy.
            RuntimeError: if a thread can be neither stepped nor stopped.
        """
        self.setting_up = 0
        try:
            first = self._next()
            if first is not None:
                self.lend_baton(first)
            if at_stop is not None:
                at_stop()
        finally:
            self.cancel()
        if self.failure is not None:
            raise self.failure

    def close(self) -> bool:
        """Close what is open and let go of it, or it would wait for the garbage collector.

        Returns whether that was all: a cursor that is alive keeps its connection half open, with
        its locks, even after `close`.
        """
        for thread in self.threads.values():
            thread.let_go()
        self.last = self.observer = None
        connections, self.connections = self.connections, []
        for number in range(len(connections)):
            connections[number].abandon()
        return alone(connections)

    # -- called by the program's threads -----------------------------------------------

    def me(self) -> ControlledThread | None:
        """The program's thread that is calling; None for any other thread."""
        thread = self.running
        return thread if thread is not None and thread.ident == get_ident() else None

    @staticmethod
    def here() -> Scheduler | None:
        """The run to which the calling thread belongs: as one of its threads, or as its maker."""
        run = _active
        if run is None or (run.me() is None and run.setting_up != get_ident()):
            return None
        return run

    def point(
        self,
        label: str,
        sql: str = "",
        connection: int = 0,
        parameters: object = None,
        ready: Callable[[], bool] | None = None,
        timeout: float | None = None,
        holders: Callable[[], Iterable[tuple[ControlledThread | None, str]]] | None = None,
        wants: str = "",
    ) -> bool:
        """Park before a step until it is picked; False if its timeout expired instead.

        The arguments are the fields of a `PendingStep`.

        Raises:
            Cancelled: the run is over.
        """
        thread = self.running
        assert thread is not None
        if thread.cancelled:
            raise Cancelled
        thread.next = PendingStep(
            label, sql, connection, parameters, ready, timeout, holders, wants
        )
        thread.since = len(self.steps)
        thread.until = self.clock + (timeout or 0)
        self._hand_over(thread, self._next())
        return not thread.timed_out

    def sleep(self, seconds: float) -> None:
        """A step that gives way: a second sleep in a row needs a step of another thread first."""
        until = self.clock + seconds
        thread = self.running
        assert thread is not None
        name, slept = thread.name, thread.slept
        alone = slept >= 0 and all(step.thread == name for step in self.steps[slept:])
        arrived = len(self.steps)
        thread.state = ThreadState.SLEEPING if alone else ThreadState.PARKED
        moved = (lambda: any(s.thread != name for s in self.steps[arrived:])) if alone else None
        try:
            self.point("sleep", ready=moved)
        finally:
            thread.state = ThreadState.PARKED
        thread.slept = len(self.steps)
        self.clock = max(self.clock, until)
        self.touch("everything", "w")

    def wait_for_file(self, connection: Any, phase: object) -> bool:
        """SQLite would wait: park; True to try again, False when the timeout has expired.

        `phase` describes what the call holds by now: a retry that fails in the phase in
        which it began has changed nothing, and is erased from the schedule.
        """
        thread = self.running
        assert thread is not None
        if thread.cancelled:
            return False
        again = thread.state is ThreadState.WAITING
        if again and thread.phase == phase:
            self.steps.pop()
            self.schedule.pop()
            thread.taken -= 1
            thread.attempted, thread.in_the_way = len(self.steps), self._locks(connection)
            self.tried.add(thread.name)
            self.policy.erased(thread.name)
            chosen = self._decide()
        else:
            thread.step.outcome = "waits"
            if not again:
                thread.since = len(self.steps)
                thread.until = self.clock + connection.patience
            thread.state, thread.waiting, thread.phase = ThreadState.WAITING, connection, phase
            thread.attempted, thread.in_the_way = len(self.steps), self._locks(connection)
            self.touch("waiters", "w")
            chosen = self._next()
        try:
            self._hand_over(thread, chosen)
        except Cancelled:
            return False
        return not thread.timed_out

    def _locks(self, waiting: Any) -> list[tuple[object, ...]]:
        """The locks of all other connections: while they stay the same, `waiting` waits in vain."""
        return [other.seen_by_others() for other in self.connections if other is not waiting]

    def arrived(self, thread: ControlledThread) -> None:
        """The call that may have waited is over."""
        thread.state, thread.waiting = _PARKED, None
        if thread.cancelled:
            raise Cancelled

    def touch(self, resource: str, mode: str) -> None:
        """Note that the step being taken reads (``r``) or changes (``w``) a shared resource."""
        thread = self.running
        if not self.track or self.cancelling or thread is None:
            return
        if thread.step.touched.get(resource) != "w":
            thread.step.touched[resource] = mode

    def finish(self, thread: ControlledThread) -> None:
        """The thread's function is over: close what it left open, pass the baton on."""
        try:
            self._close_connections(thread)
        finally:
            thread.state = ThreadState.DONE
            assert thread.worker is not None
            self.workers.idle.append(thread.worker)
        last = None if self.cancelling else self.last
        if last is not None and all(before.done for before in last[0]):
            (_, name, job), self.last = last, None
            self.add(name, job).is_last = True
        chosen = None if self.cancelling else self._next()
        self.pass_on(chosen)

    def _close_connections(self, thread: ControlledThread) -> None:
        """What happens when a thread ends: its thread-locals go, its connections are closed."""
        thread.state = ThreadState.ENDING
        for values in thread.locals:
            values.clear()
        for connection in thread.connections:
            if connection.leave():
                self.notes.append(f"{thread.name} ended with an open transaction: rolled back")

    def give_up(self, failure: Exception) -> Cancelled:
        """End the run with `failure`; the thread that found it raises what is returned."""
        self.failure = failure
        if self.running is not None:
            self.running.cancelled = True
        return Cancelled()

    def share(self, what: str) -> None:
        """Note that the threads share something whose use is not always a step."""
        self.shares = self.shares or what

    def number(self, kind: str, shared: bool = True) -> int:
        """The next number of its kind in this run, from 1: stable names for resources."""
        self.names[kind] = self.names.get(kind, 0) + 1
        if shared:
            maker = "" if self.running is None else self.running.name
            self.numbered.append((kind, self.names[kind], maker))
        return self.names[kind]

    # -- choosing ----------------------------------------------------------------------

    def _hand_over(self, thread: ControlledThread, chosen: ControlledThread | None) -> None:
        if chosen is not thread:
            self.pass_on(chosen)
            assert thread.worker is not None
            thread.worker.go.acquire()
        if thread.cancelled:
            raise Cancelled

    def _next(self) -> ControlledThread | None:
        """The thread to run now: one that has not started, else the policy's; None to stop."""
        if self.failure is not None:
            return None
        if self.unstarted:
            return self.unstarted.pop(0)
        if self.tried:
            self.tried.clear()
        return self._decide()

    def _decide(self) -> ControlledThread | None:
        try:
            if self.observer is not None:
                self.may_connect = True
                self.observer(len(self.steps))
                self.may_connect = False
            offers = self.offers()
            if self._is_over(offers):
                return None
            decision = self.policy.pick(self, offers)
            return None if decision is None else self._begin_step(decision)
        except Exception as error:
            self.failure = error
            return None

    def _is_over(self, offers: list[str]) -> bool:
        if not offers:
            self.ended = self.ended or why_over(self.threads.values())
        elif len(self.steps) >= self.step_limit:
            last = self.steps[-1].thread
            self.ended = f"endless: cut after {self.step_limit} steps, {last} was last"
            # Who had not started: a replay must not start it either.
            self.schedule += [n + START for n, t in self.threads.items() if t.state is _NEW]
        else:
            return False
        return True

    def _begin_step(self, decision: str) -> ControlledThread:
        thread = self.threads.get(decision) or self.threads[thread_of(decision)]
        number = len(self.steps)
        began = thread.since - 1 if thread.state is _WAITING else number
        step = thread.next
        thread.step = Step(
            thread.name, step.label, step.sql, step.connection, step.parameters, began
        )
        thread.timed_out = False
        if decision != thread.name:
            self._note_expiry_or_start(thread, decision)
        thread.taken += 1
        self.steps.append(thread.step)
        self.schedule.append(decision)
        return thread

    def _note_expiry_or_start(self, thread: ControlledThread, decision: str) -> None:
        if decision.endswith(START):
            thread.state = ThreadState.PARKED
            return
        thread.timed_out = True
        thread.step.outcome = "timeout"
        self.clock = max(self.clock, thread.until)
        if self.track:
            thread.step.touched["everything"] = "w"
        circle = cycle(thread)
        if circle:
            self.cycles.append(circle)

    def offers(self) -> list[str]:
        """Who may be picked: those who can go on; if none, sleepers; if none, one timeout.

        A thread that starts late may do so once another has taken a step, or none can. It goes on
        to its first step if it can: what comes before takes no time of its own.

        Where waits may end at any step, their timeouts stand behind all others; a wait for the
        file ends only where another try is known to fail.
        """
        retries: list[str] = []  # first: a retry that fails is erased
        late: list[str] = []  # retries that can only fail, as far as the locks tell
        timeouts: list[str] = []
        ready: list[str] = []
        starts: list[str] = []
        sleepers: list[str] = []
        patient: list[ControlledThread] = []
        progress = len(self.steps)
        for name, thread in self.threads.items():
            state, can_go_on = thread.state, thread.next.ready
            if state is _DONE:
                continue
            if state is _WAITING:
                patient.append(thread)
                tries = progress > thread.attempted and name not in self.tried
                if not tries and not self.impatient:
                    continue
                in_vain = name in self.tried or thread.in_the_way == self._locks(thread.waiting)
                if in_vain:
                    timeouts.append(name + TIMEOUT)
                if tries:
                    (late if in_vain else retries).append(name)
            elif state is _NEW:
                starts.append(name + START)
            elif can_go_on is None or can_go_on():
                ready.append(name)
            elif state is ThreadState.SLEEPING:
                sleepers.append(name)
            elif thread.next.timeout is not None:
                patient.append(thread)
                timeouts.append(name + TIMEOUT)
        going = retries + ready
        if self.late:
            started = self.steps[-1] if progress else None
            if started is not None and started.label == "start" and started.thread in going:
                return [started.thread]
            going = (going + starts if progress else going) or starts
        going = going or sleepers
        if self.impatient and going + timeouts:
            return going + timeouts
        if going:
            return going
        if late:
            return late
        if patient:
            first = min(patient, key=lambda thread: (thread.until, thread.since))
            return [first.name + TIMEOUT]
        return []
