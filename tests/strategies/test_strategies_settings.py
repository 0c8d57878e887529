"""The settings of a connection: what they mean, what is refused."""

import sqlite3
import time
from contextlib import closing
from dataclasses import FrozenInstanceError

import pytest
from units import TIMEOUT, add, elsewhere, stored

from helpers import databases
from helpers.strategies import DEFAULTS, DURABLE, FAST, PerThread, Settings


def pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.fixture
def database():
    with databases.fresh("counter") as database:
        yield database


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(DEFAULTS, ("delete", 2, 0)), (DURABLE, ("wal", 2, 1)), (FAST, ("wal", 1, 1))],
)
def test_each_connection_gets_what_was_asked_for(database, settings, expected):
    for _ in range(2):
        with closing(settings.open(database)) as connection:
            names = ("journal_mode", "synchronous", "foreign_keys")
            assert tuple(pragma(connection, name) for name in names) == expected
            assert pragma(connection, "busy_timeout") == 5000


def test_the_journal_mode_stays_with_the_database(database):
    DURABLE.open(database).close()
    with closing(DEFAULTS.open(database)) as connection:
        assert pragma(connection, "journal_mode") == "wal"


@pytest.mark.parametrize("seconds", [0, 0.05, 2_000_000])
def test_the_busy_timeout_is_in_seconds(database, seconds):
    with closing(Settings(busy_timeout=seconds).open(database)) as connection:
        assert pragma(connection, "busy_timeout") == int(seconds * 1000)


def test_the_busy_timeout_is_how_long_a_statement_waits(database):
    with closing(DEFAULTS.open(database)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with closing(Settings(busy_timeout=0.05).open(database)) as connection:
            began = time.perf_counter()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                connection.execute("BEGIN IMMEDIATE")
            assert time.perf_counter() - began >= 0.04


def test_a_connection_begins_no_transaction_by_itself_and_serves_any_thread(database):
    with closing(DEFAULTS.open(database)) as connection:
        elsewhere(add(1), connection)
        assert not connection.in_transaction
        assert stored(database) == 1


def test_options_are_passed_on(database):
    with (
        closing(DEFAULTS.open(database, check_same_thread=True, isolation_level="")) as connection,
    ):
        assert connection.isolation_level == ""


class Switching(sqlite3.Connection):
    """Calls `asked` before each PRAGMA that switches to WAL."""

    def execute(self, sql, *parameters):
        if sql == "PRAGMA journal_mode = wal":
            self.asked()
        return super().execute(sql, *parameters)


def test_a_switch_to_wal_that_is_refused_at_once_is_tried_again(database):
    tries = []
    with closing(DEFAULTS.open(database)) as holder:
        holder.execute("BEGIN IMMEDIATE")

        def asked(connection):
            tries.append(time.perf_counter())
            if len(tries) == 3:
                holder.execute("COMMIT")

        factory = type("Connection", (Switching,), {"asked": asked})
        settings = Settings("wal", busy_timeout=TIMEOUT)
        with closing(settings.open(database, factory=factory)) as connection:
            assert pragma(connection, "journal_mode") == "wal"
    assert len(tries) == 3
    assert tries[-1] - tries[0] < TIMEOUT / 2, "it was not refused at once: no test of that"


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_switch_to_wal_is_given_up_after_the_busy_timeout(database, seconds):
    with closing(DEFAULTS.open(database)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = time.perf_counter()
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            Settings("wal", busy_timeout=seconds).open(database)
        assert seconds <= time.perf_counter() - began < seconds + TIMEOUT / 2


def test_a_journal_mode_that_the_database_refuses_is_an_error_and_nothing_stays_open():
    opened = []

    def connect(path, **options):
        opened.append(sqlite3.connect(path, **options))
        return opened[-1]

    with pytest.raises(
        RuntimeError, match="asked for journal mode 'wal', the database stays in 'm"
    ):
        DURABLE.open(":memory:", connect)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"journal_mode": "WAL2"}, "journal_mode must be one of delete, wal, .* not 'WAL2'"),
        ({"journal_mode": "wal; DROP TABLE t"}, "journal_mode must be"),
        ({"synchronous": "sometimes"}, "synchronous must be one of off, .* not 'sometimes'"),
        ({"busy_timeout": -1}, "busy_timeout must be 0 to 2000000 seconds, not -1"),
        ({"busy_timeout": float("inf")}, "busy_timeout must be .*, not inf"),
        ({"foreign_keys": "off"}, "foreign_keys must be True, False or None, not 'off'"),
        ({"busy_timeout": float("nan")}, "busy_timeout must be .*, not nan"),
    ],
)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_foreign_keys_may_be_left_unchecked_on_purpose(database):
    with closing(Settings(foreign_keys=False).open(database)) as connection:
        assert pragma(connection, "foreign_keys") == 0


def test_settings_that_are_shared_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        FAST.busy_timeout = 1.0


def test_capitals_do_not_matter(database):
    with closing(Settings("WAL", "normal").open(database)) as connection:
        assert pragma(connection, "journal_mode") == "wal"


def test_they_are_applied_to_every_connection_of_a_strategy(database):
    made = FAST.applied_to(PerThread, timeout=7)
    with closing(made(database)) as strategy:
        asked = lambda connection: connection.execute("PRAGMA synchronous").fetchone()  # noqa: E731
        assert strategy.write(asked) == elsewhere(strategy.read, asked) == (1,)
        assert strategy.timeout == 7
    assert made.__name__ == "PerThread"
