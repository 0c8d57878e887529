"""What goes wrong round a strategy: a clear error, and nothing that was acknowledged is lost."""

import ctypes
import itertools
import os
import random
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest
from units import PATIENCE, RIGHT, Thread, add, elsewhere, increment, look, stored, until

from helpers import databases, load, sandbox
from helpers.strategies.errors import ClosedError, MovedError, StrategyError, WriterDied
from helpers.strategies.per_thread import PerThread
from helpers.strategies.settings import Settings
from helpers.strategies.writer import Writer
from helpers.workloads import Cancelled, Transfer

QUICK = Settings(busy_timeout=0.3, synchronous="OFF")
PATIENT = Settings(busy_timeout=PATIENCE, synchronous="OFF")

posix = pytest.mark.skipif(os.name != "posix", reason="only POSIX systems can do this")
right = pytest.mark.parametrize("kind", RIGHT, ids=lambda kind: kind.__name__)
both_modes = pytest.mark.parametrize("mode", ["delete", "wal"])


# -- a worker raises ---------------------------------------------------------------------


@right
@both_modes
def test_a_worker_that_gives_up_halfway_takes_back_its_own_work_only(kind, mode):
    def make(path, connect):
        return kind(path, connect, settings=PATIENT, timeout=PATIENCE)

    result = load.run(
        Transfer(10, cancel_every=3), make, threads=4, stop_on_error=False, journal_mode=mode
    )
    assert result.audit.holds
    assert result.audit.acknowledged == 4 * 7
    assert [failure.error.kind for failure in result.failures] == [Cancelled.__name__] * 4 * 3


# -- a thread is killed ------------------------------------------------------------------


class Killed(BaseException):
    """What kills a thread from outside."""


def kill(thread):
    ident, killed = ctypes.c_ulong(thread.ident), ctypes.py_object(Killed)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, killed)


def kill_often(kind, mode, victims, kills):
    """Kill threads that write, at random moments; what was told, what is stored, how it ended.

    `victims(strategy, threads)` says which threads may be killed.
    """
    chance = random.Random(7)
    with databases.fresh("counter", mode) as database:
        told, tried, errors = [], itertools.count(), []
        strategy = kind(database, settings=PATIENT, timeout=PATIENCE)
        stop = threading.Event()

        def work():
            while not stop.is_set():
                next(tried)
                try:
                    told.append(strategy.write(increment))
                except (WriterDied, Killed) as error:
                    errors.append(type(error).__name__)
                    return

        threads, killed = [Thread(work) for _ in range(4)], []
        for number in range(kills):
            until(lambda number=number: len(told) > number * 3 or not alive(threads))
            if not alive(threads):
                break
            victim = chance.choice(victims(strategy, threads))
            kill(victim)
            if victim in threads:  # it may not be killed again before it has ended
                killed.append(victim)
                threads[threads.index(victim)] = Thread(work)
        stop.set()
        for thread in threads + killed:
            thread.join(2 * PATIENCE)
        hung = len(alive(threads + killed))
        after = None
        with suppress(WriterDied):
            after = Thread(strategy.write, add(0)).get()
        strategy.close()
        return hung, len(told), stored(database), next(tried), sorted(set(errors)), after


def alive(threads):
    return [thread for thread in threads if thread.is_alive()]


@right
@both_modes
def test_threads_that_are_killed_while_they_write_lose_nothing(kind, mode):
    """An exception from outside may come after the COMMIT: then a unit is stored, but not told."""
    result = sandbox.call(
        kill_often, kind, mode, lambda _, threads: alive(threads), 20, seconds=100
    )
    hung, told, in_file, tried, errors, after = result.get()
    assert hung == 0
    assert told <= in_file <= tried
    assert errors == ["Killed"]
    assert after == 1


def kill_writers(mode):
    return [
        kill_often(Writer, mode, lambda writer, _: [writer._thread], kills) for kills in range(1, 6)
    ]


@both_modes
def test_a_writers_thread_that_is_killed_anywhere_answers_everybody(mode):
    for ended in sandbox.call(kill_writers, mode, seconds=100).get():
        hung, told, in_file, tried, errors, _ = ended
        assert hung == 0
        assert told <= in_file <= tried
        assert set(errors) <= {"Killed", "WriterDied"}


# -- the disk is full --------------------------------------------------------------------


def fill_the_disk(kind, mode):
    """Write pairs of rows until no file may grow; then make room again."""
    import resource

    with databases.Database(journal_mode=mode) as database:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.executescript("CREATE TABLE pair (unit, half, data)")
        strategy = kind(database, settings=PATIENT)
        told, errors, numbers = [], [], itertools.count()

        def unit(number, catches=False):
            def insert(connection):
                for half in range(2):
                    try:
                        connection.execute(
                            "INSERT INTO pair VALUES (?, ?, randomblob(20000))", [number, half]
                        )
                    except sqlite3.Error:
                        if not catches:
                            raise
                return number

            return insert

        def work(catches):
            for number in itertools.islice(numbers, 60):
                try:
                    told.append(strategy.write(unit(number, catches)))
                except (sqlite3.Error, StrategyError) as error:
                    errors.append(f"{type(error).__name__}: {error}"[:40])

        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        for thread in [Thread(work, catches) for catches in (False, False, True)]:
            thread.get()
        can_read = strategy.read(lambda c: c.execute("SELECT count(*) FROM pair").fetchone()[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        told.append(strategy.write(unit(-1)))
        strategy.close()
        pairs = database.query("SELECT unit, count(*) FROM pair GROUP BY unit")
        ((check,),) = database.query("PRAGMA integrity_check")
        return told, dict(pairs), sorted(set(errors)), can_read, check


@posix
@right
@both_modes
def test_a_full_disk_refuses_units_as_a_whole_and_is_survived(kind, mode):
    result = sandbox.call(fill_the_disk, kind, mode, seconds=60)
    told, pairs, errors, can_read, check = result.get()
    assert sorted(pairs) == sorted(told)
    assert set(pairs.values()) == {2}
    assert can_read > 0
    assert check == "ok"
    assert errors
    expected = ("OperationalError: d", "UnitError: the unit of work began or end")
    assert all(error.startswith(expected) for error in errors), errors


# -- the database may not be written -----------------------------------------------------


def write_to_a_read_only_file(kind, mode):
    with databases.fresh("counter", mode) as database:
        assert report(kind, database) == [1, 1]  # and all modules are imported that are needed
        with closing(sqlite3.connect(database)) as connection, connection:
            add(-1)(connection)
        os.chmod(database.path, 0o444)
        os.chmod(database.folder, 0o555)
        os.chmod(database.folder.parent, 0o755)  # the sandbox's own folder
        if os.geteuid() == 0:
            # The superuser may write to everything.
            os.setegid(65534)
            os.seteuid(65534)
        try:
            return report(kind, database)
        finally:
            os.seteuid(os.getuid())
            os.setegid(os.getgid())
            os.chmod(database.folder, 0o755)


def report(kind, database):
    """The errors of a write and of a read, or what they returned."""
    ends = []
    strategy = None
    for call in ("write", "read"):
        try:
            strategy = strategy or kind(database, settings=Settings(busy_timeout=0.3))
            ends.append(getattr(strategy, call)(increment if call == "write" else look))
        except sqlite3.OperationalError as error:
            ends.append(str(error))
    if strategy is not None:
        strategy.close()
    return ends


@posix
@right
def test_a_read_only_database_refuses_writes_and_can_be_read(kind):
    result = sandbox.call(write_to_a_read_only_file, kind, "delete", seconds=30)
    assert result.get() == ["attempt to write a readonly database", 0]


@posix
@right
def test_a_read_only_folder_with_wal_refuses_even_reading(kind):
    """A WAL database needs a -shm file, and there is none that could be read."""
    write, read = sandbox.call(write_to_a_read_only_file, kind, "wal", seconds=30).get()
    expected = ("attempt to write a readonly database", "unable to open database file")
    assert write in expected
    assert read in expected


@posix
def test_the_folder_of_temporary_files_keeps_its_mode(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o700)
    sandbox.call(write_to_a_read_only_file, PerThread, "delete", seconds=30)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


# -- the file is taken away --------------------------------------------------------------


def delete(path):
    os.unlink(path)


def replace(path):
    with databases.fresh("counter") as other:
        os.replace(other.path, path)


def delete_wal(path):
    os.unlink(f"{path}-wal")


@posix
@right
@pytest.mark.parametrize(
    ("mode", "take_away"),
    [
        ("delete", delete), ("delete", replace),
        ("wal", delete), ("wal", replace), ("wal", delete_wal),
    ],
)  # fmt: skip
def test_nothing_is_acknowledged_that_is_not_in_the_file(kind, mode, take_away):
    with databases.fresh("counter", mode) as database:
        strategy = kind(database, settings=QUICK)
        strategy.write(increment)
        strategy.read(look)
        take_away(database.path)
        for call, unit in ((strategy.write, increment), (strategy.write, add(1))):
            with pytest.raises(MovedError, match=r"counter.db or its -wal file was deleted or"):
                call(unit)
        if take_away is not delete_wal:  # or the file itself is what a new connection reads
            with pytest.raises(MovedError):
                strategy.read(look)
        strategy.close()
        for path in database.folder.iterdir():
            path.unlink()
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript("CREATE TABLE counter (value); INSERT INTO counter VALUES (5)")
        strategy = kind(database, settings=QUICK)
        assert strategy.write(increment) == stored(database) == 6
        strategy.close()


@posix
def test_a_group_of_units_is_not_acknowledged_either():
    with databases.fresh("counter", "wal") as database:
        writer = Writer(database, settings=QUICK)
        writer.write(increment)
        begun, end = threading.Event(), threading.Event()
        first = writer.submit(lambda connection: (begun.set(), end.wait(PATIENCE)))
        assert begun.wait(PATIENCE)
        futures = [first, *(writer.submit(increment) for _ in range(5))]
        delete(database.path)
        end.set()
        for future in futures:
            with pytest.raises(MovedError):
                future.result(PATIENCE)
        writer.close()


@posix
def test_threads_that_come_later_open_what_is_there_then():
    with databases.fresh("counter") as database:
        strategy = PerThread(database, settings=QUICK)
        strategy.write(increment)
        replace(database.path)
        assert elsewhere(strategy.write, increment) == stored(database) == 1
        with pytest.raises(MovedError):
            strategy.write(increment)
        strategy.close()


# -- closing while busy ------------------------------------------------------------------


@right
@both_modes
def test_closing_under_load_loses_nothing(kind, mode):
    for _ in range(5):
        with databases.fresh("counter", mode) as database:
            strategy = kind(database, settings=PATIENT, timeout=PATIENCE)
            told, start = [], threading.Barrier(5)

            def work(strategy=strategy, told=told, start=start):
                start.wait(PATIENCE)
                with suppress(ClosedError):
                    while True:
                        told.append(strategy.write(increment))

            threads = [Thread(work) for _ in range(4)]
            start.wait(PATIENCE)
            until(lambda told=told: len(told) > 5)
            strategy.close()
            for thread in threads:
                thread.get()
            assert len(told) == stored(database)
            assert {path.name for path in Path(database.folder).iterdir()} == {"counter.db"}
