"""Run a unit of work again when SQLite refused it because somebody else was writing."""

from __future__ import annotations

import functools
import inspect
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

#: Result codes (https://www.sqlite.org/rescode.html): another connection holds a lock, or
#: another one with the same shared cache does. Plain SQLITE_LOCKED is no reason to try again:
#: it is a conflict within one connection, which comes back every time.
_BUSY, _LOCKED_SHAREDCACHE = 5, 262


def is_busy(error: BaseException) -> bool:
    """Whether `error` says that the same unit of work may succeed a moment later.

    True for SQLITE_BUSY and what extends it, SQLITE_BUSY_SNAPSHOT above all, and for
    SQLITE_LOCKED_SHAREDCACHE.
    """
    code = getattr(error, "sqlite_errorcode", None) or 0
    refused = code & 0xFF == _BUSY or code == _LOCKED_SHAREDCACHE
    return isinstance(error, sqlite3.OperationalError) and refused


@dataclass(frozen=True)
class Retry:
    """Call a function again, from its beginning, until SQLite no longer refuses it.

    Only the *whole* unit of work may be repeated, with a new BEGIN and new reads: what was
    read in the refused transaction is out of date, and that is why it was refused. The pause
    before each new try grows, and is drawn at random (full jitter), so that two threads which
    refused each other do not meet again.

    Works as a decorator too: ``@Retry(seconds=2)``.

    Attributes:
        seconds: after this time the last error is raised, with a note that says how often it
            was tried.
        base_delay: longest pause before the second try, in seconds; it doubles with each try.
        max_delay: no pause is longer, in seconds.
    """

    seconds: float = 5.0
    base_delay: float = 0.001
    max_delay: float = 0.1

    def __post_init__(self) -> None:
        for name in ("seconds", "base_delay", "max_delay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)!r}")

    def call(
        self,
        function: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Result:
        """What `function` returns, as soon as it is not refused.

        Raises:
            sqlite3.OperationalError: the last refusal, when `seconds` have passed.
            Exception: anything else that `function` raises, at once.
        """
        began = time.monotonic()
        tries = 1
        while True:
            try:
                return function(*args, **keywords)
            except sqlite3.OperationalError as error:
                passed = time.monotonic() - began
                if not is_busy(error) or passed >= self.seconds:
                    if tries > 1:
                        error.add_note(f"given up after {tries} tries in {passed:.1f} s")
                    raise
            limit = min(self.max_delay, self.base_delay * 2 ** min(tries - 1, 30))
            time.sleep(random.uniform(0, limit))
            tries += 1

    def __call__(self, function: Callable[Parameters, Result], /) -> Callable[Parameters, Result]:
        """Decorate `function` so that each call of it goes through `call`.

        Raises:
            TypeError: for a coroutine function or a generator function, whose work happens after
                the call.
        """
        later = inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction
        if any(is_one(function) for is_one in later):
            name = getattr(function, "__name__", function)
            raise TypeError(f"cannot run {name} again: it must be a plain function")

        @functools.wraps(function)
        def retried(*args: Parameters.args, **keywords: Parameters.kwargs) -> Result:
            return self.call(function, *args, **keywords)

        return retried
