"""A unit of work on its way through a writer's queue and back: with a future, or without."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from helpers.strategies import UnitOfWork


class Job:
    """A unit of work, a lock that opens when it is answered, and how it went, before that is told.

    A `Future` does the same at several times the cost, so `submit` has one and `write` has none.
    """

    __slots__ = ("answered", "error", "given_up", "next_ones", "result", "thread", "unit")

    def __init__(self, unit: UnitOfWork) -> None:
        self.unit = unit
        self.thread = threading.get_ident()
        # Those of the same group who are still to be woken.
        self.next_ones: Iterator[Job] = iter(())
        self.result: Any = None
        self.error: BaseException | None = None
        self.given_up = False
        self.answered = threading.Lock()
        self.answered.acquire()

    def give_up(self) -> None:
        """Nobody waits for the answer: do not begin if it has not begun."""
        self.given_up = True

    def begin(self) -> bool:
        """Whether the submitter still wants it."""
        return not self.given_up

    def answer(self) -> None:
        """Tell the submitter, unless the submitter was told."""
        if self.answered.locked():
            self.answered.release()


class Promise(Job):
    """A unit of work that a `Future` answers for."""

    __slots__ = ("future",)

    def __init__(self, unit: UnitOfWork) -> None:
        super().__init__(unit)
        self.thread = 0  # nobody waits in `write`
        self.future: Future[Any] = Future()

    def give_up(self) -> None:
        """Nobody waits for the answer."""
        self.future.cancel()

    def begin(self) -> bool:
        """Whether nobody has cancelled the future; now nobody can any more."""
        return self.future.set_running_or_notify_cancel()

    def answer(self) -> None:
        """Tell the submitter, unless the submitter has given up or was told."""
        if self.future.done() or not (self.future.running() or self.begin()):
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
