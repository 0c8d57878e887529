"""Python's own locks, queues, threads and sleeps as steps.

For the duration of an exploration `stepping` replaces `threading.Lock`, `RLock`, `local`, the
starting and joining of threads, the queues, futures, `time.sleep`, the clocks, the functions of
`random`, `atexit.register` and `sqlite3.connect`. Only the program's threads notice; any other
thread gets the real ones. `Condition`, `Event`, `Semaphore` and `Barrier` are Python on top
of locks and need nothing extra.

Locks, queues and thread-locals that the program made earlier (in a notebook: in an earlier
cell) are found by `find_slots` from the thread functions, through global names, closures,
attributes, lists and dicts. Each schedule gets fresh ones in their places, and the
originals return at the end.

A connection that is opened by other means than `sqlite3.connect` is refused: its calls would be
no steps (`watch`).

Time and chance are the program's own, so that each schedule finds the same. Its clock stands
still but for what the program itself waits: `time.sleep` takes as long as it says, a timeout that
expires has passed. So a loop that tries until a deadline comes to its end where no other thread
lets it succeed. Libraries that wait for real, such as an event loop, see the real time. Each
thread draws the same random numbers in every run, as far as it uses the functions of the module
`random`; a generator of its own is its own affair.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import queue
import random
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.steps.connections import SteppingConnection
from helpers.explorer.steps.discovery import LOCK_TYPES, find_slots, items_of
from helpers.explorer.steps.locks import QUEUES, StepLock, StepRLock, future_methods, the_run
from helpers.explorer.steps.pools import LibraryLock, asked_by_library
from helpers.explorer.steps.watched import Waiting

_Lock = threading.Lock
_RLock = threading.RLock
_Local = threading.local
_start, _join, _is_alive = threading.Thread.start, threading.Thread.join, threading.Thread.is_alive


class StepLocal(threading.local):
    """`threading.local`: a thread of the program lets go of its values when it ends.

    The real thread that plays it goes on to play others, so this is the place to do it.
    """

    def __init__(self) -> None:
        # Python calls this once in each thread, when the thread first uses the object.
        run = Scheduler.here()
        controlled = None if run is None else run.me()
        if controlled is not None:
            controlled.locals.append(self.__dict__)


def _thread_start(thread: threading.Thread) -> None:
    run = Scheduler.here()
    if run is None:
        _start(thread)
        return
    name = thread.name
    if re.match(r"Thread-\d+", name):
        name = f"thread {run.number('thread')}"
    thread._explored = run.add(name, thread.run)  # type: ignore[attr-defined]
    run.touch(name, "w")
    run.share("a thread that another starts")


def _thread_join(thread: threading.Thread, timeout: float | None = None) -> None:
    run, controlled = Scheduler.here(), getattr(thread, "_explored", None)
    if run is None or controlled is None:
        _join(thread, timeout)
        return
    run.point(
        f"join {controlled.name}",
        ready=lambda: controlled.done,
        timeout=timeout,
        holders=lambda: [(controlled, "its end")],
        wants=f"the end of {controlled.name}",
    )
    run.touch("everything", "w")


def _thread_is_alive(thread: threading.Thread) -> bool:
    controlled = getattr(thread, "_explored", None)
    return _is_alive(thread) if controlled is None else not controlled.done


def _either(real: Callable[..., Any], stepping: Callable[..., Any]) -> Callable[..., Any]:
    """`stepping` for threads of the program that is explored, `real` for any other."""

    @functools.wraps(real, updated=())
    def choose(*args: Any, **options: Any) -> Any:
        return (real if Scheduler.here() is None else stepping)(*args, **options)

    return choose


def _sleep(seconds: float) -> None:
    run = the_run()
    if run.me() is not None:
        run.sleep(seconds)


def _replacements(waiting: Waiting) -> list[tuple[Any, str, Any]]:
    """What is replaced: (module or class, name, replacement)."""

    def connect(database: Any, *args: Any, **options: Any) -> SteppingConnection:
        return SteppingConnection(the_run(), waiting, database, *args, **options)

    connecting = _either(sqlite3.connect, connect)

    def lock() -> StepLock | LibraryLock:
        return LibraryLock(_Lock()) if asked_by_library(2) else StepLock()

    def rlock() -> StepRLock | LibraryLock:
        return LibraryLock(_RLock()) if asked_by_library(2) else StepRLock()

    return [
        (threading, "Lock", _either(_Lock, lock)),
        (threading, "RLock", _either(_RLock, rlock)),
        (
            threading,
            "_allocate_lock",
            _either(threading._allocate_lock, lambda: StepLock(waiter=True)),  # type: ignore[attr-defined]
        ),
        (threading, "local", StepLocal),
        (threading.Thread, "start", _thread_start),
        (threading.Thread, "join", _thread_join),
        (threading.Thread, "is_alive", _thread_is_alive),
        (time, "sleep", _either(time.sleep, _sleep)),
        # A run is not the process: what it would do at the end goes with it.
        (atexit, "register", _either(atexit.register, lambda function, *_, **__: function)),
        (atexit, "unregister", _either(atexit.unregister, lambda _: None)),
        *((module, "connect", connecting) for module in (sqlite3, sqlite3.dbapi2)),
        *((queue, real.__name__, _either(real, step)) for real, step in QUEUES.items()),
        *future_methods(),
        *(
            (module, name, _either(getattr(module, name), stepping))
            for module, name, stepping in _time_and_chance()
        ),
    ]


@contextlib.contextmanager
def stepping(waiting: Waiting, functions: Iterable[Any]) -> Iterator[Callable[[], None]]:
    """Replace the primitives; yields a function that puts fresh ones in the program's slots.

    To be called before each run, in the run's setting up. Everything is put back at the
    end, whatever happens.
    """
    watch()
    replaced = _replacements(waiting)
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    patched = {id(old): new for (_, _, old), (_, _, new) in zip(originals, replaced, strict=True)}
    slots = find_slots(functions, patched)

    def refresh() -> None:
        memo: dict[int, Any] = {}
        for slot in slots:
            slot.put(patched.get(id(slot.original)) or _rebuilt(slot.original, slot.name, memo))

    with contextlib.ExitStack() as stack:
        for slot in slots:
            stack.callback(slot.put, slot.original)
        for (owner, name, new), (_, _, old) in zip(replaced, originals, strict=True):
            stack.callback(setattr, owner, name, old)
            setattr(owner, name, new)
        yield refresh


def _rebuilt(original: Any, name: str, memo: dict[int, Any]) -> Any:
    """A fresh stepping object in the state in which the original was left; an RLock is free."""
    if id(original) not in memo:
        memo[id(original)] = _rebuild(original, name, memo)
    return memo[id(original)]


def _rebuild(original: Any, name: str, memo: dict[int, Any]) -> Any:
    if isinstance(original, LOCK_TYPES):
        if isinstance(original, LOCK_TYPES[1]):
            return StepRLock(name)
        new = StepLock(name)
        new.owner = "the program" if original.locked() else None
        return new
    if isinstance(original, threading.Condition):
        return threading.Condition(_rebuilt(vars(original)["_lock"], name, memo))
    if isinstance(original, threading.Event):
        event = threading.Event()
        event._flag = original.is_set()  # type: ignore[attr-defined]
        return event
    if isinstance(original, threading.Semaphore):
        semaphore = type(original)(original._value)
        if isinstance(original, threading.BoundedSemaphore):
            vars(semaphore)["_initial_value"] = vars(original)["_initial_value"]
        return semaphore
    if isinstance(original, threading.Barrier):
        action, timeout = original._action, original._timeout  # type: ignore[attr-defined]
        return threading.Barrier(original.parties, action, timeout)
    if isinstance(original, _Local):
        return StepLocal() if type(original) is _Local else type(original)()
    kind = next(k for k in (*QUEUES, queue.Queue) if type(original) is k or k is queue.Queue)
    new = QUEUES[kind](getattr(original, "maxsize", 0), name)
    for item in items_of(original):
        new._put(item)
    new.unfinished_tasks = getattr(original, "unfinished_tasks", 0)
    return new


class Unseen(RuntimeError):
    """The program opened a connection whose calls are no steps."""


@functools.cache
def watch() -> None:
    """From now on refuse such connections; only explored programs notice.

    By an audit hook (https://peps.python.org/pep-0578), which cannot be taken away again.
    """
    sys.addaudithook(_see)


def _see(event: str, _arguments: Any) -> None:
    if event == "sqlite3.connect":
        run = Scheduler.here()
        if run is not None and not run.may_connect:
            unseen = Unseen(
                "the program opens a connection by other means than sqlite3.connect, or by a "
                "sqlite3.connect that was kept where the explorer does not find it"
            )
            raise unseen if run.me() is None else run.give_up(unseen)


_CLOCKS = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns")
#: The functions of the module are methods of one generator.
_DRAWS = [name for name in random.__all__ if not isinstance(getattr(random, name), type)]


def _time_and_chance() -> list[tuple[Any, str, Callable[..., Any]]]:
    return [
        *((time, name, _clock(getattr(time, name))) for name in _CLOCKS),
        # The clock of conditions, semaphores and barriers, under the name that they know.
        (threading, "_time", _clock(threading._time)),  # type: ignore[attr-defined]
        *((random, name, _draw(name)) for name in _DRAWS),
    ]


def _clock(real: Callable[[], float]) -> Callable[[], float]:
    began = real()
    scale = 1e9 if isinstance(began, int) else 1

    def read() -> float:
        run = Scheduler.here()
        if run is None or asked_by_library(2):  # it waits for real, as an event loop does
            return real()
        return began + type(began)(run.clock * scale)

    return read


def _draw(name: str) -> Callable[..., Any]:
    def draw(*args: Any, **options: Any) -> Any:
        run = Scheduler.here()
        assert run is not None  # `_either` sees to it
        who = run.me() or run  # the run itself, while the program is set up
        if who.random is None:
            who.random = random.Random(who.name)
        return getattr(who.random, name)(*args, **options)

    return draw
