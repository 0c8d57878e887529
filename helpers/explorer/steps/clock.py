"""Time and chance in an explored program: its own, so that each schedule finds the same.

A clock that stands still but for what the program itself waits: `time.sleep` takes as long as it
says, a timeout that expires has passed. So a loop that tries until a deadline comes to its end
where no other thread lets it succeed. Libraries that wait for real, such as an event loop, see
the real time. Each thread draws the same random numbers in every run, as far as it uses the
functions of the module `random`; a generator of its own is its own affair.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.steps.pools import asked_by_library

_CLOCKS = ("monotonic", "perf_counter", "time")
_DRAWS = (
    "random", "uniform", "randint", "randrange", "getrandbits", "randbytes", "choice",
    "choices", "sample", "shuffle", "triangular", "gauss", "expovariate", "seed",
)  # fmt: skip


def replacements() -> list[tuple[Any, str, Callable[..., Any]]]:
    """What is replaced for the duration of an exploration: (module, name, replacement)."""
    return [
        *((time, name, _clock(getattr(time, name))) for name in _CLOCKS),
        # The clock of conditions, semaphores and barriers, under the name that they know.
        (threading, "_time", _clock(threading._time)),  # type: ignore[attr-defined]
        *((random, name, _draw(name)) for name in _DRAWS),
    ]


def _clock(real: Callable[[], float]) -> Callable[[], float]:
    began = real()

    def read() -> float:
        run = Scheduler.here()
        if run is None or asked_by_library(2):  # it waits for real, as an event loop does
            return real()
        return began + run.clock

    return read


def _draw(name: str) -> Callable[..., Any]:
    def draw(*args: Any, **options: Any) -> Any:
        run = Scheduler.here()
        assert run is not None  # `primitives` sees to it
        who = run.me() or run  # the run itself, while the program is set up
        if who.random is None:
            who.random = random.Random(who.name)
        return getattr(who.random, name)(*args, **options)

    return draw
