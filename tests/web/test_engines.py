"""The repaired engine of `helpers.web.engines`: proved in every order, and under load."""

import os
import threading

import pytest

pytest.importorskip("sqlalchemy")
from sqlalchemy import select

from helpers import databases, load, workloads
from helpers.exercises import no_increment_lost
from helpers.explorer import Program, explore
from helpers.history import History
from helpers.load import comparison
from helpers.strategies import DURABLE, FAST
from helpers.web.engines import Account, Counter, Sessions, open_engine


def add_one(session):
    counter = session.scalars(select(Counter)).one()
    counter.value += 1


class Increments(workloads.Increment):
    def unit(self, worker, number):
        return add_one


class Refused(Sessions):
    def __init__(self, path, connect):
        super().__init__(path, connect, begin="deferred")


def sessions(**options):
    def share(path):
        made = Sessions(path, **options)
        with made.engine.connect():
            return made

    return share


def job(made):
    made.write(add_one)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_immediate_is_proved(journal_mode):
    found = explore(
        Program(
            "counter", [job, job], no_increment_lost, share=sessions(), journal_mode=journal_mode
        )
    )
    assert found.proved
    assert set(found.counts) == {"right"}


@pytest.mark.parametrize("level", ["SERIALIZABLE", "AUTOCOMMIT"])
def test_it_begins_under_every_isolation_level(level):
    share = sessions(isolation_level=level)
    assert explore(Program("counter", [job, job], no_increment_lost, share=share)).proved


def test_what_a_connection_asks_for_leaves_the_begin_in_place():
    with databases.fresh("counter") as database:
        made = Sessions(database)
        with made.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
        with made.engine.connect() as connection:
            driver = connection.connection.dbapi_connection
            assert driver.isolation_level == ""
            connection.scalar(select(Counter.value))
            assert driver.in_transaction
        made.close()


def test_deferred_is_refused():
    found = explore(
        Program("counter", [job, job], no_increment_lost, share=sessions(begin="DEFERRED"))
    )
    assert found.proved
    assert found.counts["error"] > found.counts["right"]


def test_a_read_is_one_snapshot_and_does_not_ask_for_the_write_lock():
    def reads(made):
        return made.read(lambda session: [session.scalar(select(Counter.value)) for _ in range(2)])

    steady = Program(
        "counter", {"R": reads, "W": job}, lambda end: len(set(end.results["R"])) == 1,
        share=sessions(), journal_mode="wal",
    )  # fmt: skip
    found = explore(steady)
    assert found.proved
    assert set(found.counts) == {"right"}
    steps = found.replay(found.outcomes[0][2]).steps
    assert "BEGIN DEFERRED" in {step.sql for step in steps if step.thread == "R"}


def test_twenty_runs_lose_nothing_and_leave_nothing():
    before = threading.active_count()
    runs = [
        load.run(Increments(5), Sessions, threads=8, journal_mode="wal", stop_on_error=False)
        for _ in range(20)
    ]
    assert not any(comparison.is_broken(run) for run in runs)
    assert threading.active_count() == before


def test_what_a_plain_begin_does_under_load():
    run = load.run(Increments(20), Refused, threads=8, journal_mode="wal", stop_on_error=False)
    assert run.failures
    assert run.audit.holds


def test_settings_hold_on_every_connection():
    with databases.fresh("accounts") as database:
        engine = open_engine(database, settings=FAST, begin="DEFERRED")
        with engine.connect() as first, engine.connect() as second:
            for connection in (first, second):
                found = [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    for name in ("journal_mode", "synchronous", "foreign_keys")
                ]
                assert found == ["wal", 1, 1]
        engine.dispose()


def test_calls_are_recorded_and_reads_change_nothing():
    history = History()
    with databases.fresh("accounts") as database:
        made = Sessions(database, history.connect, settings=DURABLE)

        def poorer(session):
            session.get(Account, 1).balance = 0
            session.flush()

        made.read(poorer)
        made.close()
        made.close()
        assert database.query("SELECT balance FROM account WHERE id = 1") == [(1000,)]
    assert "BEGIN DEFERRED" in [call.sql for call in history]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="give a file, not ':memory:'"):
        open_engine(":memory:")
    with pytest.raises(ValueError, match="begin must be one of"):
        open_engine("file.db", begin="SOON")
    assert not os.path.exists("file.db")
