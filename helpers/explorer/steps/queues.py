"""Queues whose put, get and join are steps."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from helpers.explorer.steps.locks import Named, the_run


class _StepQueue(Named):
    """What the three kinds of `queue.Queue` have in common: put, get and join are steps."""

    kind = "queue"

    def __init__(self, maxsize: int = 0, name: str = "") -> None:
        Named.__init__(self, name)
        self.maxsize = maxsize
        self.unfinished_tasks = 0
        self._init(maxsize)  # type: ignore[attr-defined]

    def qsize(self) -> int:
        """As `queue.Queue.qsize`."""
        the_run().touch(self.name, "r")
        return self._size()

    def _size(self) -> int:
        return int(self._qsize())  # type: ignore[attr-defined]

    def empty(self) -> bool:
        """As `queue.Queue.empty`."""
        return self.qsize() == 0

    def full(self) -> bool:
        """As `queue.Queue.full`."""
        return 0 < self.maxsize <= self.qsize()

    def _wait(
        self, what: str, block: bool, timeout: float | None, ready: Callable[[], bool]
    ) -> bool:
        run = the_run()
        thread = run.me()
        # A finalizer may put back what a thread had taken that is being unwound.
        if thread is None or (thread.cancelled and what == "put into" and thread.gives_back()):
            return ready()
        if not block:
            run.point(f"{what} {self.name}")
            done = ready()
        else:
            done = run.point(f"{what} {self.name}", ready=ready, timeout=timeout, wants=self.name)
        run.touch(self.name, "w")
        return done

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `queue.Queue.put`."""
        if not self._wait("put into", block, timeout, lambda: not 0 < self.maxsize <= self._size()):
            raise queue.Full
        self._put(item)  # type: ignore[attr-defined]
        self.unfinished_tasks += 1
        if not isinstance(item, (type(None), bool, int, float, str, bytes)):
            the_run().share(f"a {type(item).__name__} in {self.name}")

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `queue.Queue.get`."""
        if not self._wait("get from", block, timeout, lambda: self._size() > 0):
            raise queue.Empty
        return self._get()  # type: ignore[attr-defined]

    def put_nowait(self, item: Any) -> None:
        """As `queue.Queue.put_nowait`."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """As `queue.Queue.get_nowait`."""
        return self.get(block=False)

    def task_done(self) -> None:
        """As `queue.Queue.task_done`."""
        if self.unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1
        the_run().touch(self.name, "w")

    def join(self) -> None:
        """As `queue.Queue.join`."""
        self._wait("join", True, None, lambda: self.unfinished_tasks == 0)


class StepQueue(_StepQueue, queue.Queue):  # type: ignore[type-arg]
    """`queue.Queue`, and `queue.SimpleQueue`."""


class StepLifoQueue(_StepQueue, queue.LifoQueue):  # type: ignore[type-arg]
    """`queue.LifoQueue`."""


class StepPriorityQueue(_StepQueue, queue.PriorityQueue):  # type: ignore[type-arg]
    """`queue.PriorityQueue`."""


QUEUES: dict[type, type] = {
    queue.Queue: StepQueue,
    queue.SimpleQueue: StepQueue,
    queue.LifoQueue: StepLifoQueue,
    queue.PriorityQueue: StepPriorityQueue,
}
