"""The baton: which thread of a run may go on, and how the controller gets it back.

Every thread of a run is parked on a lock of its own, and so is the controller. Whoever has the
baton wakes the next one and parks. The controller also watches: a thread that keeps the baton and
takes no step is asked to end, and at the end of a run all are.
"""

from __future__ import annotations

import ctypes
import sys
from _thread import allocate_lock

from helpers.explorer.engine.threads import Cancelled, ControlledThread, ThreadState

#: Seconds without a step after which a thread counts as stuck outside of any step.
TIMEOUT = 5.0


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
        while not self.control.acquire(timeout=TIMEOUT):
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
