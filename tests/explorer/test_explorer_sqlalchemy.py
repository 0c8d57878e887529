"""Programs over a SQLAlchemy engine on the explorer: its connections take part as steps."""

import _thread
import contextlib
import logging
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.commands import soundness
from helpers.exercises import no_increment_lost
from helpers.explorer import Program, Stage, explore, replay
from helpers.explorer.engine.confinement import LentToAnother, sharing_of
from helpers.explorer.steps.connections import SteppingConnection
from helpers.explorer.steps.pools import LibraryLock, StepPoolQueue, _listeners

pytest.importorskip("sqlalchemy")
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)
from sqlalchemy.pool import NullPool, QueuePool, StaticPool
from sqlalchemy.util.queue import Empty, Full
from ways import WAYS


class Base(DeclarativeBase):
    pass


class Counter(Base):
    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


def default(path, **options):
    """An engine as everybody makes it, its dialect's first connection behind it."""
    engine = create_engine(f"sqlite:///{path}", **options)
    with engine.connect():
        return engine


def immediate(path):
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def no_implicit_begin(connection, _record):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.connect():
        return engine


def increment(engine):
    with Session(engine) as session:
        counter = session.scalars(select(Counter)).one()
        counter.value += 1
        session.commit()


def program(share, job=increment, threads=2, **options):
    return Program("counter", [job] * threads, no_increment_lost, share=share, **options)


def test_the_default_engine_loses_an_update():
    found = explore(program(default))
    assert (found.schedules, found.counts) == (14, {"wrong": 12, "right": 2})
    assert found == explore(program(default))


def test_steps_are_sql_and_nothing_of_the_pool():
    stage = Stage(program(default)).run("A B A A B B")
    assert [step.label.split()[0] for step in stage.steps] == [
        "SELECT", "SELECT", "UPDATE", "COMMIT", "UPDATE", "COMMIT",
    ]  # fmt: skip
    assert list(stage.table().columns[3:-1]) == ["pooled connection 1", "pooled connection 2"]
    assert stage.table().iloc[2]["pooled connection 1"] == "A: write · RESERVED"
    assert stage.table().iloc[-1]["pooled connection 2"] == "idle"
    assert stage.outcome.kind == "wrong"


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_begin_immediate_by_events_is_proved(journal_mode):
    found = explore(program(immediate, journal_mode=journal_mode))
    assert found.proved
    assert set(found.counts) == {"right"}


@pytest.mark.parametrize("waiting", WAYS)
def test_both_ways_of_waiting_agree(waiting):
    assert explore(program(default), waiting=waiting).counts == {"wrong": 12, "right": 2}
    assert explore(program(immediate), waiting=waiting).proved


def test_states_count_the_same_outcomes():
    for share in (default, immediate):
        assert explore(program(share), merge=True) == explore(program(share))


@pytest.mark.parametrize("share", [default, immediate])
def test_free_runs_show_nothing_that_exploration_did_not_list(share):
    found = soundness.completeness(program(share), explore(program(share)), 30)
    assert (found.runs, found.unlisted) == (30, ())


def test_a_pool_without_connections_and_a_scoped_session():
    assert explore(program(lambda path: default(path, poolclass=NullPool))).counts == {
        "wrong": 12,
        "right": 2,
    }

    def share(path):
        return scoped_session(sessionmaker(immediate(path)))

    def job(session):
        try:
            counter = session.scalars(select(Counter)).one()
            counter.value += 1
            session.commit()
        finally:
            session.remove()

    assert explore(program(share, job)).proved


def test_a_static_pool_is_one_shared_connection():
    def share(path):
        return default(path, poolclass=StaticPool, connect_args={"check_same_thread": False})

    def deposit(engine):
        with engine.begin() as connection:
            connection.execute(text("UPDATE account SET balance = balance + 100 WHERE id = 1"))

    def called_off(engine):
        with engine.connect() as connection:
            connection.execute(text("UPDATE account SET balance = balance + 100 WHERE id = 2"))

    told = Program(
        "accounts",
        {"A": deposit, "B": called_off},
        lambda end: "A" in end.errors or end.rows == [(1100,), (1000,)],
        look="SELECT balance FROM account WHERE id <= 2 ORDER BY id",
        share=share,
    )
    found = explore(told)
    assert found.counts["wrong"]
    labels = [step.label for step in replay(told, found.failing).steps]
    assert any(label.startswith("is a transaction open?") for label in labels)


def test_threads_that_share_a_session_share_its_connection():
    def share(path):
        return Session(default(path))

    def job(session):
        session.execute(text("UPDATE counter SET value = value + 1"))
        session.commit()

    shared = program(share, job)
    stage = Stage(shared)
    assert sharing_of(shared).lends is False
    stage.run("A B")
    assert "shared connection" in stage.table().columns


def test_sharing_that_is_found_late_ends_the_exploration_and_the_next_one_knows():
    def share(path):
        return default(path), []

    def lender(given):
        engine, box = given
        with engine.connect() as connection:
            for _ in range(2):
                connection.execute(text("SELECT value FROM counter")).fetchall()
            box.append(connection)
            connection.execute(text("SELECT value FROM counter")).fetchall()
            box.clear()

    def user(given):
        engine, box = given
        with engine.connect() as connection:
            connection.execute(text("SELECT value FROM counter")).fetchall()
        for connection in box:
            connection.execute(text("SELECT value FROM counter")).fetchall()

    late = Program("counter", {"A": lender, "B": user}, lambda end: not end.errors, share=share)
    with pytest.raises(LentToAnother, match="B used connection 1, which A had checked out"):
        explore(late)
    assert sharing_of(late).lends is False
    assert explore(late).complete


def test_a_pool_too_small_for_what_each_thread_needs_is_a_deadlock():
    def share(path):
        return default(path, pool_size=2, max_overflow=0)

    def job(engine):
        with engine.connect() as outer:
            outer.execute(text("SELECT value FROM counter")).fetchall()
            with engine.connect() as inner:
                inner.execute(text("SELECT value FROM counter")).fetchall()

    small = Program("counter", [job, job], lambda end: not end.errors, share=share)
    found = explore(small)
    assert set(found.counts) == {"wrong", "right"}
    stage = Stage(small).run(found.failing)
    assert "QueuePool limit of size 2 overflow 0 reached" in stage.outcome.text
    assert "e/2" not in stage.outcome.text
    assert "A waits for a connection of the pool, which B holds" in stage.outcome.cycle
    enough = Program(
        "counter", [job, job], lambda end: not end.errors,
        share=lambda path: default(path, pool_size=3, max_overflow=0),
    )  # fmt: skip
    assert explore(enough).proved


def test_a_second_connection_inside_a_transaction_waits_for_the_first():
    def job(engine):
        with engine.begin() as first:
            first.execute(text("UPDATE counter SET value = value + 1"))
            with engine.begin() as second:
                second.execute(text("UPDATE counter SET value = value + 1"))

    found = explore(program(default, job, threads=1))
    (error,) = [
        step.error for step in found.replay(("A", "A", "A:timeout", "A")).steps if step.error
    ]
    assert (error.kind, error.message) == ("OperationalError", "database is locked")


def test_a_half_run_program_leaves_nothing_and_says_nothing(caplog):
    caplog.set_level(logging.ERROR)
    stage = Stage(program(immediate))
    for name in ("A", "A", "B", "A"):
        stage.step(name)
    stage.undo(2)
    assert caplog.records == []
    assert [t for t in threading.enumerate() if t.name in ("A", "B", "explorer")] == []


def test_mapped_classes_can_be_used_afterwards_by_any_thread(tmp_path):
    class Fresh(Base):
        __tablename__ = "fresh"
        id: Mapped[int] = mapped_column(primary_key=True)

    def job(engine):
        with Session(engine) as session, session.begin():
            session.add(Fresh())

    made = "CREATE TABLE fresh (id INTEGER PRIMARY KEY)"
    count = "SELECT count(*) FROM fresh"
    explored = Program(made, [job, job], lambda end: end.value == 2, look=count, share=default)
    assert explore(explored).proved
    engine = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    Base.metadata.create_all(engine)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(job, [engine] * 4))
    with engine.connect() as connection:
        assert connection.scalar(text(count)) == 4
    engine.dispose()


def test_the_first_connection_made_by_threads_that_meet_there():
    found = explore(program(lambda path: create_engine(f"sqlite:///{path}")))
    assert set(found.counts) == {"wrong", "right"}
    labels = {step.label for step in replay(found.program, found.failing).steps}
    assert found.complete
    assert any(label.startswith("UPDATE") for label in labels)


def test_everything_is_put_back():
    before = QueuePool._queue_class, sqlite3.connect
    explore(program(default))
    assert (QueuePool._queue_class, sqlite3.connect) == before
    engine = create_engine("sqlite://", poolclass=QueuePool)
    with engine.connect() as connection:
        assert not isinstance(connection.connection.dbapi_connection, SteppingConnection)
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has autocommit= since Python 3.12")
def test_autocommit_false_refuses_the_second_writer():
    found = explore(program(lambda path: default(path, connect_args={"autocommit": False})))
    assert found.proved
    assert found.counts["error"]


# -- the pool's queue and the library's locks, by themselves -----------------------------------


@pytest.mark.parametrize(("use_lifo", "first"), [(False, 1), (True, 2)])
def test_the_idle_connections_of_a_pool(use_lifo, first):
    idle = StepPoolQueue(2, use_lifo=use_lifo)
    assert (idle.empty(), idle.full(), idle.qsize(), idle.maxsize) == (True, False, 0, 2)
    idle.put(1)
    assert (idle.empty(), idle.full(), idle.qsize()) == (False, False, 1)
    idle.put_nowait(2)
    assert idle.full()
    with pytest.raises(Full):
        idle.put(3)
    assert [idle.get(), idle.get_nowait()] == [first, 3 - first]
    with pytest.raises(Empty):
        idle.get(timeout=0.01)
    with pytest.raises(Empty):
        idle.get_nowait()
    assert not StepPoolQueue(0).full()
    one = StepPoolQueue(1)
    one.put(1)
    assert one.full()


def test_connections_of_other_databases_are_left_alone():
    def job(path):
        for listener in _listeners().values():
            listener(object(), None, *[None] * (listener.__code__.co_argcount - 2))

    for outcome, _, _ in explore(Program("counter", [job], lambda end: True)).outcomes:
        assert outcome.kind == "right"


def test_which_pools_are_small():
    assert [StepPoolQueue(size).is_small for size in (0, 1, 4, 5)] == [False, True, True, False]


def uses_the_idle(sizes):
    def job(idle):
        idle.put(1)
        with contextlib.suppress(Empty):
            return [idle.get(False), idle.get(timeout=1)]

    found = Program("counter", [job], lambda end: True, share=lambda path: StepPoolQueue(sizes))
    return [(step.label, step.outcome) for step in replay_one(found).steps]


def replay_one(program):
    return replay(program, explore(program).outcomes[0][2])


def test_a_checkout_is_a_step_where_it_waits_or_the_pool_is_small():
    label = "check out a connection"
    assert uses_the_idle(2) == [(label, "ok"), (label, "timeout")]
    assert uses_the_idle(9) == [(label, "timeout")]


def test_a_librarys_lock():
    lock = LibraryLock(threading.Lock())
    assert lock.acquire()
    assert not lock.acquire(False)
    assert not lock.acquire(timeout=0.01)
    assert (lock._depth, lock.locked()) == (1, True)
    lock.release()
    with lock as acquired:
        assert (acquired, lock._depth) == (True, 1)
    assert (lock._depth, lock.locked()) == (0, False)


@pytest.mark.parametrize(("timeout", "ends"), [(-1, "deadlock: "), (1, "finished")])
def test_a_thread_waits_for_a_librarys_lock_in_a_step(timeout, ends):
    taken = []

    def job(lock):
        taken[:] = [lock.acquire(), lock.acquire(False)]
        taken.append(lock.acquire(timeout=timeout))

    real = (_thread.allocate_lock,)  # where it is not replaced
    program = Program("counter", [job], lambda end: True, share=lambda path: LibraryLock(real[0]()))
    run = replay_one(program)
    assert run.outcome.ended.startswith(ends)
    assert taken == [True, False, False][: 2 if timeout < 0 else 3]
    assert [step.label for step in run.steps] == ["acquire a lock of a library"] * (timeout > 0)


def test_a_librarys_lock_is_passed_on():
    def job(lock):
        with lock:
            time.sleep(0)

    real = (_thread.allocate_lock,)  # where it is not replaced
    program = Program(
        "counter", [job, job], lambda end: True, share=lambda path: LibraryLock(real[0]())
    )
    assert explore(program).counts.keys() == {"right"}
