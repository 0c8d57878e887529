"""Thousands of random mixes: what the threads were told is what the file holds.

Nothing more is stored either: a unit that raised must not be there, and committed work must not
raise. Another process checkpoints, vacuums and switches the journal mode meanwhile.
"""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import protocol
import pytest

from helpers.strategies import (
    OutcomeUnknown,
    PerThread,
    Pool,
    Settings,
    TransactionLock,
    Writer,
)

RIGHT = (TransactionLock, PerThread, Pool, Writer)
QUICK = Settings(synchronous="OFF")

STRANGER = """
import sqlite3, sys
for line in sys.stdin:
    path, sql = line.rstrip("\\n").split("\\t")
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute(sql).fetchall()
    except sqlite3.Error:
        pass
    connection.close()
    print(flush=True)
"""
DISTURBANCES = [
    "SELECT 1",
    "SELECT * FROM item",
    "VACUUM",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA journal_mode = wal",
    "PRAGMA journal_mode = delete",
]


@contextmanager
def stranger():
    """Another process: a function that lets it run a statement on a connection of its own."""
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", STRANGER], **pipe) as process:

        def run(path, sql):
            print(path, sql, sep="\t", file=process.stdin, flush=True)
            process.stdout.readline()

        yield run
        process.stdin.close()


class GaveUp(Exception):
    pass


def insert(number, sql="INSERT INTO item VALUES (?, 'x')"):
    return lambda connection: connection.execute(sql, [number]) and None


def units(number):
    """Units of work that store `number`, or ought to fail as a whole."""
    store = insert(number)

    def gives_up(connection):
        store(connection)
        raise GaveUp

    def commits(connection):
        store(connection)
        connection.commit()

    def rolls_back_by_conflict(connection):
        store(connection)
        insert(number, "INSERT OR ROLLBACK INTO item VALUES (?, 'twice')")(connection)

    def goes_on_after_it(connection):
        with suppress(sqlite3.IntegrityError):
            rolls_back_by_conflict(connection)
        store(connection)

    def closes(connection):
        store(connection)
        connection.close()

    return [store, store, store, gives_up, commits, rolls_back_by_conflict, goes_on_after_it,
            closes, lambda connection: insert(None, "SELECT ?")(connection)]  # fmt: skip


def mix(make, path, chance, disturb):
    """A few strategies after each other, a few threads each: (told, may be, stored)."""
    told, may_be, numbers = set(), set(), iter(range(10**6))

    def work(strategy, steps):
        for kind, number in steps:
            try:
                if kind == 0:
                    strategy.read(lambda connection: connection.execute("SELECT 1").fetchone())
                    continue
                unit = units(number)[kind]
                strategy.write(unit)
            except OutcomeUnknown:
                may_be.add(number)
            except (GaveUp, sqlite3.Error):
                continue
            else:
                if kind != 8:
                    told.add(number)

    for _ in range(chance.randint(1, 2)):
        with closing(make(path, QUICK.open)) as strategy:
            # A lock whose one connection a unit has closed would refuse all that follows.
            last = 6 if make is TransactionLock else 8
            plans = [
                [(chance.randint(0, last), next(numbers)) for _ in range(chance.randint(1, 4))]
                for _ in range(chance.randint(1, 3))
            ]
            threads = [protocol.Thread(work, strategy, plan) for plan in plans]
            if chance.random() < 0.3:
                disturb(path, chance.choice(DISTURBANCES))
            for thread in threads:
                thread.get()
    with closing(sqlite3.connect(path)) as connection:
        stored = {number for (number,) in connection.execute("SELECT id FROM item")}
    return told, may_be, stored


def mixes(make, count, folder):
    chance, lucky = random.Random(make.__name__), 0
    templates = {
        mode: Path(protocol.create(str(folder / mode), mode)).read_bytes()
        for mode in ("wal", "delete")
    }
    with stranger() as disturb:
        for number in range(count):
            path = folder / f"{number}.db"
            path.write_bytes(templates[chance.choice(["wal", "delete"])])
            told, may_be, stored = mix(make, str(path), chance, disturb)
            assert told <= stored <= told | may_be, (number, told, may_be, stored)
            lucky += len(told)
            for file in folder.glob(f"{number}.db*"):
                file.unlink()
    assert lucky > count


@pytest.mark.parametrize("make", RIGHT, ids=lambda make: make.__name__)
def test_two_hundred_mixes(make, tmp_path):
    mixes(make, 200, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("make", RIGHT, ids=lambda make: make.__name__)
def test_a_thousand_mixes(make, tmp_path):
    mixes(make, 1000, tmp_path)
