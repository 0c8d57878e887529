"""What notebook 15 says of SQLAlchemy's asynchronous engine."""

import asyncio

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("aiosqlite")
from sqlalchemy import StaticPool, event, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from helpers import databases
from helpers.web.engines import Counter

TASKS, INCREMENTS = 8, 10


async def increments(engine):
    async def job():
        for _ in range(INCREMENTS):
            async with AsyncSession(engine) as session, session.begin():
                counter = (await session.scalars(select(Counter))).one()
                counter.value += 1

    await asyncio.gather(*[job() for _ in range(TASKS)])
    await engine.dispose()


def stored(**driver):
    """What the counter holds when every task was told that all of its increments are stored."""
    with databases.fresh("counter", "wal") as database:
        url = f"sqlite+aiosqlite:///{database.path}"
        engine = create_async_engine(url, connect_args={"timeout": 30, **driver})
        if driver:
            begin = "BEGIN IMMEDIATE"
            event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql(begin))
        asyncio.run(increments(engine))
        return database.query("SELECT value FROM counter")[0][0]


def test_the_default_loses_increments():
    assert stored() < TASKS * INCREMENTS


def test_the_begin_event_repairs_it():
    assert stored(isolation_level=None) == TASKS * INCREMENTS


def test_in_memory_all_tasks_share_one_connection():
    engine = create_async_engine("sqlite+aiosqlite:///:memory:")
    assert isinstance(engine.pool, StaticPool)
