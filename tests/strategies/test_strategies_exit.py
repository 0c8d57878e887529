"""The interpreter ends while daemon threads are in the middle of reads and writes."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing

import protocol
import pytest

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
def test_five_exits(name, tmp_path):
    exits(name, 5, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_twenty_exits(name, tmp_path):
    exits(name, 20, tmp_path)
