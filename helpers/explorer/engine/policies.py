"""Policies that need no search: a given schedule, and taking turns."""

from __future__ import annotations

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ThreadState, why_blocked
from helpers.explorer.program import START, TIMEOUT, ScheduleError, thread_of


class Replay:
    """A policy that takes the steps of a given schedule, then stops."""

    def __init__(self, schedule: list[str] | tuple[str, ...]) -> None:
        self.schedule = list(schedule)

    def pick(self, scheduler: Scheduler, offers: list[str]) -> str | None:
        """The next name of the schedule, None at its end.

        Raises:
            ScheduleError: if that thread cannot take a step now.
        """
        position = len(scheduler.schedule)
        if position > len(self.schedule) or scheduler.schedule != self.schedule[:position]:
            # A retry before a timeout was expected to fail.
            raise ScheduleError(f"step {position}: {scheduler.schedule[-1]} no longer has to wait")
        if position == len(self.schedule):
            return None
        name = self.schedule[position]
        if name not in offers:
            retry = before_timeout(scheduler, name, offers)
            if retry is None:
                raise ScheduleError(f"step {position + 1}: {_why_not(scheduler, name, offers)}")
            return retry
        return name

    def erased(self, name: str) -> None:
        """The chosen thread still waits; `pick` is asked again and says so."""


def before_timeout(scheduler: Scheduler, name: str, offers: list[str]) -> str | None:
    """A thread that has to try again, in vain, before the timeout `name` can expire; or None."""
    threads = scheduler.threads
    thread = threads.get(name)
    asleep = thread is not None and thread.state is ThreadState.SLEEPING
    if not (asleep or name.endswith(TIMEOUT)):
        return None
    return next((o for o in offers if o in threads and threads[o].waiting is not None), None)


class RoundRobin:
    """A policy that lets the threads take turns."""

    def pick(self, scheduler: Scheduler, offers: list[str]) -> str:
        """The offer that was chosen least often so far."""
        return min(offers, key=scheduler.schedule.count)

    def erased(self, name: str) -> None:
        """The chosen thread still waits; it is not offered again before another has moved."""


def _why_not(scheduler: Scheduler, name: str, offers: list[str]) -> str:
    thread = scheduler.threads.get(thread_of(name))
    can = f"can go on: {', '.join(offers)}"
    if thread is None:
        return f"there is no thread {name!r}; {can}"
    if thread.done:
        return f"{name} has ended; {can}"
    if name.endswith(START):
        if thread.state is ThreadState.NEW:
            return f"{thread.name} can start late only after a step of another; {can}"
        return f"{thread.name} has started; {can}"
    if name.endswith(TIMEOUT):
        return f"the timeout of {thread.name} expires only when nobody else can go on; {can}"
    why = why_blocked(thread) or f"{name} cannot be chosen now"
    return f"{why}; {can}"
