"""What a strategy refuses, and why; every message says what to do."""

from __future__ import annotations

import os


class StrategyError(RuntimeError):
    """A strategy refuses a unit of work. Nothing of it is stored, but for `WriterDied`."""


class ClosedError(StrategyError):
    """The strategy was closed."""

    def __init__(self, strategy: object) -> None:
        super().__init__(
            f"this {type(strategy).__name__} is closed: make a new one, or close it later"
        )


class ForkedError(StrategyError):
    """The strategy was made before a fork, and is used in the child."""


class NestedError(StrategyError):
    """A unit of work asked the strategy to run another one inside it."""

    def __init__(self, strategy: object) -> None:
        super().__init__(
            f"a unit of work called its own {type(strategy).__name__} again: pass the connection "
            "on to what it calls, or run the second unit after the first"
        )


class UnitError(StrategyError):
    """A unit of work broke the rules: it ended its transaction, or left work for later."""


class WaitTimeout(StrategyError, TimeoutError):
    """A thread waited too long for its turn, a connection, or room in the queue."""


class MovedError(StrategyError):
    """The database file was deleted or replaced while it was open.

    What the unit of work read came from, and what it wrote went into, a file without a name.
    """

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path} or its -wal file was deleted or replaced while it was open, and this unit of "
            "work did not happen in the file that is there now: close the strategy, make a new "
            "one, and leave the files of a database in use alone"
        )


class WriterDied(StrategyError):
    """The writer's thread ended before it could answer; the message says what is stored."""


class Process:
    """The process a strategy belongs to: a connection must not be carried across a fork.

    Source: https://www.sqlite.org/howtocorrupt.html, section 2.6.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_this(self) -> bool:
        """Whether the calling process is the one that made it."""
        return os.getpid() == self._pid

    def check(self, strategy: object) -> None:
        """Do nothing in the process that made it.

        Raises:
            ForkedError: in any other.
        """
        if not self.is_this:
            raise ForkedError(
                f"this {type(strategy).__name__} belongs to process {self._pid}, and this is "
                f"process {os.getpid()}, forked from it: make a new one in each process"
            )
