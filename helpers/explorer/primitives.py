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
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from helpers.explorer import clock, futures
from helpers.explorer.actors import Actor
from helpers.explorer.connections import SteppingConnection
from helpers.explorer.guard import watch
from helpers.explorer.pools import LibraryLock, asked_by_library
from helpers.explorer.privacy import private
from helpers.explorer.scheduler import Scheduler
from helpers.explorer.slots import LOCK_TYPES, find_slots
from helpers.explorer.waiting import Waiting

_Lock = threading.Lock
_RLock = threading.RLock
_Local = threading.local
_start, _join, _is_alive = threading.Thread.start, threading.Thread.join, threading.Thread.is_alive


def _run() -> Scheduler:
    run = Scheduler.here()
    if run is None:
        raise RuntimeError("a lock or queue of an explored program was used from outside of it")
    return run


class _Named:
    """A shared Python object; numbered in the order of first use unless it has a name."""

    kind = "lock"

    def __init__(self, name: str = "") -> None:
        self._name = name

    @property
    def name(self) -> str:
        """How tables call it: the variable's name if it had one, else a number."""
        if not self._name:
            self._name = f"{self.kind} {_run().number(self.kind)}"
        return self._name


class StepLock(_Named):
    """`threading.Lock`: acquiring is a step that can be taken while nobody holds it."""

    def __init__(self, name: str = "", waiter: bool = False) -> None:
        super().__init__(name)
        self.owner: Actor | str | None = None
        self._fresh = waiter  # a condition's private lock: its first acquire is no step
        run = None if name or waiter else Scheduler.here()
        self._private = None if run is None else private(run, "lock")

    def _free(self) -> bool:
        return self.owner is None

    def _holders(self) -> list[tuple[Actor | None, str]]:
        return [(self.owner, self.name)] if isinstance(self.owner, Actor) else []

    def _take(self) -> None:
        run = _run()
        self.owner = run.me() or "the program"
        if self._private is None:
            run.touch(self.name, "w")

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`; a timeout expires when nobody else can move."""
        run = _run()
        if self._fresh or run.me() is None or self._is_own(run, is_step=not self._free()):
            self._fresh = False
        elif not blocking:
            run.point(f"try {self.name}")
        elif not run.point(
            f"acquire {self.name}",
            ready=self._free,
            timeout=timeout if timeout >= 0 else None,
            holders=self._holders,
            wants=self.name,
        ):
            return False
        if not self._free():
            return False
        self._take()
        return True

    def _is_own(self, run: Scheduler | None, is_step: bool = False) -> bool:
        """Whether this use is no step, for only this thread has used it so far."""
        if self._private is None or run is None:
            return False
        if self._private.ends(run):
            self._private = None
        elif not is_step:
            self._private.note()
        return self._private is not None and not is_step

    def release(self) -> None:
        """As `threading.Lock.release`; no step of its own, it belongs to the one before."""
        if self.owner is None:
            raise RuntimeError("release unlocked lock")
        self.owner = None
        run = Scheduler.here()
        if not self._is_own(run) and run is not None:
            run.touch(self.name, "w")

    def locked(self) -> bool:
        """Whether somebody holds it."""
        self._is_own(Scheduler.here())
        return self.owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # What `threading.Condition` asks of a lock.
    def _is_owned(self) -> bool:
        return self.owner is not None

    def _release_save(self) -> Any:
        self.release()

    def _acquire_restore(self, _state: Any) -> None:
        self.acquire()


class StepRLock(StepLock):
    """`threading.RLock`: the holder may acquire it again."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.RLock.acquire`; acquiring again is no step."""
        me = _run().me() or "the program"
        if self.owner is not me and not super().acquire(blocking, timeout):
            return False
        self.count += 1
        return True

    def release(self) -> None:
        """As `threading.RLock.release`."""
        run = Scheduler.here()
        if run is not None and self.owner is not (run.me() or "the program"):
            raise RuntimeError("cannot release un-acquired lock")
        self.count -= 1
        if self.count == 0:
            super().release()

    def _is_owned(self) -> bool:
        return self.owner is (_run().me() or "the program")

    def _release_save(self) -> Any:
        count, self.count = self.count, 1
        self.release()
        return count

    def _acquire_restore(self, state: Any) -> None:
        self.acquire()
        self.count = state


class StepLocal(threading.local):
    """`threading.local`: a thread of the program lets go of its values when it ends.

    The real thread that plays it goes on to play others, so nobody else would do it.
    """

    def __init__(self) -> None:
        # Python calls this once in each thread, when the thread first uses the object.
        run = Scheduler.here()
        actor = None if run is None else run.me()
        if actor is not None:
            actor.locals.append(self.__dict__)


class _StepQueue(_Named):
    """What the three kinds of `queue.Queue` have in common: put, get and join are steps."""

    kind = "queue"

    def __init__(self, maxsize: int = 0, name: str = "") -> None:
        _Named.__init__(self, name)
        self.maxsize = maxsize
        self.unfinished_tasks = 0
        self._init(maxsize)  # type: ignore[attr-defined]

    def qsize(self) -> int:
        """As `queue.Queue.qsize`."""
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
        run = _run()
        actor = run.me()
        # A finalizer may put back what a thread had taken that is being unwound.
        if actor is None or (actor.cancelled and what == "put into" and actor.gives_back()):
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
        if not self._wait("put into", block, timeout, lambda: not self.full()):
            raise queue.Full
        self._put(item)  # type: ignore[attr-defined]
        self.unfinished_tasks += 1

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `queue.Queue.get`."""
        if not self._wait("get from", block, timeout, lambda: not self.empty()):
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
        _run().touch(self.name, "w")

    def join(self) -> None:
        """As `queue.Queue.join`."""
        self._wait("join", True, None, lambda: self.unfinished_tasks == 0)


class StepQueue(_StepQueue, queue.Queue):  # type: ignore[type-arg]
    """`queue.Queue`, and `queue.SimpleQueue`."""


class StepLifoQueue(_StepQueue, queue.LifoQueue):  # type: ignore[type-arg]
    """`queue.LifoQueue`."""


class StepPriorityQueue(_StepQueue, queue.PriorityQueue):  # type: ignore[type-arg]
    """`queue.PriorityQueue`."""


_QUEUES: dict[type, type] = {
    queue.Queue: StepQueue,
    queue.SimpleQueue: StepQueue,
    queue.LifoQueue: StepLifoQueue,
    queue.PriorityQueue: StepPriorityQueue,
}


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


def _thread_join(thread: threading.Thread, timeout: float | None = None) -> None:
    run, actor = Scheduler.here(), getattr(thread, "_explored", None)
    if run is None or actor is None:
        _join(thread, timeout)
        return
    run.point(
        f"join {actor.name}",
        ready=lambda: actor.done,
        timeout=timeout,
        holders=lambda: [(actor, "its end")],
        wants=f"the end of {actor.name}",
    )
    run.touch("everything", "w")


def _thread_is_alive(thread: threading.Thread) -> bool:
    actor = getattr(thread, "_explored", None)
    return _is_alive(thread) if actor is None else not actor.done


def _either(real: Callable[..., Any], stepping: Callable[..., Any]) -> Callable[..., Any]:
    """`stepping` for threads of the program that is explored, `real` for any other."""

    @functools.wraps(real, updated=())
    def choose(*args: Any, **options: Any) -> Any:
        return (real if Scheduler.here() is None else stepping)(*args, **options)

    return choose


def _sleep(seconds: float) -> None:
    run = _run()
    if run.me() is not None:
        run.sleep(seconds)


def _replacements(waiting: Waiting) -> list[tuple[Any, str, Any]]:
    """What is replaced: (module or class, name, replacement)."""

    def connect(database: Any, *args: Any, **options: Any) -> SteppingConnection:
        return SteppingConnection(_run(), waiting, database, *args, **options)

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
        *((queue, real.__name__, _either(real, step)) for real, step in _QUEUES.items()),
        *futures.replacements(),
        *(
            (module, name, _either(getattr(module, name), stepping))
            for module, name, stepping in clock.replacements()
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

    try:
        for owner, name, new in replaced:
            setattr(owner, name, new)
        yield refresh
    finally:
        for owner, name, old in originals:
            setattr(owner, name, old)
        for slot in slots:
            slot.put(slot.original)


def _rebuilt(original: Any, name: str, memo: dict[int, Any]) -> Any:
    """A fresh stepping object in the state in which the original was left."""
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
        return type(original)(original._value)
    if isinstance(original, threading.Barrier):
        return threading.Barrier(original.parties)
    if isinstance(original, _Local):
        return StepLocal() if type(original) is _Local else type(original)()
    kind = next(k for k in (*_QUEUES, queue.Queue) if type(original) is k or k is queue.Queue)
    new = _QUEUES[kind](getattr(original, "maxsize", 0), name)
    for item in getattr(original, "queue", ()):
        new._put(item)
    return new
