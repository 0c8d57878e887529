"""Locks whose acquiring is a step."""

from __future__ import annotations

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
