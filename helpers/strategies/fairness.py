"""A lock that is a queue: whoever asked first is next.

`threading.Lock` promises no order. A thread that releases it and asks again at once mostly
gets it again, and the others starve; SQLite's busy handler is no queue either. Here
`release` hands the lock over to the thread that has waited longest.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic


class FairLock:
    """A lock that is handed over in the order of asking. Not re-entrant.

    It knows who holds it and since when, so that a thread that waits in vain can say whom
    it waited for.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False
        self._holder: tuple[threading.Thread, float] | None = None

    def acquire(self, timeout: float = -1) -> bool:
        """Take the lock, waiting for at most `timeout` seconds (-1: for ever); False if in vain."""
        with self._guard:
            if not self._held:
                self._held = True
                turn = None
            else:
                turn = threading.Lock()
                turn.acquire()
                self._waiting.append(turn)
        if turn is not None and not turn.acquire(timeout=timeout) and self._gives_up(turn):
            return False
        self._holder = (threading.current_thread(), monotonic())
        return True

    def release(self) -> None:
        """Hand the lock over to the thread that has waited longest, if one does."""
        self._holder = None
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False

    def _gives_up(self, turn: threading.Lock) -> bool:
        """Leave the queue; False if the lock was handed over in the last moment."""
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return True
            return False

    @property
    def mine(self) -> bool:
        """Whether the calling thread holds the lock."""
        holder = self._holder
        return holder is not None and holder[0] is threading.current_thread()

    def __str__(self) -> str:
        holder = self._holder
        if holder is None:
            return "free"
        return f"held by thread {holder[0].name} for {monotonic() - holder[1]:.1f} s"
