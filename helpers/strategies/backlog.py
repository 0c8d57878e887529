"""A queue with room for so many: whoever puts waits for room, whoever gets for something.

`queue.Queue` does the same with a lock and two conditions written in Python, at every put and
get. Here each is one call of C, as long as there is room: the rest is for a full queue.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """A queue of `limit` items, first in, first out: any thread may put, one thread gets.

    Threads that put at the very same moment may exceed the limit, by one each: it bounds the
    memory, and that does not need a lock.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._called = False  # one of the items only wakes the thread that gets
        self._room = threading.Condition(threading.Lock())
        self._outside = 0  # threads that wait for room, or are about to
        self._wanted = 0  # see `gather`
        self._gathered = threading.Lock()
        self._gathered.acquire()

    def __len__(self) -> int:
        return max(0, self._items.qsize() - self._called)

    def put(self, item: Item, timeout: float) -> None:
        """Add `item`, waiting at most `timeout` seconds for room.

        Raises:
            queue.Full: if there was none in all that time.
        """
        if not self._outside and self._items.qsize() < self.limit:
            self._items.put(item)
        else:
            self._put_later(item, timeout)
        if 0 < self._wanted <= self._items.qsize():
            self._wanted = 0
            with contextlib.suppress(RuntimeError):  # another thread was as quick
                self._gathered.release()

    def _put_later(self, item: Item, timeout: float) -> None:
        with self._room:
            self._outside += 1
            try:
                if not self._room.wait_for(lambda: self._items.qsize() < self.limit, timeout):
                    raise queue.Full
                self._items.put(item)
            finally:
                self._outside -= 1

    def get(self, block: bool) -> Item | None:
        """Take the oldest item; None only after a `call`.

        Raises:
            queue.Empty: if there is none and `block` is false.
        """
        item = self._items.get(block)
        if item is None:
            self._called = False
        if self._outside:
            with self._room:
                self._room.notify()
        return item

    def gather(self, count: int, timeout: float) -> bool:
        """Wait at most `timeout` seconds until there are `count` items; whether there are.

        For the thread that gets: it is woken once, not by each of them.
        """
        self._wanted = count
        if self._items.qsize() < count:
            self._gathered.acquire(timeout=timeout)
        self._wanted = 0
        self._gathered.acquire(blocking=False)
        return self._items.qsize() >= count

    def call(self) -> None:
        """Wake the thread that gets, if it waits for an item."""
        if self._items.empty():
            self._called = True
            self._items.put(None)
