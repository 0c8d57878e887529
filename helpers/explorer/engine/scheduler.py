"""Baton passing: real threads, of which exactly one runs at a time, in an order you choose.

Every thread of a program is a `ControlledThread`, played by a real thread that is parked on a raw
lock of its own. A thread that reaches a scheduling point (`Scheduler.point`) picks the
next one and wakes it; picking itself costs no switch. Which one is picked is decided by
a `SchedulingPolicy`: a list of names, a depth-first search, a random number.

The architecture is that of CHESS (Musuvathi et al., OSDI 2008), loom and shuttle: make
threads take turns, switch only at synchronisation, replay from the start.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from helpers.explorer.engine.run_state import RunState
from helpers.explorer.engine.threads import (
    Cancelled,
    ControlledThread,
    PendingStep,
    ThreadState,
    WorkerPool,
    alone,
    cycle,
    why_over,
)  # fmt: skip
from helpers.explorer.program import START, Step, thread_of

# Looked up at every step: an enum's members are slow to find.
_WAITING, _PARKED, _NEW = ThreadState.WAITING, ThreadState.PARKED, ThreadState.NEW


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


class Scheduler(RunState):
    """One run of a program, step by step."""

    def __init__(
        self,
        workers: WorkerPool,
        policy: SchedulingPolicy,
        step_limit: int,
        track: bool,
        is_wal: bool,
    ) -> None:
        super().__init__(workers, step_limit, track, is_wal)
        self.policy = policy

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

    def arrived(self, thread: ControlledThread) -> None:
        """The call that may have waited is over."""
        thread.state, thread.waiting = _PARKED, None
        if thread.cancelled:
            raise Cancelled

    def finish(self, thread: ControlledThread) -> None:
        """The thread's function is over: close what it left open, pass the baton on."""
        if thread.done:  # it was given up, and nobody waits for it
            return
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
