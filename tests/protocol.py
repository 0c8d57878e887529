"""What every strategy promises, as checks that need the standard library only.

`CHECKS` are functions of a strategy's class and a new database file. They run in the tests, and
in `main` against a copy of one strategy's file, alone in a folder:

    python -I protocol.py pool.py Pool
"""

import collections
import decimal
import functools
import importlib.util
import os
import sqlite3
import sys
import tempfile
import threading
import time
import warnings
from contextlib import closing, contextmanager
from pathlib import Path

#: Seconds after which something that should have happened counts as never happening.
TIMEOUT = 20.0
#: A refusal "at once" comes sooner than any timeout.
AT_ONCE = 1.0
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


# -- units of work, threads ------------------------------------------------------------------


def create(path, mode="delete"):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.executescript(
            "CREATE TABLE counter (value INTEGER); INSERT INTO counter VALUES (0);"
            "CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT);"
            "CREATE TABLE child (item INTEGER REFERENCES item DEFERRABLE INITIALLY DEFERRED);"
        )
    return path


def stranger(path):
    """A connection that belongs to no strategy, for any thread."""
    return sqlite3.connect(path, timeout=0, check_same_thread=False)


def increment(connection):
    (value,) = connection.execute("SELECT value FROM counter").fetchone()
    connection.execute("UPDATE counter SET value = ?", [value + 1])
    return value + 1


def look(connection):
    return connection.execute("SELECT value FROM counter").fetchone()[0]


def stored(path):
    """The counter, as a stranger sees it, who must not be locked out either."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        return look(connection)


class Thread(threading.Thread):
    """A thread that has started, and that keeps what its function returned or raised."""

    def __init__(self, function, *arguments, name=None):
        super().__init__(name=name, daemon=True)
        self.function, self.arguments = function, arguments
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.function(*self.arguments)
        except BaseException as error:
            self.error = error

    def get(self):
        self.join(TIMEOUT)
        assert not self.is_alive(), f"{self.name} does not come to an end"
        if self.error is not None:
            raise self.error
        return self.result


class Held:
    """A unit of work that runs, in a thread of its own, until the end of the ``with``."""

    def __init__(self, strategy, write=True, unit=lambda connection: None, name="holder"):
        self.begun, self.end, self.unit = threading.Event(), threading.Event(), unit
        self.call, self.name = (strategy.write if write else strategy.read), name
        if write and hasattr(strategy, "submit"):
            self.call = lambda unit: strategy.write(unit, timeout=TIMEOUT)

    def _run(self, connection):
        result = self.unit(connection)
        self.begun.set()
        assert self.end.wait(TIMEOUT)
        return result

    def __enter__(self):
        self.thread = Thread(self.call, self._run, name=self.name)
        assert self.begun.wait(TIMEOUT)
        return self

    def __exit__(self, *error):
        self.end.set()
        self.thread.get()


@contextmanager
def raises(*kinds):
    """Like `pytest.raises`: the error is in the ``[0]`` of what ``as`` gets."""
    caught = []
    try:
        yield caught
    except kinds as error:
        caught.append(error)
    else:
        raise AssertionError(f"nothing was raised, instead of {kinds}")


def until(condition):
    """Wait for what other threads are about to do."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0)


def is_fit(strategy, path):
    """Another thread writes and reads as if nothing had happened."""
    before = stored(path)
    assert Thread(strategy.write, increment).get() == before + 1 == stored(path)
    assert Thread(strategy.read, look).get() == before + 1
    assert strategy.write(increment) == before + 2 == strategy.read(look)


# -- the ordinary day ------------------------------------------------------------------------


@check
def write_returns_the_result_when_it_is_committed(make, path):
    with closing(make(path)) as strategy:
        assert strategy.write(increment) == 1 == stored(path) == strategy.read(look)


@check
def threads_lose_no_increment(make, path):
    with closing(make(path)) as strategy:
        threads = [Thread(lambda: [strategy.write(increment) for _ in range(20)]) for _ in range(6)]
        results = [result for thread in threads for result in thread.get()]
        assert sorted(results) == list(range(1, 121))
    assert stored(path) == 120


@check
def a_read_cannot_write(make, path):
    with closing(make(path)) as strategy:
        for _ in range(2):
            with raises(sqlite3.OperationalError) as caught:
                strategy.read(increment)
            assert "readonly" in str(caught[0])
            is_fit(strategy, path)


@check
def a_read_is_one_snapshot(make, path):
    create(path + ".wal", "wal")
    with closing(make(path + ".wal")) as strategy, closing(stranger(path + ".wal")) as other:

        def twice(connection):
            first = look(connection)
            increment(other)
            other.commit()
            return first, look(connection)

        assert strategy.read(twice) == (0, 0)
        assert strategy.read(look) == 1


@check
def other_writers_are_kept_out_from_the_beginning(make, path):
    with closing(make(path)) as strategy, closing(stranger(path)) as other:

        def unit(connection):
            with raises(sqlite3.OperationalError):
                other.execute("BEGIN IMMEDIATE")
            return increment(connection)

        assert strategy.write(unit) == 1


@check
def where_another_holds_the_write_lock_sqlite_says_so(make, path):
    connect = functools.partial(sqlite3.connect, timeout=0)
    with closing(make(path, connect)) as strategy, closing(stranger(path)) as other:
        strategy.write(increment)
        other.execute("BEGIN IMMEDIATE")
        with raises(sqlite3.OperationalError) as caught:
            strategy.write(increment)
        assert "database is locked" in str(caught[0])
        other.execute("ROLLBACK")
        is_fit(strategy, path)


@check
def the_path_is_kept_when_the_program_changes_its_folder(make, path):
    before = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        with closing(make(os.path.basename(path))) as strategy:
            os.chdir(before)
            is_fit(strategy, path)
    finally:
        os.chdir(before)


# -- units that raise ------------------------------------------------------------------------


@check
def what_a_unit_raises_comes_out_and_nothing_is_stored(make, path):
    with closing(make(path)) as strategy:
        for error in (ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):

            def unit(connection, error=error):
                increment(connection)
                raise error

            before = stored(path)
            for call in (strategy.write, lambda unit: Thread(strategy.write, unit).get()):
                with raises(BaseException) as caught:
                    call(unit)
                assert caught == [error]
                assert stored(path) == before
            is_fit(strategy, path)


@check
def an_sql_error_that_the_unit_catches_does_not_end_it(make, path):
    def unit(connection):
        with raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO item VALUES (1, 'a'), (1, 'b')")
        return increment(connection)

    with closing(make(path)) as strategy:
        assert strategy.write(unit) == 1 == stored(path)


def ends(end):
    def unit(connection):
        increment(connection)
        end(connection)
        increment(connection)

    return unit


def with_connection(connection):
    with connection:
        connection.execute("INSERT OR REPLACE INTO item VALUES (1, 'a')")


ENDINGS = [
    lambda connection: connection.commit(),
    lambda connection: connection.rollback(),
    lambda connection: connection.execute("COMMIT"),
    lambda connection: connection.execute("END"),
    lambda connection: connection.execute("ROLLBACK"),
    lambda connection: connection.executescript("SELECT 1"),
    with_connection,
]


@check
def a_unit_that_ends_its_transaction_is_told_so(make, path):
    with closing(make(path)) as strategy:
        for end in ENDINGS:
            for _ in range(2):  # the second time its statement is in the cache
                with raises(RuntimeError) as caught:
                    strategy.write(ends(end))
                assert type(caught[0]).__name__ == "OutcomeUnknown"
                missing = "no such savepoint" if make.__name__ == "Writer" else "cannot commit"
                assert f"maybe stored: {missing}" in str(caught[0])
                assert isinstance(caught[0].__cause__, sqlite3.OperationalError)
        is_fit(strategy, path)


@check
def a_unit_may_use_savepoints(make, path):
    def unit(connection):
        connection.execute("SAVEPOINT mine")
        increment(connection)
        connection.execute("ROLLBACK TO mine")
        increment(connection)
        connection.execute("SAVEPOINT left_open")
        return increment(connection)

    with closing(make(path)) as strategy:
        assert strategy.write(unit) == 2 == stored(path)
        is_fit(strategy, path)


@check
def when_sqlite_ends_the_transaction_the_unit_is_told(make, path):
    def twice(connection):
        increment(connection)
        connection.execute("INSERT OR ROLLBACK INTO item VALUES (1, 'a'), (1, 'b')")

    def goes_on(connection):
        with raises(sqlite3.IntegrityError):
            twice(connection)
        increment(connection)

    def ends_there(connection):
        with raises(sqlite3.IntegrityError):
            twice(connection)

    with closing(make(path)) as strategy:
        for unit in (twice, goes_on, ends_there):
            with raises(Exception) as caught:
                strategy.write(unit)
            assert type(caught[0]).__name__ == "OutcomeUnknown"
            assert isinstance(caught[0].__cause__, sqlite3.Error)
            is_fit(strategy, path)


@check
def a_full_disk_is_told_and_survived(make, path):
    def unit(connection):
        increment(connection)
        connection.execute("PRAGMA max_page_count = 10")
        try:
            for number in range(100):
                connection.execute("INSERT INTO item VALUES (?, ?)", [number, "x" * 4000])
        finally:
            connection.execute("PRAGMA max_page_count = 1000000")

    with closing(make(path)) as strategy:
        with raises(sqlite3.OperationalError, RuntimeError) as caught:
            strategy.write(unit)
        error = caught[0].__cause__ or caught[0]  # SQLite may have ended the transaction
        assert error.sqlite_errorcode == sqlite3.SQLITE_FULL
        is_fit(strategy, path)


@check
def a_constraint_that_is_checked_at_commit_fails_only_its_unit(make, path):
    def unit(connection):
        connection.execute("INSERT INTO child VALUES (7)")
        return increment(connection)

    def connect(*arguments, **options):
        connection = sqlite3.connect(*arguments, **options)
        connection.execute("PRAGMA foreign_keys = 1")
        return connection

    with closing(make(path, connect)) as strategy:
        with raises(sqlite3.IntegrityError):
            strategy.write(unit)
        assert stored(path) == 0
        is_fit(strategy, path)


@check
def a_unit_that_closes_the_connection_harms_only_itself(make, path):
    def unit(connection):
        increment(connection)
        connection.close()

    with closing(make(path)) as strategy:
        for call in (strategy.write, strategy.read):
            unknown = call == strategy.write
            with raises(RuntimeError if unknown else sqlite3.Error) as caught:
                call(unit)
            assert stored(path) == 0
            if unknown:
                assert type(caught[0]).__name__ == "OutcomeUnknown"
            if make.__name__ != "TransactionLock":  # has no other
                assert strategy.write(lambda connection: None) is None
                assert strategy.read(look) == 0


@check
def a_result_that_would_work_later_is_refused(make, path):
    async def coroutine(connection):
        increment(connection)  # never reached

    def generator(connection):
        yield increment(connection)

    def cursor(connection):
        increment(connection)
        return connection.execute("SELECT value FROM counter")

    def numbers(connection):
        return map(int, connection.execute("SELECT value FROM counter"))

    async def numbers_later(connection):
        yield increment(connection)

    with closing(make(path)) as strategy:
        for unit in (coroutine, generator, cursor, numbers, numbers_later):
            with raises(TypeError) as caught, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "never awaited" is true
                strategy.write(unit)
            assert "fetch the rows inside" in str(caught[0])
            assert stored(path) == 0
        is_fit(strategy, path)


@check
def any_other_result_is_returned(make, path):
    point = collections.namedtuple("point", "x y")(1, 2)
    with closing(make(path)) as strategy:
        for result in ({1}, decimal.Decimal("1.5"), point, object(), [], {"a": 1}, None, b"x"):
            assert strategy.write(lambda connection, result=result: result) is result


# -- nested use --------------------------------------------------------------------------------


@check
def nested_use_is_refused_at_once_and_the_outer_unit_goes_on(make, path):
    with closing(make(path)) as strategy, closing(make(path)) as another:
        strategy.write(increment)
        for outer in (strategy.write, strategy.read):
            for inner in (strategy.write, strategy.read, another.write, another.read):

                def unit(connection, inner=inner):
                    began = time.monotonic()
                    with raises(RuntimeError) as caught:
                        inner(increment)
                    assert time.monotonic() - began < AT_ONCE
                    assert "pass on the outer one's connection" in str(caught[0])
                    return look(connection)

                assert outer(unit) == 1
        with raises(RuntimeError):
            strategy.write(lambda connection: strategy.close())
        is_fit(strategy, path)


@check
def a_unit_may_use_a_strategy_for_another_database(make, path):
    other = create(path + ".other")
    with closing(make(path)) as strategy, closing(make(other)) as another:

        def unit(connection):
            return increment(connection), another.write(increment), another.read(look)

        assert strategy.write(unit) == (1, 1, 1)
        with raises(RuntimeError):  # still inside of the outer one
            strategy.write(lambda _: (another.write(increment), strategy.write(increment)))
        assert (stored(path), stored(other)) == (1, 2)


# -- the commit --------------------------------------------------------------------------------


class Failing(sqlite3.Connection):
    """A connection whose next commit fails: before it was done, or after."""

    done = failing = False

    def _end(self, commit):
        if not Failing.failing:
            return commit()
        Failing.failing = False
        if Failing.done:
            commit()
        raise sqlite3.OperationalError("disk I/O error")

    def commit(self):
        self._end(super().commit)

    def execute(self, sql, *parameters):
        execute = functools.partial(super().execute, sql, *parameters)
        return self._end(execute) if sql == "COMMIT" else execute()


@check
def a_commit_of_which_nobody_knows_is_told_apart(make, path):
    def connect(*arguments, **options):
        return sqlite3.connect(*arguments, factory=Failing, **options)

    with closing(make(path, connect)) as strategy:
        for Failing.done, expected in ((False, "OperationalError"), (True, "OutcomeUnknown")):
            Failing.failing = True
            if Failing.done and make.__name__ == "Writer":  # which finds out
                assert strategy.write(increment) == 1 == stored(path)
                continue
            with raises(Exception) as caught:
                strategy.write(increment)
            assert type(caught[0]).__name__ == expected
            assert stored(path) == Failing.done
            if Failing.done:
                assert isinstance(caught[0], RuntimeError)
                assert isinstance(caught[0].__cause__, sqlite3.OperationalError)
        is_fit(strategy, path)


# -- opening and closing -----------------------------------------------------------------------


@check
def with_autocommit_what_is_acknowledged_is_stored(make, path):
    """With ``autocommit=True``, ``commit()`` does nothing; with False a transaction is open."""
    if sys.version_info < (3, 12):
        return
    for autocommit in (True, False):

        def connect(*arguments, autocommit=autocommit, **options):
            return sqlite3.connect(*arguments, autocommit=autocommit, **options)

        before = stored(path)
        try:
            with closing(make(path, connect)) as strategy:
                result = strategy.write(increment)
        except (ValueError, sqlite3.OperationalError):
            result = before
        assert stored(path) == result


@check
def a_timeout_that_is_none_is_refused_before_the_first_wait(make, path):
    for timeout in (-1, float("inf"), float("nan"), 1e20):
        with raises(ValueError) as caught:
            make(path, timeout=timeout).close()
        assert "timeout counts seconds" in str(caught[0])


@check
def a_closed_strategy_refuses_and_can_be_closed_again(make, path):
    strategy = make(path)
    strategy.write(increment)
    strategy.read(look)
    for _ in range(2):
        strategy.close()
        for call in (strategy.write, strategy.read):
            for run in (lambda call=call: call(increment), Thread(call, increment).get):
                with raises(RuntimeError, sqlite3.ProgrammingError) as caught:
                    run()
                assert "closed" in str(caught[0]) or "ended" in str(caught[0])
    assert stored(path) == 1


@check
def every_connection_is_closed(make, path):
    opened = []

    class Counted(sqlite3.Connection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            opened.append(self)

        def close(self):
            super().close()
            if self in opened:
                opened.remove(self)

    strategy = make(path, lambda *a, **options: sqlite3.connect(*a, factory=Counted, **options))
    with Held(strategy, write=False, name="a"):
        strategy.write(increment) if make.__name__ != "TransactionLock" else None
        Thread(strategy.read, look).get() if make.__name__ != "TransactionLock" else None
    with raises(ValueError):
        strategy.write(lambda connection: int("no"))
    assert 1 <= len(opened) <= 5
    strategy.close()
    until(lambda: not opened)


@check
def closing_waits_for_the_unit_that_runs(make, path):
    strategy = make(path)
    with Held(strategy, unit=increment):
        closer = Thread(strategy.close)
        time.sleep(0.01)
        assert closer.is_alive()
    closer.get()
    assert stored(path) == 1


@check
def closing_in_vain_names_the_thread_and_can_be_tried_again(make, path):
    strategy = make(path, timeout=0.05)
    with Held(strategy, unit=increment, name="the slow one"):
        with raises(TimeoutError) as caught:
            strategy.close()
        assert "the slow one" in str(caught[0])
    strategy.close()
    assert stored(path) == 1


@check
def a_connection_that_cannot_be_opened_is_told(make, path):
    refuses = True

    def connect(*arguments, **options):
        if refuses:
            raise sqlite3.OperationalError("unable to open database file")
        return sqlite3.connect(*arguments, **options)

    with raises(sqlite3.OperationalError):
        strategy = make(path, connect)
        try:
            strategy.write(increment)
        finally:
            strategy.close()
    refuses = False
    with closing(make(path, connect)) as strategy:
        is_fit(strategy, path)


@check
def a_forked_child_is_refused_and_harms_nothing(make, path):
    if not hasattr(os, "fork"):
        return
    with closing(make(path)) as strategy:
        strategy.write(increment)
        strategy.read(look)
        for call in (
            lambda: strategy.write(increment),
            lambda: strategy.read(look),
            strategy.close,
        ):
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                child = os.fork()  # of the writer's thread, from Python 3.12 on
            if not child:
                try:
                    call()
                except RuntimeError as error:
                    os._exit(42 if "fork" in str(error) else 1)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        is_fit(strategy, path)


def load(file, name):
    """The class `name` of a file that is not part of any package."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def main(file, name):
    make = load(file, name)
    for number, function in enumerate(CHECKS):
        with tempfile.TemporaryDirectory() as folder:
            function(make, create(os.path.join(os.path.realpath(folder), f"{number}.db")))
    print(len(CHECKS), "checks:", name, "alone keeps them all")


if __name__ == "__main__":
    main(*sys.argv[1:])
