"""The interpreter ends while daemon threads are in the middle of reads and writes."""

import functools
import os
import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import protocol
import pytest

from helpers import strategies

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")

STRATEGIES = ["TransactionLock", "PerThread", "Pool", "Writer"]

#: Four daemon threads write and read without end; each acknowledgement is one line.
PROGRAM = """
import itertools, os, sys, threading, time
from helpers import strategies

path, name, seconds = sys.argv[1:]
strategy, begun = getattr(strategies, name)(path), threading.Event()

def write(worker):
    for number in itertools.count(worker * 10**6):
        strategy.write(lambda c: c.execute("INSERT INTO item VALUES (?, 'x')", [number]) and None)
        os.write(1, b"%d\\n" % number)
        begun.set()

def read():
    while True:
        strategy.read(lambda c: c.execute("SELECT * FROM item ORDER BY text").fetchall())

for job in (lambda: write(1), lambda: write(2), read, read):
    threading.Thread(target=job, daemon=True).start()
begun.wait()  # on a busy machine the first commit takes a while
time.sleep(float(seconds))
"""


def end_and_look(name, mode, path, seconds):
    """How the program ended, and what it had told and the file does not hold."""
    protocol.create(path, mode)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, name, str(seconds)],
        capture_output=True, text=True, timeout=protocol.TIMEOUT,
    )  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = {number for (number,) in connection.execute("SELECT id FROM item")}
    told = {int(line) for line in done.stdout.split()}
    assert told, "it had no time to write"
    return done.returncode, done.stderr, told - stored


def exits(name, count, tmp_path):
    chance = random.Random(name)
    for number in range(count):
        mode = ("wal", "delete")[number % 2]
        seconds = chance.uniform(0.1, 0.3)
        assert end_and_look(name, mode, str(tmp_path / f"{number}.db"), seconds) == (0, "", set())


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_exits(name, tmp_path):
    exits(name, 2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_twenty_exits(name, tmp_path):
    exits(name, 20, tmp_path)


@pytest.mark.parametrize("name", STRATEGIES)
def test_sqlite_calls_no_python_in_a_thread_of_the_users(name, tmp_path):
    """A daemon thread may be inside SQLite when Python is gone, and a callback would crash."""
    callers = set()

    class Watched(sqlite3.Connection):
        def set_authorizer(self, callback):
            def asked(*arguments):
                callers.add(threading.current_thread().name)
                return callback(*arguments)

            super().set_authorizer(asked)

        def _refused(self, *_, **__):
            raise AssertionError("a callback in Python")

        set_trace_callback = set_progress_handler = create_function = create_collation = _refused

    path = protocol.create(str(tmp_path / "shop.db"), "wal")
    connect = functools.partial(sqlite3.connect, factory=Watched)
    with closing(getattr(strategies, name)(path, connect)) as strategy:
        strategy.write(protocol.increment)
        assert strategy.read(protocol.look) == 1
    assert callers == set()


LEAVES = """
import atexit, os, sys, threading
from helpers.strategies import Writer

writer = Writer(sys.argv[1])
atexit.register(lambda: print(writer.write(add), flush=True))

def add(connection):
    sql = "UPDATE counter SET value = value + 1 RETURNING value"
    return connection.execute(sql).fetchall()[0][0]

def for_ever():
    while True:
        writer.write(lambda connection: None)
        writer.read(lambda connection: None)

for _ in range(100):
    writer.submit(add)
for _ in range(4):
    threading.Thread(target=for_ever, daemon=True).start()
if sys.argv[2:] and not os.fork():
    sys.exit()  # a child, whose parent's thread it does not have
"""


@pytest.mark.parametrize("fork", [False, pytest.param(True, marks=needs_fork)])
def test_when_the_interpreter_ends_the_writer_still_answers_atexit_functions(tmp_path, fork):
    path = protocol.create(str(tmp_path / "shop.db"), "wal")
    command = [sys.executable, "-W", "ignore", "-c", LEAVES, path, *["fork"] * fork]
    done = subprocess.run(command, capture_output=True, text=True, timeout=protocol.TIMEOUT)
    assert done.returncode == 0
    with closing(sqlite3.connect(path)) as connection:
        assert protocol.look(connection) == 101
    if not fork:
        assert (done.stdout.split(), done.stderr) == (["101"], "")


#: Who else may wait for a daemon thread at the end: a handler's lock, a join, a unit.
WAITS = {
    "logging": """
class Handler(logging.Handler):
    def emit(self, record):
        writer.write(add)

writer = Writer(sys.argv[1])
logging.getLogger().addHandler(Handler())

def log():
    while True:
        logging.warning("tick")
""",
    "join": """
stop = threading.Event()

@atexit.register
def join():
    stop.set()
    thread.join()

writer = Writer(sys.argv[1])

def log():
    while not stop.is_set():
        writer.write(add)
""",
    "another writer": """
writer = Writer(sys.argv[1], group=8)
another = Writer(sys.argv[1] + ".other")
for _ in range(40):
    writer.submit(lambda connection: another.write(lambda other: None))

def log():
    pass
""",
}


@pytest.mark.parametrize("what", WAITS)
def test_nobody_waits_for_a_thread_that_came_too_late(tmp_path, what):
    path = protocol.create(str(tmp_path / "shop.db"), "wal")
    begin = "import atexit, logging, sys, threading, time\nfrom helpers.strategies import Writer\n"
    add = 'add = lambda c: c.execute("UPDATE counter SET value = value + 1") and None\n'
    end = "\nthread = threading.Thread(target=log, daemon=True)\nthread.start()\ntime.sleep(0.1)"
    command = [sys.executable, "-c", begin + add + WAITS[what] + end, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=protocol.TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")
