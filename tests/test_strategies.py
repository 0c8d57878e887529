"""What every right strategy promises: one transaction a unit, rules for units, clear refusals."""

import gc
import itertools
import os
import re
import sqlite3
import threading
from contextlib import closing, suppress

import pytest
from units import (
    RIGHT,
    Held,
    Interruption,
    Thread,
    add,
    elsewhere,
    increment,
    look,
    stored,
)

from helpers import databases
from helpers.strategies import transactions
from helpers.strategies.errors import (
    ClosedError,
    ForkedError,
    NestedError,
    StrategyError,
    UnitError,
    WaitTimeout,
)
from helpers.strategies.guarded import Guarded
from helpers.strategies.settings import AS_IT_IS, Settings

#: No test waits for longer than this for a lock that never comes free.
QUICK = Settings(busy_timeout=0.2, synchronous="OFF")


#: For rules that have nothing to do with the journal.
one_mode = pytest.mark.parametrize("database", ["delete"], indirect=True)


@pytest.fixture(params=["delete", "wal"])
def database(request):
    with databases.fresh("counter", request.param) as database:
        yield database


@pytest.fixture(params=RIGHT, ids=lambda kind: kind.__name__)
def make(request):
    """Makes a strategy of one kind; all are closed at the end."""
    made = []

    def make(database, **options):
        made.append(request.param(database, **options))
        return made[-1]

    make.kind = request.param
    yield make
    for strategy in made:
        strategy.close()


@pytest.fixture
def strategy(make, database):
    return make(database, settings=QUICK)


def goes_on(strategy, database):
    """Whatever happened, units of any thread still run, and are stored."""
    before = stored(database)
    assert strategy.write(increment) == before + 1
    assert elsewhere(strategy.write, increment) == before + 2
    assert elsewhere(strategy.read, look) == strategy.read(look) == before + 2
    assert stored(database) == before + 2
    return True


# -- one unit of work, one transaction ---------------------------------------------------


def test_write_returns_the_result_when_it_is_committed(strategy, database):
    assert strategy.write(increment) == 1
    assert stored(database) == 1


def test_read_sees_what_was_acknowledged(strategy):
    for expected in range(1, 4):
        strategy.write(increment)
        assert strategy.read(look) == elsewhere(strategy.read, look) == expected


def test_threads_lose_no_increment(strategy, database):
    threads = [Thread(lambda: [strategy.write(increment) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        with suppress(sqlite3.OperationalError):
            thread.get()
    told = sum(len(thread.result or []) for thread in threads)
    assert told <= stored(database) <= 20
    assert told == 20 or any(thread.error for thread in threads)


@one_mode
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_a_unit_raises_comes_out_and_nothing_of_it_is_stored(strategy, database, error):
    def unit(connection):
        increment(connection)
        raise error("halfway")

    with pytest.raises(error, match="halfway"):
        strategy.write(unit)
    assert stored(database) == 0
    assert goes_on(strategy, database)


def test_an_sql_error_that_the_unit_catches_does_not_end_it(strategy, database):
    def unit(connection):
        increment(connection)
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO counter VALUES (1, 0)")
        return increment(connection)

    assert strategy.write(unit) == stored(database) == 2


def test_a_read_cannot_write(strategy, database):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        strategy.read(increment)
    assert stored(database) == 0
    assert goes_on(strategy, database)


def test_a_read_is_one_snapshot(make):
    with databases.fresh("counter", "wal") as database:
        strategy = make(database)

        def twice(connection):
            first = look(connection)
            with closing(sqlite3.connect(database)) as other, other:
                add(1)(other)
            return first, look(connection)

        assert strategy.read(twice) == (0, 0)
        assert strategy.read(look) == 1
        strategy.close()


def test_a_write_transaction_excludes_other_writers_from_its_beginning(strategy, database):
    def unit(connection):
        with (
            closing(sqlite3.connect(database, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")

    strategy.write(unit)


# -- what a unit of work must not do -----------------------------------------------------


def tails():
    """Ways to end one's own transaction; each is followed by a write that must not stay."""
    yield "commit", lambda connection: connection.commit()
    yield "rollback", lambda connection: connection.rollback()
    yield "COMMIT", lambda connection: connection.execute("COMMIT")
    yield "END", lambda connection: connection.execute("  end -- of it")
    yield "ROLLBACK", lambda connection: connection.execute("ROLLBACK")
    yield "BEGIN", lambda connection: connection.execute("BEGIN")
    yield "with", lambda connection: connection.__enter__() and connection.__exit__(*[None] * 3)
    yield "executescript", lambda connection: connection.executescript("SELECT 1; SELECT 2")
    yield "isolation_level", lambda connection: setattr(connection, "isolation_level", None)


@one_mode
@pytest.mark.parametrize("catches", [False, True], ids=["lets it out", "catches it"])
@pytest.mark.parametrize(("name", "end"), list(tails()), ids=[name for name, _ in tails()])
def test_a_unit_that_ends_its_transaction_is_refused_as_a_whole(
    strategy, database, name, end, catches
):
    def unit(connection):
        add(10)(connection)
        try:
            end(connection)
        except sqlite3.Error:
            if not catches:
                raise
        add(100)(connection)

    with pytest.raises(UnitError, match="ended a transaction itself"):
        strategy.write(unit)
    assert stored(database) == 0
    assert goes_on(strategy, database)


def test_a_unit_may_use_savepoints(strategy, database):
    def unit(connection):
        add(1)(connection)
        connection.execute("SAVEPOINT unit_of_work")
        add(10)(connection)
        connection.execute("ROLLBACK TO unit_of_work")
        connection.execute("SAVEPOINT left_open")
        add(100)(connection)

    strategy.write(unit)
    assert stored(database) == 101


def test_a_savepoint_left_open_does_not_keep_half_a_unit(strategy, database):
    def unit(connection):
        add(1)(connection)
        connection.execute("SAVEPOINT unit_of_work")
        add(10)(connection)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        strategy.write(unit)
    assert stored(database) == 0
    assert goes_on(strategy, database)


@pytest.mark.parametrize("catches", [False, True], ids=["lets it out", "catches it"])
def test_when_sqlite_ends_the_transaction_nothing_of_the_unit_stays(strategy, database, catches):
    def unit(connection):
        add(10)(connection)
        try:
            connection.execute("INSERT OR ROLLBACK INTO counter VALUES (1, 0)")
        except sqlite3.IntegrityError:
            if not catches:
                raise
            with suppress(sqlite3.Error):
                add(100)(connection)

    with pytest.raises(UnitError if catches else sqlite3.IntegrityError):
        strategy.write(unit)
    assert stored(database) == 0
    assert goes_on(strategy, database)


@pytest.mark.parametrize("call", ["write", "read"])
def test_a_unit_that_closes_the_connection_harms_only_itself(strategy, database, call):
    def unit(connection):
        if call == "write":
            increment(connection)
        connection.close()

    with pytest.raises(UnitError, match="closed the connection"):
        getattr(strategy, call)(unit)
    assert stored(database) == 0
    assert goes_on(strategy, database)


def results():
    """Results with which work would go on when the transaction is over."""

    class Later:
        """What a coroutine is, without the warning that it was never awaited."""

        def __await__(self):
            yield

    async def asynchronous():
        yield

    yield "Cursor", lambda connection: connection.execute("SELECT 1")
    yield "generator", lambda connection: (row for row in connection.execute("SELECT 1"))
    yield "map", lambda connection: map(list, connection.execute("SELECT 1"))
    yield "Later", lambda connection: Later()
    yield "async_generator", lambda connection: asynchronous()
    yield "Connection", lambda connection: connection


@one_mode
@pytest.mark.parametrize("call", ["write", "read"])
@pytest.mark.parametrize(("name", "result"), list(results()), ids=[name for name, _ in results()])
def test_a_result_that_would_work_later_is_refused(strategy, database, name, result, call):
    def unit(connection):
        if call == "write":
            increment(connection)
        return result(connection)

    with pytest.raises(UnitError, match=f"returned a {name}, whose work"):
        getattr(strategy, call)(unit)
    assert stored(database) == 0
    assert goes_on(strategy, database)


@one_mode
@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(["write", "read"], repeat=2)))
def test_nested_use_is_refused_and_the_outer_unit_goes_on(strategy, database, outer, inner):
    # The thread that reads beside a Writer is not the one that writes: it may ask it to.
    allowed = (type(strategy).__name__, outer, inner) == ("Writer", "read", "write")
    seen = []

    def unit(connection):
        if not allowed:
            with pytest.raises(NestedError, match="called its own"):
                getattr(strategy, inner)(increment)
        with pytest.raises(NestedError):
            strategy.close()
        seen.append(look(connection))
        return increment(connection) if outer == "write" else None

    getattr(strategy, outer)(unit)
    assert seen == [0]
    assert goes_on(strategy, database)


def test_a_constraint_that_is_checked_at_commit_fails_only_its_unit(make):
    script = """
        CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"""
    with databases.Database() as database:
        with closing(database.connect()) as connection:
            connection.executescript(script)
        strategy = make(database, settings=Settings(foreign_keys=True))
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            strategy.write(lambda c: c.execute("INSERT INTO child VALUES (1)").rowcount)
        strategy.write(lambda c: c.execute("INSERT INTO parent VALUES (2)").rowcount)
        strategy.write(lambda c: c.execute("INSERT INTO child VALUES (2)").rowcount)
        assert database.query("SELECT id FROM child") == [(2,)]
        strategy.close()


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("call", ["write", "read"])
def test_a_cursor_that_was_left_half_read_keeps_no_lock_and_no_old_snapshot(
    strategy, database, call, fails
):
    """It lives on in a variable, or in the traceback of what the unit raised."""
    kept = []
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany("INSERT INTO counter VALUES (?, 0)", [(n,) for n in range(2, 3000)])

    def unit(connection):
        rows = connection.execute("SELECT id FROM counter")
        for _ in rows:
            if fails:
                raise ValueError
            break
        kept.append(rows)

    try:
        getattr(strategy, call)(unit)
    except ValueError as error:
        kept.append(error)
    with closing(sqlite3.connect(database, timeout=0.2)) as other, other:
        other.execute("UPDATE counter SET value = 1")
    assert strategy.read(look) == elsewhere(strategy.read, look) == 1
    assert strategy.write(add(1)) == elsewhere(strategy.write, add(1)) == 2999
    assert len(kept) == 1
    if not fails:
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            kept[0].fetchone()


# -- refusals ----------------------------------------------------------------------------


def test_a_closed_strategy_refuses_and_can_be_closed_again(strategy, database):
    strategy.write(increment)
    for _ in range(2):
        strategy.close()
        for call in (strategy.write, strategy.read):
            with pytest.raises(ClosedError, match=f"{type(strategy).__name__} is closed"):
                call(look)
            with pytest.raises(ClosedError):
                elsewhere(call, look)
    assert stored(database) == 1


def test_closing_lets_go_of_the_file(strategy, database):
    elsewhere(strategy.write, increment)
    strategy.read(look)
    strategy.close()
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        # Only allowed while nobody else has the database open.
        connection.execute("PRAGMA locking_mode = exclusive")
        connection.execute("BEGIN EXCLUSIVE").execute("COMMIT")
    assert [path.name for path in database.folder.iterdir()] == [database.path.name]


def test_closing_waits_for_the_unit_that_runs(strategy, database):
    with Held(strategy, unit=increment) as held:
        closing_thread = Thread(strategy.close)
        assert closing_thread.is_alive()
        assert stored(database) == 0
    assert held.thread.result == 1
    closing_thread.get()
    assert stored(database) == 1


def test_closing_says_what_it_waited_for_and_can_be_tried_again(make, database):
    strategy = make(database, timeout=0.05)
    with Held(strategy, unit=increment), pytest.raises(WaitTimeout, match=r"0\.05 s"):
        strategy.close()
    strategy.close()
    assert stored(database) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_harms_nothing(strategy, database):
    strategy.write(increment)
    with Held(strategy, unit=increment):
        child = os.fork()
        if not child:
            refused = 0
            for call in (strategy.write, strategy.read):
                try:
                    call(look)
                except ForkedError:
                    refused += 1
            with suppress(ForkedError):
                strategy.close()
            gc.collect()
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert stored(database) == 2
    assert goes_on(strategy, database)


@one_mode
@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan")])
def test_a_timeout_must_be_a_time(make, database, timeout):
    with pytest.raises(ValueError, match=f"timeout must be 0 to .* seconds, not {timeout}"):
        make(database, timeout=timeout)


def test_the_path_is_kept_when_the_program_changes_its_folder(make, database, monkeypatch):
    monkeypatch.chdir(database.folder)
    strategy = make(database.path.name)
    monkeypatch.chdir("..")
    assert elsewhere(strategy.write, increment) == 1
    assert elsewhere(strategy.read, look) == stored(database) == 1
    strategy.close()


def test_a_failing_start_leaves_nothing_open(make, database):
    before = threading.active_count()
    missing = database.folder / "missing" / "x.db"
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        make(missing).write(increment)
    if make.kind.__name__ != "PerThread":
        assert threading.active_count() == before


# -- Ctrl-C ------------------------------------------------------------------------------


# Python itself drops, and so closes, a connection between `sqlite3.connect` and whoever asked.
@pytest.mark.filterwarnings("ignore:.*unclosed database")
@pytest.mark.filterwarnings("ignore:.*sqlite3.Connection object")
@pytest.mark.parametrize("call", ["write", "read"])
@pytest.mark.parametrize("first", [True, False], ids=["first unit", "later unit"])
def test_an_interruption_at_any_place_leaves_the_strategy_fit(make, call, first):
    for number in itertools.count(1):
        with databases.fresh("counter") as database:
            strategy = make(database, timeout=5, settings=QUICK)
            if not first:
                strategy.write(increment)
            before = stored(database)
            with Interruption(number) as interruption:
                getattr(strategy, call)(increment if call == "write" else look)
            assert elsewhere(strategy.write, add(10)) == 1
            assert stored(database) - before in ((10, 11) if call == "write" else (10,)), number
            assert goes_on(strategy, database), number
            strategy.close()
        if not interruption.happened:
            break
    del strategy
    gc.collect()
    assert number > 1


# -- the functions below the strategies --------------------------------------------------


def test_begin_must_be_one_that_sqlite_has():
    assert transactions.check_begin("immediate") == "IMMEDIATE"
    with pytest.raises(ValueError, match="DEFERRED, IMMEDIATE, EXCLUSIVE, not 'CONCURRENT'"):
        transactions.check_begin("CONCURRENT")


def test_a_transaction_that_is_open_is_left_alone(database):
    with closing(AS_IT_IS.open(database)) as connection:
        connection.execute("BEGIN")
        add(1)(connection)
        with pytest.raises(UnitError, match="open already"):
            transactions.write(connection, increment, "IMMEDIATE")
        connection.commit()
    assert stored(database) == 1


def test_a_commit_that_fails_is_rolled_back():
    with databases.fresh("counter") as database:
        with (
            closing(sqlite3.connect(database, isolation_level=None)) as reader,
            closing(QUICK.open(database)) as connection,
        ):
            reader.execute("BEGIN").execute("SELECT * FROM counter").fetchall()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                transactions.write(connection, increment, "IMMEDIATE")
            assert not connection.in_transaction
        assert stored(database) == 0


def test_a_guarded_connection_in_memory_is_not_replaced_by_an_empty_one():
    guarded = Guarded(AS_IT_IS, ":memory:", sqlite3.connect)
    guarded.write(lambda c: c.execute("CREATE TABLE t (x)").rowcount, "IMMEDIATE")
    for expected in (transactions.CLOSED, "in memory is gone"):
        with pytest.raises(UnitError, match=re.escape(expected)):
            guarded.write(lambda connection: connection.close(), "IMMEDIATE")


def test_a_read_that_was_interrupted_twice_does_not_keep_writers_out(database, monkeypatch):
    guarded = Guarded(QUICK, database, sqlite3.connect)

    def interrupted(connection, unit):
        connection.execute("PRAGMA query_only = 1")
        connection.execute("BEGIN")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transactions, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            guarded.read(look)
    assert guarded.write(increment, "IMMEDIATE") == stored(database) == 1
    guarded.close()


def test_every_refusal_is_a_strategy_error():
    for kind in (ClosedError, ForkedError, NestedError, UnitError, WaitTimeout):
        assert issubclass(kind, StrategyError)
    assert issubclass(WaitTimeout, TimeoutError)
