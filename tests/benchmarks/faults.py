"""What becomes of units of work when something goes wrong: every strategy, every fault.

    python tests/benchmarks/faults.py > faults.json
    python tests/benchmarks/faults.py --csv --strategy Writer

Three threads write beside the one that meets the fault, in a program of its own. A unit stores
two rows. For each fault the table counts

- lost: units that were acknowledged, and are not in the file;
- half: units of which one row is in the file, and the other is not, save those that ended their
  transaction themselves, or went on after its end, and were told so;
- told wrongly: units that raised and are stored all the same (`OutcomeUnknown` says that they
  may be, and so does KeyboardInterrupt);
- unanswered: calls that did not come back, though the program went on;

and the seconds that the program took, its start included.
"""

import argparse
import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from warnings import catch_warnings

from helpers.strategies import OutcomeUnknown, PerThread, Pool, TransactionLock, Writer

STRATEGIES = {make.__name__: make for make in (TransactionLock, PerThread, Pool, Writer)}
UNITS, BAD, TEXT = 25, 8, "x" * 500
#: Seconds after which a call counts as unanswered.
LIMIT = 20
SCHEMA = (
    "CREATE TABLE part (unit INTEGER, half INTEGER, text TEXT, PRIMARY KEY (unit, half));"
    "CREATE TABLE parent (id INTEGER PRIMARY KEY);"
    "CREATE TABLE child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
)


# -- in the program of its own -----------------------------------------------------------------


def say(word, number):
    os.write(1, f"{word} {number}\n".encode())


def store(connection, number, between=lambda connection: None):
    """A unit of work: two rows, and what happens between them."""
    connection.execute("INSERT INTO part VALUES (?, 1, ?)", [number, TEXT])
    between(connection)
    connection.execute("INSERT INTO part VALUES (?, 2, ?)", [number, TEXT])


def write(strategy, number, between=lambda connection: None, then=lambda connection: None):
    """Say what was told of one unit of work."""

    def unit(connection):
        store(connection, number, between)
        then(connection)

    say("begun", number)
    try:
        strategy.write(unit)
    except (OutcomeUnknown, KeyboardInterrupt):
        say("unknown", number)
    except BaseException:
        say("raised", number)
    else:
        say("done", number)


def fails(connection):
    raise ValueError("called off")


def exits(connection):
    sys.exit(3)


def conflict(connection):
    connection.execute("INSERT OR ROLLBACK INTO part SELECT * FROM part")


def conflict_caught(connection):
    with suppress(sqlite3.IntegrityError):
        conflict(connection)


def orphan(connection):
    connection.execute("INSERT INTO child VALUES (-1)")


def connect(*arguments, pages=None, read_only=False, **options):
    if read_only:
        arguments = (Path(arguments[0]).as_uri() + "?mode=ro", *arguments[1:])
        options["uri"] = True
    connection = sqlite3.connect(*arguments, **options)
    connection.execute("PRAGMA foreign_keys = 1")
    if pages:
        connection.execute(f"PRAGMA max_page_count = {pages}")
    return connection


def each(strategy, **what):
    for number in range(BAD):
        write(strategy, number, **what)


def nested(strategy):
    each(strategy, between=lambda _: strategy.write(partial(store, number=10**6)))


def forks(strategy):
    for number in range(BAD):
        write(strategy, number, between=fork_and_write(strategy))


def fork_and_write(strategy):
    def between(connection):
        with catch_warnings(action="ignore", category=DeprecationWarning):  # that threads run
            child = os.fork()
        if not child:
            with suppress(BaseException):
                strategy.write(partial(store, number=10**6))
            os._exit(0)
        os.waitpid(child, 0)

    return between


class Interruptible:
    """A strategy that Ctrl-C interrupts inside `write` and nowhere else, once in each call."""

    def __init__(self, strategy):
        self.strategy, self.inside = strategy, False

    def write(self, unit):
        self.inside = True
        result = self.strategy.write(unit)
        self.inside = False
        return result

    def interrupt(self, *_):
        if self.inside:
            self.inside = False
            raise KeyboardInterrupt


def interrupted(strategy):
    """Ctrl-C, again and again, in the main thread, which writes."""
    writing = Interruptible(strategy)
    signal.signal(signal.SIGINT, writing.interrupt)
    end = threading.Event()

    def press():
        while not end.wait(0.01):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    for number in range(10 * BAD):
        try:
            write(writing, number)
        except KeyboardInterrupt:
            say("unknown", number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end.set()
    thread.join()


def calls_back(strategy):
    """Only the writer has futures, and so callbacks."""
    for number in range(BAD):
        if not hasattr(strategy, "submit"):
            write(strategy, number)
            continue
        say("begun", number)
        future = strategy.submit(partial(store, number=number))
        future.add_done_callback(exits)
        say("done" if future.exception(LIMIT) is None else "raised", number)


def locked(strategy, path):
    """Another process has the write lock, for longer than anybody waits."""
    program = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], timeout=20);"
        "connection.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program, path], stdin=pipe, stdout=pipe) as other:
        other.stdout.readline()
        write(strategy, 0)
        other.stdin.close()
    each_later = range(1, BAD)
    for number in each_later:
        write(strategy, number)


#: Fault -> (what meets it: takes the strategy and the path; options of `connect`).
FAULTS = {
    "raise": (lambda s, _: each(s, between=fails), {}),
    "exit in a unit": (lambda s, _: each(s, between=exits), {}),
    "end of the program": (lambda s, _: os.write(1, b"leave 0\n"), {}),
    "kill -9": (lambda s, _: None, {}),
    "disk full": (lambda s, _: each(s), {"pages": 20}),
    "read-only": (lambda s, _: each(s), {"read_only": True}),
    "locked by another process": (locked, {"timeout": 0.2}),
    "closed underneath": (lambda s, _: each(s, between=lambda c: c.close()), {}),
    "fork": (lambda s, _: forks(s), {}),
    "Ctrl-C": (lambda s, _: interrupted(s), {}),
    "commit in a unit": (lambda s, _: each(s, between=lambda c: c.commit()), {}),
    "OR ROLLBACK": (lambda s, _: each(s, between=conflict), {}),
    "OR ROLLBACK, caught": (lambda s, _: each(s, between=conflict_caught), {}),
    "deferred constraint": (lambda s, _: each(s, then=orphan), {}),
    "nested": (lambda s, _: nested(s), {}),
    "callback raises": (lambda s, _: calls_back(s), {}),
}
ENDLESS = ("end of the program", "kill -9")
ENDED_BY_THE_UNIT = ("commit in a unit", "OR ROLLBACK, caught")


def program(name, fault, path):
    meet, options = FAULTS[fault]
    strategy = STRATEGIES[name](path, partial(connect, **options))

    def work(worker):
        units = range(10**9) if fault in ENDLESS else range(UNITS)
        for number in units:
            write(strategy, 1000 * worker + number if fault not in ENDLESS else 3 * number + worker)

    threads = [threading.Thread(target=work, args=[worker], daemon=True) for worker in (1, 2, 3)]
    for thread in threads:
        thread.start()
    if fault in ENDLESS:
        time.sleep(0.3)
        meet(strategy, path)
        if fault == "kill -9":
            os.kill(os.getpid(), signal.SIGKILL)
        return
    meet(strategy, path)
    deadline = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if not any(thread.is_alive() for thread in threads):
        with suppress(sqlite3.ProgrammingError):
            strategy.close()


# -- from outside ------------------------------------------------------------------------------


def run(name, fault):
    """One row of the table."""
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "shop.db")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.executescript(SCHEMA)
        began = time.monotonic()
        command = [sys.executable, __file__, "--program", name, fault, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                output, _ = child.communicate(timeout=2 * LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                output, _ = child.communicate()
        seconds = time.monotonic() - began
        told = {"begun": set(), "done": set(), "raised": set(), "unknown": set(), "leave": set()}
        for line in output.splitlines():
            word, number = line.split()
            told[word].add(int(number))
        with closing(sqlite3.connect(path)) as connection:
            parts = connection.execute("SELECT unit, count(*) FROM part GROUP BY unit").fetchall()
    stored = {unit for unit, _ in parts}
    excused = told["unknown"] if fault in ENDED_BY_THE_UNIT else ()
    answered = told["done"] | told["raised"] | told["unknown"]
    return {
        "strategy": name,
        "fault": fault,
        "units": len(told["begun"]),
        "acknowledged": len(told["done"]),
        "unknown": len(told["unknown"]),
        "lost": len(told["done"] - stored),
        "half": sum(count != 2 for unit, count in parts if unit not in excused),
        "told wrongly": len(told["raised"] & stored) + len(stored - told["begun"]),
        "unanswered": 0 if fault in ENDLESS else len(told["begun"] - answered),
        "seconds": round(seconds, 2),
    }


COUNTS = ("lost", "half", "told wrongly", "unanswered")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--strategy", choices=STRATEGIES, action="append", help="all by default")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="all by default")
    parser.add_argument("--csv", action="store_true", help="CSV instead of JSON")
    parser.add_argument("--program", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.program:
        program(*arguments.program)
        return
    rows = [
        run(name, fault)
        for fault in arguments.fault or FAULTS
        for name in arguments.strategy or STRATEGIES
    ]
    if arguments.csv:
        table = csv.DictWriter(sys.stdout, rows[0])
        table.writeheader()
        table.writerows(rows)
    else:
        print(json.dumps(rows, indent=1))
    # Nothing is lost where nothing is written: only a read-only database excuses that.
    idle = [row for row in rows if not row["acknowledged"] and row["fault"] != "read-only"]
    sys.exit(bool(idle) or any(row[count] for row in rows for count in COUNTS))


if __name__ == "__main__":
    main()
