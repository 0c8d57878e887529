"""What a run knows, and the baton: which of its threads may go on.

Every thread of a run is parked on a lock of its own, and so is the controller. Whoever has the
baton wakes the next one and parks. The controller also watches: a thread that keeps the baton and
takes no step is asked to end, and at the end of a run all are.
"""

from __future__ import annotations

import ctypes
import random
import sys
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Collection
from typing import Any

from helpers.explorer.engine.threads import Cancelled, ControlledThread, ThreadState, WorkerPool
from helpers.explorer.program import START, TIMEOUT, Step

# Looked up at every step: an enum's members are slow to find.
_DONE, _WAITING, _NEW = ThreadState.DONE, ThreadState.WAITING, ThreadState.NEW

#: Seconds without a step after which a thread counts as stuck outside of any step.
STUCK_AFTER = 5.0

#: In so many small waits: on a machine that is busy otherwise they take longer, as all else does.
WAITS = 50


class Baton:
    """Who runs now, from the controller's side."""

    def __init__(self) -> None:
        self.threads: dict[str, ControlledThread] = {}
        self.running: ControlledThread | None = None
        self.schedule: list[str] = []
        self.ended = ""
        self.cancelling = self.baton_out = False
        self.control = allocate_lock()
        self.control.acquire()

    def lend_baton(self, thread: ControlledThread) -> None:
        """From the controller: let `thread` run, and wait until none does."""
        self.baton_out = True
        self._wake(thread)
        self._wait_for_control()

    def _wake(self, thread: ControlledThread) -> None:
        self.running = thread
        assert thread.worker is not None
        thread.worker.go.release()

    def pass_on(self, chosen: ControlledThread | None) -> None:
        """Wake the one who was chosen, or the controller if none was."""
        if chosen is None:
            self.running = None
            self.control.release()
        else:
            self._wake(chosen)

    def _wait_for_control(self) -> None:
        """Wait for the baton; a thread that takes no step in all that time is stuck."""
        seen: object = None
        while not any(self.control.acquire(timeout=STUCK_AFTER / WAITS) for _ in range(WAITS)):
            now = (self.running, len(self.schedule), self.cancelling)
            if now != seen:
                seen = now
            elif not self._unstick():
                if self.running is not None:
                    self.running.state = ThreadState.DONE
                self.baton_out = False
                raise RuntimeError(f"{self.ended}; nor can it be stopped")
        self.baton_out = False

    def _unstick(self) -> bool:
        """Ask the thread that takes no step to end; False if it was asked before."""
        thread = self.running
        if thread is None or thread.worker is None:
            return False
        ident = thread.worker.ident or 0
        frame = sys._current_frames().get(ident)
        line = frame.f_lineno if frame else 0
        function = frame.f_code.co_name if frame else "?"
        self.ended = (
            f"endless: {thread.name} takes no further step (line {line} of {function}); "
            "only SQL calls, locks, queues and sleeps are steps"
        )
        asked, thread.asked = thread.asked, True
        thread.cancelled = True
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        raise_in(ctypes.c_ulong(ident), ctypes.py_object(Cancelled))
        return not asked

    def cancel(self) -> None:
        """Unwind every thread that has not ended."""
        self.cancelling = True
        if self.baton_out:  # interrupted: whoever runs now ends at its next step
            for thread in self.threads.values():
                thread.cancelled = True
            if self.running is not None:
                self._wait_for_control()
            else:  # the baton is on its way back, or has come back already
                self.control.acquire(timeout=0.2)
        for thread in list(self.threads.values()):
            if not thread.done:
                thread.cancelled = True
                self.lend_baton(thread)
        self.running = None


class RunState(Baton):
    """What a run knows: who is where, who may go on, what has happened so far.

    With `track`, each step notes the shared resources that it touched.
    """

    def __init__(self, workers: WorkerPool, step_limit: int, track: bool, is_wal: bool) -> None:
        super().__init__()
        self.workers = workers
        self.step_limit = step_limit
        self.track = track
        self.is_wal = is_wal
        self.lends = True  # what a pool lends to a thread is that thread's own
        self.found_shared: set[str] = set()  # see `helpers.explorer.engine.confinement`
        self.late: Collection[str] = ()  # threads that start when the policy says so
        self.expire = False  # every busy timeout counts as 0
        self.impatient = False  # a wait may end at any step
        self.may_connect = False  # the connection being opened is not the program's
        self.clock = 0.0  # seconds that the program has waited, see `steps.primitives`
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
        self.shares = ""  # what the threads share that no step shows, see `steps.discovery`
        self.observer: Callable[[int], None] | None = None  # called after each step
        self.setting_up = get_ident()  # the controller's thread while it prepares the run

    def me(self) -> ControlledThread | None:
        """The program's thread that is calling; None for any other thread."""
        thread = self.running
        return thread if thread is not None and thread.ident == get_ident() else None

    def touch(self, resource: str, mode: str) -> None:
        """Note that the step being taken reads (``r``) or changes (``w``) a shared resource."""
        thread = self.running
        if not self.track or self.cancelling or thread is None:
            return
        if thread.step.touched.get(resource) != "w":
            thread.step.touched[resource] = mode

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

    def _locks(self, waiting: Any) -> list[tuple[object, ...]]:
        """The locks of all other connections: while they stay the same, `waiting` waits in vain."""
        return [other.seen_by_others() for other in self.connections if other is not waiting]

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
