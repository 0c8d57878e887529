"""A lock that is a queue: whoever asked first is next.

`threading.Lock` promises no order. A thread that releases it and asks again at once mostly
gets it again, and the others starve; SQLite's busy handler is no queue either. Here
`release` hands the lock over to the thread that has waited longest.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic


class _Turn:
    """One thread's place in the queue, and later its hold on the lock."""

    __slots__ = ("call", "since", "thread")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.since = monotonic()
        self.call: threading.Lock | None = None


class FairLock:
    """A lock that is handed over in the order of asking. Not re-entrant.

    It knows who holds it and since when, so that a thread that waits in vain can say whom
    it waited for. A thread that is interrupted while it waits (Ctrl-C) leaves the queue, and
    passes the lock on if it was handed over at that very moment.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[_Turn] = deque()
        self._holder: _Turn | None = None

    def acquire(self, timeout: float = -1) -> bool:
        """Take the lock, waiting for at most `timeout` seconds (-1: for ever); False if in vain."""
        turn = _Turn()
        try:
            with self._guard:
                if self._holder is None:
                    self._holder = turn
                    return True
                turn.call = threading.Lock()
                turn.call.acquire()
                self._waiting.append(turn)
            if not turn.call.acquire(timeout=timeout) and self._leave(turn):
                return False
            turn.since = monotonic()
            return True
        except BaseException:
            if not self._leave(turn):
                self._pass_on(turn)
            raise

    def release(self) -> None:
        """Hand the lock over to the thread that has waited longest, if one does.

        Raises:
            RuntimeError: if the calling thread does not hold it.
        """
        holder = self._holder
        if holder is None or holder.thread is not threading.current_thread():
            raise RuntimeError(f"only the thread that holds the lock can release it: it is {self}")
        self._pass_on(holder)

    def _pass_on(self, turn: _Turn) -> None:
        """End `turn`, if it holds the lock. No call stands between the steps, to interrupt them."""
        with self._guard:
            if self._holder is turn:
                self._holder = following = self._waiting[0] if self._waiting else None
                if following is not None:
                    del self._waiting[0]
                    following.call.release()  # type: ignore[union-attr]

    def _leave(self, turn: _Turn) -> bool:
        """Leave the queue; False if the lock was handed over in the last moment."""
        with self._guard:
            if self._holder is turn:
                return False
            if turn in self._waiting:
                self._waiting.remove(turn)
            return True

    @property
    def mine(self) -> bool:
        """Whether the calling thread holds the lock."""
        holder = self._holder
        return holder is not None and holder.thread is threading.current_thread()

    def __str__(self) -> str:
        holder = self._holder
        if holder is None:
            return "free"
        return f"held by thread {holder.thread.name} for {monotonic() - holder.since:.1f} s"
