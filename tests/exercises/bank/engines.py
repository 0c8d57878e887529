"""Notebook 11: an engine of SQLAlchemy, and what is done with it; an answer is both."""

import contextlib
import threading
import time
from functools import partial

from sqlalchemy import create_engine, event, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from helpers.web.engines import Counter, open_engine

lock = threading.Lock()


def connected(engine):
    """SQLAlchemy looks at its first connection; have that behind us."""
    with engine.connect():
        return engine


def plain(path, **options):
    return connected(create_engine(f"sqlite:///{path}", **options))


def advised(path):
    options = {"check_same_thread": False, "timeout": 60}
    return plain(path, connect_args=options, isolation_level="SERIALIZABLE")


def begun_with(statement, path, **options):
    """The two events of SQLAlchemy's documentation, with a BEGIN of one's choice."""
    engine = create_engine(f"sqlite:///{path}", **options)

    @event.listens_for(engine, "connect")
    def driver_begins_nothing(connection, record):
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql(statement)

    return connected(engine)


immediate = partial(begun_with, "BEGIN IMMEDIATE")


def only_the_begin_event(path):
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return connected(engine)


def only_the_connect_event(path):
    """Now nobody begins a transaction, neither the driver nor the engine."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def driver_begins_nothing(connection, record):
        connection.isolation_level = None

    return connected(engine)


def immediate_by_option(path):
    return plain(path, connect_args={"isolation_level": "IMMEDIATE"})


def in_wal(path):
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def pragma(connection, record):
        connection.execute("PRAGMA journal_mode=wal")

    return connected(engine)


# -- units of work ---------------------------------------------------------------------------


def save(engine):
    with Session(engine) as session, session.begin():
        counter = session.scalars(select(Counter)).one()
        counter.value += 1


def atomic(engine):
    with Session(engine) as session, session.begin():
        session.execute(update(Counter).values(value=Counter.value + 1))


def expression(engine):
    with Session(engine) as session, session.begin():
        session.get_one(Counter, 1).value = Counter.value + 1


def locked(engine):
    with lock:
        save(engine)


def compares_and_swaps(engine):
    swapped = 0
    while not swapped:
        with Session(engine) as session, session.begin():
            value = session.scalars(select(Counter.value)).one()
            swap = update(Counter).where(Counter.value == value).values(value=value + 1)
            swapped = session.execute(swap).rowcount


def begins_by_hand(engine):
    """The driver finds a transaction open, and begins none."""
    with Session(engine) as session, session.begin():
        session.execute(text("BEGIN IMMEDIATE"))
        counter = session.scalars(select(Counter)).one()
        counter.value += 1


def writes_first(engine):
    with Session(engine) as session, session.begin():
        session.execute(update(Counter).values(value=Counter.value))
        counter = session.scalars(select(Counter)).one()
        counter.value += 1


def nested(engine):
    with Session(engine) as session, session.begin(), session.begin_nested():
        counter = session.scalars(select(Counter)).one()
        counter.value += 1


def retried(engine):
    while True:
        try:
            return save(engine)
        except OperationalError:
            time.sleep(0.01)


def for_update(engine):
    with Session(engine) as session, session.begin():
        counter = session.scalars(select(Counter).with_for_update()).one()
        counter.value += 1


def in_two_sessions(engine):
    with Session(engine) as session, session.begin():
        value = session.scalars(select(Counter.value)).one()
    with Session(engine) as session, session.begin():
        session.execute(update(Counter).values(value=value + 1))


def commits_the_read(engine):
    with Session(engine, expire_on_commit=False) as session:
        counter = session.scalars(select(Counter)).one()
        session.commit()
        counter.value += 1
        session.commit()


def flushed(engine):
    with Session(engine) as session, session.begin():
        counter = session.scalars(select(Counter)).one()
        counter.value += 1
        session.flush()
        session.refresh(counter)


def lock_round_the_commit(engine):
    with Session(engine) as session:
        counter = session.scalars(select(Counter)).one()
        counter.value += 1
        with lock:
            session.commit()


def lock_per_call(engine):
    with threading.Lock():
        save(engine)


def never_commits(engine):
    with Session(engine) as session:
        counter = session.scalars(select(Counter)).one()
        counter.value += 1


def swallows(engine):
    with contextlib.suppress(OperationalError):
        save(engine)


def releases_if_all_goes_well(engine):
    lock.acquire()
    save(engine)
    lock.release()


def commits_again(engine):
    """Only the COMMIT is tried again."""
    with Session(engine) as session:
        counter = session.scalars(select(Counter)).one()
        counter.value += 1
        for _ in range(2):
            with contextlib.suppress(OperationalError):
                session.commit()


def one(engine):
    with Session(engine) as session, session.begin():
        session.execute(update(Counter).values(value=1))


def to_two(engine):
    with Session(engine) as session, session.begin():
        sooner = update(Counter).where(Counter.value < 2).values(value=Counter.value + 1)
        session.execute(sooner)


deferred = partial(begun_with, "BEGIN DEFERRED")

RIGHT = {
    "two events, BEGIN IMMEDIATE": (save, immediate),
    "two events, BEGIN EXCLUSIVE": (save, partial(begun_with, "BEGIN EXCLUSIVE")),
    "the begin event alone": (save, only_the_begin_event),
    "the engine of the kit": (save, lambda path: connected(open_engine(path))),
    "one statement": (atomic, advised),
    "an expression": (expression, advised),
    "a lock": (locked, advised),
    "compare and swap": (compares_and_swaps, advised),
    "BEGIN IMMEDIATE by hand": (begins_by_hand, plain),
    "a write first": (writes_first, plain),
    "SAVEPOINT inside": (nested, immediate),
    "DEFERRED, retried": (retried, deferred),
    "a pool of one": (save, partial(plain, pool_size=1, max_overflow=0)),
}
OVERWRITES = "overwrites that in step"
WRONG = {
    "as given": (save, advised, OVERWRITES),
    "a timeout": (save, partial(plain, connect_args={"timeout": 60}), OVERWRITES),
    "FOR UPDATE": (for_update, plain, OVERWRITES),
    "BEGIN": (save, deferred, "Which BEGIN takes the write lock before the SELECT?"),
    "two Sessions": (in_two_sessions, immediate, OVERWRITES),
    "a commit after the read": (commits_the_read, immediate, OVERWRITES),
    "the connect event alone": (save, only_the_connect_event, OVERWRITES),
    "isolation_level=IMMEDIATE": (save, immediate_by_option, OVERWRITES),
    "WAL": (save, in_wal, OVERWRITES),
    "NullPool": (save, partial(plain, poolclass=NullPool), OVERWRITES),
    "AUTOCOMMIT": (save, partial(plain, isolation_level="AUTOCOMMIT"), OVERWRITES),
    "flush and refresh": (flushed, plain, OVERWRITES),
    "SAVEPOINT alone": (nested, plain, "that was refused must be redone"),
    "a lock round the COMMIT": (lock_round_the_commit, plain, "gives it back between"),
    "a lock for each call": (lock_per_call, plain, OVERWRITES),
    "no commit": (never_commits, immediate, "already alone"),
    "exception swallowed": (swallows, deferred, "returned as if all were well"),
    "swallowed, with IMMEDIATE": (swallows, immediate, "returns as if all were well"),
    "too short a wait": (
        save,
        partial(immediate, connect_args={"timeout": 0.05}),
        "a wait of 0.05 s is too short",
    ),
    "lock never released": (releases_if_all_goes_well, advised, "the first one holds is not given"),
    "only the COMMIT again": (commits_again, deferred, "Which BEGIN takes the write lock"),
    "a retry, and no transaction": (retried, plain, OVERWRITES),
    "hard-coded": (one, immediate, "What is written was not read from the counter"),
    "counts to two": (to_two, immediate, "three"),
}
WRONG = {name: ((unit, engine), says) for name, (unit, engine, says) in WRONG.items()}
