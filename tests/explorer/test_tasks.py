"""Tasks of asyncio in every order of their calls."""

import asyncio
import itertools
import sqlite3
import threading

import pytest

pytest.importorskip("aiosqlite")
import aiosqlite

from helpers.explorer import Diverged, Program, ScheduleError, tasks

LOOK = "SELECT balance FROM account WHERE id <= 2 ORDER BY id"


class Shared:
    """One connection, and a lock that the jobs may use."""

    def __init__(self, connection):
        self.connection, self.lock = connection, asyncio.Lock()

    async def close(self):
        await self.connection.close()


async def share(path):
    return Shared(await aiosqlite.connect(path))


async def add(connection, account):
    sql = "UPDATE account SET balance = balance + 100 WHERE id = ?"
    await connection.execute(sql, [account])


async def pay(shared):
    await add(shared.connection, 1)
    await shared.connection.commit()


async def call_off(shared):
    await add(shared.connection, 2)
    await shared.connection.rollback()


def locked(job):
    async def under_lock(shared):
        async with shared.lock:
            await job(shared)

    return under_lock


def program(a=pay, b=call_off, **options):
    return Program(
        "accounts", {"A": a, "B": b}, lambda end: end.rows == [(1100,), (1000,)],
        look=LOOK, share=share, **options,
    )  # fmt: skip


def test_two_tasks_on_one_connection_leak_in_most_orders():
    found = tasks.explore(program())
    assert found.complete
    assert found.counts == {"wrong": 4, "right": 2}
    assert found == tasks.explore(program())


def test_a_lock_over_the_transaction_leaves_two_orders():
    found = tasks.explore(program(locked(pay), locked(call_off)))
    assert found.proved
    assert found.schedules == 2
    labels = tasks.replay(found.program, "B B B A A A")["call"]
    assert list(labels)[::3] == ["acquire the lock"] * 2


def test_a_schedule_is_replayed_call_by_call():
    table = tasks.replay(program(), "A B A B")
    assert list(table["task"]) == ["A", "B", "A", "B"]
    assert [call.split()[0] for call in table["call"]] == ["UPDATE", "UPDATE", "COMMIT", "ROLLBACK"]
    assert list(table["in the file"]) == ["(1000), (1000)"] * 2 + ["(1100), (1100)"] * 2


def test_a_schedule_that_cannot_be_is_refused():
    with pytest.raises(ScheduleError, match="call 2: task B cannot be chosen now; can go on: A"):
        tasks.replay(program(locked(pay), locked(call_off)), "A B")


def test_errors_and_results_are_outcomes():
    async def fails(shared):
        await shared.connection.execute("SELECT * FROM absent")

    async def counts(shared):
        rows = await shared.connection.execute_fetchall("SELECT count(*) FROM account")
        return next(iter(rows))[0]

    found = tasks.explore(program(fails, counts))
    ((outcome, count, _),) = found.outcomes
    assert count == 2
    assert dict(outcome.threads)["A"] == "OperationalError: no such table: absent"
    assert dict(outcome.threads)["B"] == "returned 10"


def test_tasks_that_wait_for_each_other_are_a_deadlock(monkeypatch):
    monkeypatch.setattr(tasks, "TIMEOUT", 0.3)

    async def takes(shared, first, second):
        async with first:
            await add(shared.connection, 1)
            async with second:
                await shared.connection.rollback()

    async def share_two(path):
        shared = await share(path)
        shared.other = asyncio.Lock()
        return shared

    both = Program(
        "accounts",
        {"A": lambda s: takes(s, s.lock, s.other), "B": lambda s: takes(s, s.other, s.lock)},
        lambda end: True, look=LOOK, share=share_two,
    )  # fmt: skip
    found = tasks.explore(both)
    assert found.counts["deadlock"]
    assert "waiting: A, B" in next(o.text for o, _, _ in found.outcomes if o.kind == "deadlock")


def test_a_task_that_sleeps_is_waited_for():
    async def sleepy(shared):
        await asyncio.sleep(0.05)
        await pay(shared)

    assert tasks.explore(program(sleepy, locked(call_off))).complete


def test_nothing_is_left_and_everything_is_put_back():
    before, real = threading.active_count(), aiosqlite.Connection._execute

    async def broken(path):
        connection = await aiosqlite.connect(path)
        try:
            await connection.execute("nonsense")
        finally:
            await connection.close()

    never = Program("accounts", {"A": pay}, lambda end: True, look=LOOK, share=broken)
    with pytest.raises(sqlite3.OperationalError):
        tasks.explore(never)
    assert threading.active_count() == before
    assert aiosqlite.Connection._execute is real


def test_a_loop_of_its_own_beside_one_that_runs():
    async def outer():
        return tasks.in_own_loop(lambda: asyncio.sleep(0, "inner"))

    assert asyncio.run(outer()) == "inner"


def test_a_program_that_is_not_deterministic_is_reported():
    count = itertools.count()

    async def whim(shared):
        for _ in range(2):
            await shared.connection.execute(f"SELECT {next(count)}")

    with pytest.raises(Diverged, match="random number"):
        tasks.explore(program(whim, whim))


def test_the_verdict_says_what_a_step_is():
    found = tasks.explore(program(locked(pay), locked(call_off)))
    assert found.proved
    assert "Steps are calls of aiosqlite and waits for asyncio's locks" in found.verdict


def test_a_failing_schedule_is_shown_by_the_function_that_can_run_it():
    found = tasks.explore(program())
    with pytest.raises(ValueError, match=r"run by tasks\.replay\(program, schedule\)"):
        found.replay()
    with pytest.raises(AssertionError, match="Refuted"):
        found.assert_proved()
    tasks.replay(found.program, found.failing)
    with pytest.raises(ScheduleError, match="Z cannot go on, for the run is over"):
        tasks.replay(found.program, [*found.failing, "Z"])


def test_what_takes_no_step_is_not_proved():
    async def sleeps(shared):
        await asyncio.sleep(0)

    assert (
        "task A took no step"
        in tasks.explore(
            Program("accounts", [sleeps, sleeps], lambda end: True, look=LOOK, share=share)
        ).verdict
    )


def test_a_limit_that_is_none():
    with pytest.raises(ValueError, match="max_schedules must be at least 1, not 0"):
        tasks.explore(program(), 0)
