"""Python's locks, queues and futures, whose uses are steps.

A `concurrent.futures.Future` is one primitive here, and not the condition that it is built on.
Each method is one step at most: `result` and `exception` can be taken once there is an answer,
their timeout expires when no other can go on. Inside a method no thread is ever parked, so
the future of a program needs no lock. Futures made outside of the program stay as they are.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from helpers.explorer.engine.confinement import confined
from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ControlledThread


def the_run() -> Scheduler:
    """The run of the calling thread, which belongs to the program or sets it up."""
    run = Scheduler.here()
    if run is None:
        raise RuntimeError("a lock or queue of an explored program was used from outside of it")
    return run


class Named:
    """A shared Python object; numbered in the order of first use unless it has a name."""

    kind = "lock"

    def __init__(self, name: str = "") -> None:
        self._name = name

    @property
    def name(self) -> str:
        """How tables call it: the variable's name if it had one, else a number."""
        if not self._name:
            self._name = f"{self.kind} {the_run().number(self.kind)}"
        return self._name


class StepLock(Named):
    """`threading.Lock`: acquiring is a step that can be taken while it is free."""

    def __init__(self, name: str = "", waiter: bool = False) -> None:
        super().__init__(name)
        self.owner: ControlledThread | str | None = None
        self._fresh = waiter  # a condition's private lock: its first acquire is no step
        run = None if name or waiter else Scheduler.here()
        self._private = None if run is None else confined(run, "lock")

    def _free(self) -> bool:
        return self.owner is None

    def _holders(self) -> list[tuple[ControlledThread | None, str]]:
        return [(self.owner, self.name)] if isinstance(self.owner, ControlledThread) else []

    def _take(self) -> None:
        run = the_run()
        self.owner = run.me() or "the program"
        if self._private is None:
            run.touch(self.name, "w")

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`; a timeout expires when no other can move."""
        run = the_run()
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
            run.touch(self.name, "r")
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
        run = Scheduler.here()
        if self.owner is None:
            self.locked()
            raise RuntimeError("release unlocked lock")
        self.owner = None
        if not self._is_own(run) and run is not None:
            run.touch(self.name, "w")

    def locked(self) -> bool:
        """Whether a thread holds it."""
        run = Scheduler.here()
        if not self._is_own(run) and run is not None:
            run.touch(self.name, "r")
        return self.owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # What `threading.Condition` asks of a lock.
    def _is_owned(self) -> bool:
        return self.locked()

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
        me = the_run().me() or "the program"
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
        return self.owner is (the_run().me() or "the program")

    def _release_save(self) -> Any:
        count, self.count = self.count, 1
        self.release()
        return count

    def _acquire_restore(self, state: Any) -> None:
        self.acquire()
        self.count = state


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


_ANSWERED = ("CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED")

#: Methods that only look, and those that change something others may see: their labels.
_LOOKS = {"cancelled": "is it cancelled?", "running": "is it running?", "done": "is it done?"}
_CHANGES = {
    "cancel": "cancel",
    "add_done_callback": "add a callback to",
    "set_running_or_notify_cancel": "begin to work on",
    "set_result": "answer",
    "set_exception": "answer with an error",
}


class _NoLock:
    """In the place of a future's condition; keeps its name, numbered in the order of first use."""

    def __init__(self) -> None:
        self._name = ""

    def name(self, run: Scheduler) -> str:
        self._name = self._name or f"future {run.number('future')}"
        return self._name

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass

    notify_all = release

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass


def future_methods() -> list[tuple[Any, str, Any]]:
    """What is replaced for the duration of an exploration: (class, name, replacement)."""
    methods = {
        **{name: _step(getattr(Future, name), text, "r") for name, text in _LOOKS.items()},
        **{name: _step(getattr(Future, name), text, "w") for name, text in _CHANGES.items()},
        "result": _wait(Future.result),
        "exception": _wait(Future.exception),
        "__init__": _make(Future.__init__),
    }
    return [(Future, name, method) for name, method in methods.items()]


def _make(real: Callable[..., None]) -> Callable[..., None]:
    def make(future: Any) -> None:
        real(future)
        run = Scheduler.here()
        if run is not None:
            future._condition = _NoLock()
            run.share("a future")

    return make


def _here(future: Any) -> Scheduler | None:
    """The run, if the calling thread and the future belong to the program."""
    run = Scheduler.here()
    if run is None or run.me() is None or not isinstance(future._condition, _NoLock):
        return None
    return run


def _step(real: Callable[..., Any], label: str, mode: str) -> Callable[..., Any]:
    def step(future: Any, *args: Any) -> Any:
        run = _here(future)
        if run is not None:
            name = future._condition.name(run)
            run.point(f"{label} {name}" if mode == "w" else f"{name}: {label}")
            run.touch(name, mode)
        return real(future, *args)

    return step


def _wait(real: Callable[..., Any]) -> Callable[..., Any]:
    def wait(future: Any, timeout: float | None = None) -> Any:
        run = _here(future)
        if run is None:
            return real(future, timeout)
        name = future._condition.name(run)
        if not run.point(
            f"wait for {name}",
            ready=lambda: future._state in _ANSWERED,
            timeout=timeout,
            wants=name,
        ):
            raise TimeoutError
        run.touch(name, "r")
        return real(future, 0)

    return wait
