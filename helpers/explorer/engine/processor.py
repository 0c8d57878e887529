"""What a run asks of the machine: one processor for threads that take turns, no collector.

Of the threads of a run only one is ever awake. Waking the next one on another processor, which
has to be woken itself, takes about ten times as long as on the same one; and there, a thread that
wakes another should go on until it parks (SCHED_BATCH) instead of being interrupted at once by
the one it woke, which would find Python's lock still held. On a crowded machine it is better to
go wherever there is room. Where the system lets a thread choose (Linux: sched_setaffinity(2),
sched(7)), both are done; elsewhere nothing. The thread that searches takes part in the turns; so
it is one of its own (`apart`), and the caller's stays as it is.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

#: Seconds between two looks at how far a search has come.
LOOK = 0.1

#: Seconds for which one processor is kept. Then the system may choose again, for another
#: program may have come to run on this one.
SPELL = 0.05

#: Threads that want to run, for each processor, above which the machine is crowded. Measured: up
#: to about 7 one processor was quicker, from about 10 the free choice.
CROWDED = 5


def apart(progressing: Iterator[object]) -> Iterator[None]:
    """Go through `progressing` in a thread of its own, and yield now and then.

    Stop iterating, or interrupt it, to stop that thread after its next item.

    Raises:
        Exception: what `progressing` raises.
    """
    stopped = threading.Event()

    def go_on() -> None:
        with contextlib.closing(progressing):  # type: ignore[type-var]
            for _ in progressing:
                if stopped.is_set():
                    break

    pool = ThreadPoolExecutor(1, "search")
    future = pool.submit(contextvars.copy_context().run, go_on)
    try:
        while wait([future], LOOK).not_done:
            yield
    finally:
        stopped.set()
        while not future.done():  # another Ctrl-C must not leave it running
            with contextlib.suppress(KeyboardInterrupt):
                wait([future])
        pool.shutdown()
    future.result()


class Together:
    """A context manager that keeps the calling thread and others on one processor.

    Args:
        others: returns the native ids of the other threads. Threads that one of these starts
            later stay with it by themselves.
    """

    def __init__(self, others: Callable[[], Iterable[int]]) -> None:
        self._others = others
        self._allowed: set[int] = set()  # the processors to choose from; empty: change nothing
        self._here: Callable[[], int] = int
        self._pinned = False
        self._until = 0.0

    def __enter__(self) -> Together:
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):
                self._here = ctypes.CDLL(None).sched_getcpu
                if os.sched_getscheduler(0) == os.SCHED_OTHER:
                    self._allowed = os.sched_getaffinity(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def keep(self) -> None:
        """To be called before each run: stay, or let the system choose, or stay where it chose."""
        if len(self._allowed) < 2:
            return
        if not self._pinned and os.getloadavg()[0] < CROWDED * len(self._allowed):
            self._pinned = self._place({self._here()}, os.SCHED_BATCH)
            self._until = time.monotonic() + SPELL
        elif self._pinned and time.monotonic() > self._until:
            self._let_go()

    def _let_go(self) -> None:
        if self._pinned:
            self._pinned = False
            self._place(self._allowed, os.SCHED_OTHER)

    def _place(self, processors: set[int], policy: int) -> bool:
        """Let all threads run on `processors` only; False if the system refuses."""
        try:
            for thread in (0, *self._others()):
                os.sched_setaffinity(thread, processors)
                os.sched_setscheduler(thread, policy, os.sched_param(0))
        except OSError:  # the allowed processors were changed from outside, or a thread ended
            self._allowed = set()
            return False
        return True


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Collect nothing inside the ``with`` block; what is in no reference cycle goes as always.

    A collection stops every thread, in a notebook kernel for a tenth of a second or more, and
    calls finalizers in whichever thread it happens to be (https://docs.python.org/3/library/gc.html).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
