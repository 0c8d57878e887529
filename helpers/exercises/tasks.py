"""Exercises for tasks of asyncio: `check_tasks` runs a learner's `write` in every order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from helpers import databases
from helpers.exercises import lessons, progress
from helpers.exercises.verdict import Verdict
from helpers.explorer import Ending, Program, tasks
from helpers.workloads import Cancelled

#: What B returns if `write` kept the exception of its unit for itself.
NOT_TOLD = "was not told that its unit raised"
_NOT_TOLD = "Whoever called write believes that the unit is stored: raise the exception again."
_NO_RESULT = (
    "in every order both promises are kept; but the unit's result is dropped: return it to "
    "whoever called write, after the commit."
)
_CANCELLED = (
    "in every order both promises are kept; but a task was cancelled inside its unit, as by a "
    "timeout, and {}"
)
_STORED = (
    "its half stood in the next task's commit. asyncio.CancelledError is no Exception: which "
    "clause sees it?"
)
_RETURNED = "write returned as if nothing had been: raise CancelledError again."
_HELD = "the next task never came to its end: is the lock given back on every way out?"
#: Seconds that a write may take when no other is under way.
TIMEOUT = 5.0

#: What to think about, by the kind of the worst outcome.
_LESSONS = {
    "deadlock": "Is the lock taken, and not released when the unit raises?",
    "wrong": (
        "Whose commit was it, or whose rollback? A transaction belongs to the connection: from "
        "the unit's first call to its commit or rollback, no other task may use it."
    ),
    "error": "Does the exception of the unit reach whoever called write, and no other?",
    "endless": "Does every task come to an end?",
}


@progress.records
def check_tasks(write: Callable[[Any, Any], Any]) -> Verdict:
    """Run a learner's `write` in two tasks of asyncio, in every order of their calls.

    Args:
        write: a coroutine function of two arguments. The first has an aiosqlite ``connection``,
            shared by both tasks, and a ``lock``, an `asyncio.Lock`. The second is a unit of
            work, a coroutine function that takes the connection.

    A's unit pays 100 in, and must be stored; B's pays 100 in and then raises `Cancelled`, and
    nothing of it may be stored. It is solved when that is so in every order and `Cancelled`
    reaches B; when a task that is cancelled inside its unit is told so, stores nothing, and leaves
    the connection to the next one; and when that one gets what its unit returns.
    """
    found = tasks.explore(_payments(write))
    schedule = lessons.example(found)
    if schedule is None:
        reason = tasks.in_own_loop(lambda: _cancelled(write))
        kept = f"{found.schedules} orders, and both promises are kept in each"
        return Verdict(not reason, reason or kept, found)
    worst = found.outcomes[0][0]
    bad = found.schedules - found.counts.get("right", 0)
    ends = worst.ended if worst.kind == "deadlock" else worst.text
    reason = f"{bad} of {found.schedules} orders break a promise, for example {' '.join(schedule)}"
    lesson = _NOT_TOLD if NOT_TOLD in ends else _LESSONS[worst.kind]
    return Verdict(False, f"{reason}. It ends with {ends}. {lesson}", found)


class _SharedConnection:
    """What the two tasks of `check_tasks` share."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.lock = connection, asyncio.Lock()

    async def close(self) -> None:
        await self.connection.close()


_PAID = "paid"
_ADD = "UPDATE account SET balance = balance + 100 WHERE id = ?"


async def _share(path: str) -> _SharedConnection:
    import aiosqlite

    return _SharedConnection(await aiosqlite.connect(path))


async def _pay(connection: Any) -> str:
    await connection.execute(_ADD, [1])
    return _PAID


async def _cancelled(write: Callable[[Any, Any], Any]) -> str:
    """Cancel a task inside its unit, and let another one write; what went wrong, or empty."""
    inside = asyncio.Event()

    async def waits(connection: Any) -> None:
        await connection.execute(_ADD, [2])
        inside.set()
        await asyncio.Event().wait()

    with databases.fresh("accounts") as database:
        shared = await _share(os.fspath(database))
        try:
            task = asyncio.create_task(write(shared, waits))
            await inside.wait()
            task.cancel()
            await asyncio.wait([task], timeout=TIMEOUT)
            following = asyncio.create_task(write(shared, _pay))
            await asyncio.wait([following], timeout=TIMEOUT)
            if not following.done():
                following.cancel()
                return _CANCELLED.format(_HELD)
        finally:
            await shared.close()
        ((stored,),) = database.query("SELECT balance FROM account WHERE id = 2")
    if error := following.exception():
        return _CANCELLED.format(f"the next one is told {type(error).__name__}: {error}")
    if stored != 1000:
        return _CANCELLED.format(_STORED)
    if not task.cancelled():
        return _CANCELLED.format(_RETURNED)
    return "" if following.result() == _PAID else _NO_RESULT


def _payments(write: Callable[[Any, Any], Any]) -> Program:
    async def call_off(connection: Any) -> None:
        await connection.execute(_ADD, [2])
        raise Cancelled("called off")

    async def b(shared: _SharedConnection) -> str:
        try:
            await write(shared, call_off)
        except Cancelled:
            return "called off"
        return NOT_TOLD

    def kept(end: Ending) -> bool:
        promised = [(1100 if "A" in end.results else 1000,), (1000,)]
        return end.rows == promised and end.results.get("B", "called off") == "called off"

    jobs = {"A": lambda shared: write(shared, _pay), "B": b}
    look = "SELECT balance FROM account WHERE id <= 2"
    return Program("accounts", jobs, kept, "both promises are kept", look, share=_share)
