"""Retry: the whole unit again, after a pause drawn at random, until a deadline."""

import functools
import random
import sqlite3
import time
from contextlib import closing
from functools import partial

import pytest
from units import elsewhere, increment, look

from helpers import databases
from helpers.strategies import PerThread, Retry, is_busy


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch, draw=max):
        self.now, self.pauses, self.limits = 1000.0, [], []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

        def uniform(low, high):
            assert low == 0
            self.limits.append(high)
            return draw(low, high)

        monkeypatch.setattr(random, "uniform", uniform)

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def busy(code=sqlite3.SQLITE_BUSY, kind=sqlite3.OperationalError):
    error = kind("database is locked")
    error.sqlite_errorcode = code
    return error


class Refused:
    """Raises each of `errors`, one a call, then returns its arguments."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self, *args, **keywords):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return args, keywords


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (busy(), True),
        (busy(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (busy(sqlite3.SQLITE_BUSY_RECOVERY), True),
        (busy(sqlite3.SQLITE_LOCKED_SHAREDCACHE), True),
        (busy(sqlite3.SQLITE_LOCKED), False),
        (busy(sqlite3.SQLITE_FULL), False),
        (busy(None), False),
        (busy(kind=sqlite3.IntegrityError), False),
        (sqlite3.OperationalError("no code"), False),
        (ValueError("database is locked"), False),
    ],
)
def test_what_is_busy(error, expected):
    assert is_busy(error) is expected


def test_real_errors_are_told_apart():
    with (
        databases.fresh("counter") as database,
        closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as one,
        closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as two,
    ):
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as refused:
            two.execute("BEGIN IMMEDIATE")
        assert is_busy(refused.value)
        rows = one.execute("SELECT * FROM counter")
        with pytest.raises(sqlite3.OperationalError) as conflict:
            one.execute("DROP TABLE counter")
        assert conflict.value.sqlite_errorname == "SQLITE_LOCKED"
        assert not is_busy(conflict.value)
        rows.close()


def test_it_calls_again_with_the_same_arguments_until_it_is_not_refused(monkeypatch):
    clock = Clock(monkeypatch)
    function = Refused(busy(), busy(), busy())
    assert Retry().call(function, 1, a=2) == ((1,), {"a": 2})
    assert function.calls == 4
    assert len(clock.pauses) == 3


def test_the_longest_pause_doubles_up_to_a_limit(monkeypatch):
    clock = Clock(monkeypatch)
    Retry(seconds=10, base_delay=0.001, max_delay=0.05).call(Refused(*[busy() for _ in range(9)]))
    assert clock.limits == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.05, 0.05, 0.05]


def test_the_pause_is_what_was_drawn(monkeypatch):
    clock = Clock(monkeypatch, draw=lambda low, high: high / 4)
    Retry(base_delay=0.004).call(Refused(busy(), busy()))
    assert clock.pauses == [0.001, 0.002]


def test_after_the_deadline_the_last_refusal_comes_out_with_a_note(monkeypatch):
    Clock(monkeypatch)
    errors = [busy() for _ in range(100)]
    last = errors[3]
    function = Refused(*errors)
    with pytest.raises(sqlite3.OperationalError) as caught:
        Retry(seconds=3, base_delay=1, max_delay=1).call(function)
    assert caught.value is last
    assert caught.value.__notes__ == ["given up after 4 tries in 3.0 s"]


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), sqlite3.IntegrityError("x")]
)
def test_anything_else_comes_out_at_once(monkeypatch, error):
    clock = Clock(monkeypatch)
    function = Refused(error)
    with pytest.raises(type(error)):
        Retry().call(function)
    assert function.calls == 1
    assert clock.pauses == []


def test_another_error_after_refusals_has_a_note_only_if_it_is_sqlites(monkeypatch):
    Clock(monkeypatch)
    with pytest.raises(sqlite3.OperationalError) as caught:
        Retry().call(Refused(busy(), sqlite3.OperationalError("no such table: t")))
    assert caught.value.__notes__ == ["given up after 2 tries in 0.0 s"]


def test_as_a_decorator_it_keeps_the_name(monkeypatch):
    Clock(monkeypatch)
    refused = Refused(busy())

    @Retry(seconds=2)
    def unit(a, *, b):
        """Doc."""
        return refused(a, b=b)

    assert unit(1, b=2) == ((1,), {"b": 2})
    assert (unit.__name__, unit.__doc__, refused.calls) == ("unit", "Doc.", 2)


def test_what_would_run_later_cannot_be_retried():
    async def coroutine():
        """Refused when awaited, long after the call."""

    def generator():
        yield

    async def both():
        yield

    for function in (coroutine, generator, both):
        with pytest.raises(TypeError, match=f"cannot run {function.__name__} again"):
            Retry()(function)
    with pytest.raises(TypeError, match=r"cannot run functools\.partial"):
        Retry()(functools.partial(generator))


@pytest.mark.parametrize("name", ["seconds", "base_delay", "max_delay"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_the_numbers_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be more than 0, not {value}"):
        Retry(**{name: value})


def test_a_stale_snapshot_needs_the_whole_unit_again():
    with databases.fresh("counter", "wal") as database:
        seen = []

        def unit():
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                connection.execute("BEGIN")
                seen.append(look(connection))
                if len(seen) == 1:
                    elsewhere(other)
                connection.execute("UPDATE counter SET value = ?", [seen[-1] + 1])
                connection.execute("COMMIT")

        def other():
            with closing(sqlite3.connect(database)) as connection, connection:
                increment(connection)

        Retry().call(unit)
        assert seen == [0, 1]
        assert database.query("SELECT value FROM counter") == [(2,)]


def test_a_connection_per_thread_retries_what_reads_too():
    """In a rollback journal a writer that has the file for itself shuts out readers."""
    refused = []

    def once(run):
        def retried(*args, **options):
            try:
                return run(*args, **options)
            except sqlite3.OperationalError as error:
                refused.append(error.sqlite_errorname)
                other.execute("COMMIT")
                return run(*args, **options)

        return retried

    with (
        databases.fresh("counter") as database,
        closing(sqlite3.connect(database, isolation_level=None)) as other,
        closing(PerThread(database, partial(sqlite3.connect, timeout=0), retry=once)) as strategy,
    ):
        other.execute("BEGIN EXCLUSIVE")
        assert strategy.read(look) == 0
    assert refused == ["SQLITE_BUSY"]
