"""`concurrent.futures.Future` as one primitive, and not as the condition that it is built on.

Each method is one step at most: `result` and `exception` can be taken once there is an answer,
their timeout expires when no other can go on. Inside a method no thread is ever parked, so
the future of a program needs no lock. Futures made outside of the program stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from helpers.explorer.engine.scheduler import Scheduler

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


def replacements() -> list[tuple[Any, str, Any]]:
    """What is replaced for the duration of an exploration: (class, name, replacement)."""
    methods = {
        **{name: _step(getattr(Future, name), f"{text}", "r") for name, text in _LOOKS.items()},
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
