"""Exercises for tasks of asyncio: `check_tasks` runs a learner's `write` in every order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from helpers import tasks
from helpers.exercises import Verdict, lessons
from helpers.explorer import Ending, Program
from helpers.workloads import Cancelled

#: What B returns if `write` kept the exception of its unit for itself.
NOT_TOLD = "was not told that its unit raised"
_NOT_TOLD = "Whoever called write believes that the unit is stored: raise the exception again."

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


def check_tasks(write: Callable[[Any, Any], Any]) -> Verdict:
    """Run a learner's `write` in two tasks of asyncio, in every order of their calls.

    Args:
        write: a coroutine function of two arguments. The first has an aiosqlite ``connection``,
            shared by both tasks, and a ``lock``, an `asyncio.Lock`. The second is a unit of
            work, a coroutine function that takes the connection.

    A's unit pays 100 in, and must be stored; B's pays 100 in and then raises `Cancelled`, and
    nothing of it may be stored. It is solved when that is so in every order, and `Cancelled`
    reaches B.
    """
    found = tasks.explore(_payments(write))
    schedule = lessons.example(found)
    if schedule is None:
        return Verdict(True, f"{found.schedules} orders, and both promises are kept in each")
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


def _payments(write: Callable[[Any, Any], Any]) -> Program:
    add = "UPDATE account SET balance = balance + 100 WHERE id = ?"

    async def share(path: str) -> _SharedConnection:
        import aiosqlite

        return _SharedConnection(await aiosqlite.connect(path))

    async def pay(connection: Any) -> None:
        await connection.execute(add, [1])

    async def call_off(connection: Any) -> None:
        await connection.execute(add, [2])
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

    jobs = {"A": lambda shared: write(shared, pay), "B": b}
    look = "SELECT balance FROM account WHERE id <= 2"
    return Program("accounts", jobs, kept, "both promises are kept", look, share=share)
