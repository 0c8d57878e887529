"""Notebooks 03 and 04: an increment in two threads that share nothing but the file."""

import contextlib
import sqlite3
import threading
import time
from contextlib import closing

from helpers.strategies import Retry

SELECT = "SELECT value FROM counter"
UPDATE = "UPDATE counter SET value = ?"
lock = threading.Lock()


def opened(path, timeout=5.0, level=None):
    return closing(sqlite3.connect(path, isolation_level=level, timeout=timeout))


def add_one(connection):
    (value,) = connection.execute(SELECT).fetchone()
    connection.execute(UPDATE, (value + 1,))
    return value + 1


# -- right -----------------------------------------------------------------------------------


def locked(path):
    with lock:
        naive(path)


def transaction(kind):
    def job(path):
        with opened(path) as connection:
            connection.execute(f"BEGIN {kind}".strip())
            add_one(connection)
            connection.execute("COMMIT")

    return job


def atomic(path):
    with opened(path) as connection:
        connection.execute("UPDATE counter SET value = value + 1")


def atomic_and_committed(path):
    """As one writes it with Python's own BEGIN."""
    with opened(path, level="") as connection, connection:
        connection.execute("UPDATE counter SET value = value + 1")


def in_with(path):
    with opened(path) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        add_one(connection)


def compares_and_swaps(path):
    with opened(path) as connection:
        while True:
            (value,) = connection.execute(SELECT).fetchone()
            swap = connection.execute(f"{UPDATE} WHERE value = ?", (value + 1, value))
            if swap.rowcount:
                return


def retries(begin, pause, timeout):
    def job(path):
        with opened(path, timeout) as connection:
            while True:
                try:
                    with connection:
                        connection.execute(begin)
                        return add_one(connection)
                except sqlite3.OperationalError:
                    if pause:
                        time.sleep(0.01)

    return job


def locked_and_hasty(path):
    with lock:
        naive(path, timeout=0)


def in_savepoint(path):
    with opened(path) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SAVEPOINT unit")
        add_one(connection)
        connection.execute("RELEASE unit")


def writes_first(path):
    """The transaction begins with a write, and so with the lock."""
    with opened(path) as connection, connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE counter SET value = value")
        add_one(connection)


# -- wrong -----------------------------------------------------------------------------------


def naive(path, timeout=5.0):
    with opened(path, timeout) as connection:
        add_one(connection)


def patient(path):
    naive(path, timeout=60)


def locked_per_statement(path):
    with opened(path) as connection:
        with lock:
            (value,) = connection.execute(SELECT).fetchone()
        with lock:
            connection.execute(UPDATE, (value + 1,))


def locked_for_the_write(path):
    with opened(path) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        with lock:
            connection.execute(UPDATE, (value + 1,))


def lock_per_call(path):
    with threading.Lock():
        naive(path)


def begins_too_late(path):
    with opened(path) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(UPDATE, (value + 1,))
        connection.execute("COMMIT")


def begun_by_python(path):
    with opened(path, level="IMMEDIATE") as connection, connection:
        add_one(connection)


def two_transactions(path):
    with opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (value,) = connection.execute(SELECT).fetchone()
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(UPDATE, (value + 1,))
        connection.execute("COMMIT")


def two_connections(path):
    """Reads on one connection, and writes on another."""
    with opened(path) as reader, opened(path) as writer:
        (value,) = reader.execute(SELECT).fetchone()
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(UPDATE, (value + 1,))
        writer.execute("COMMIT")


def commits_again(path):
    """Only the COMMIT is tried again."""
    with opened(path) as connection:
        connection.execute("BEGIN")
        add_one(connection)
        while True:
            try:
                connection.execute("COMMIT")
                return
            except sqlite3.OperationalError:
                time.sleep(0.01)


def writes_again(path):
    """Only the UPDATE is tried again, with the value that was read before."""
    with opened(path) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        while True:
            try:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute(UPDATE, (value + 1,))
                return
            except sqlite3.OperationalError:
                time.sleep(0.01)


def retries_without_rollback(path):
    """Begins again while the refused transaction, and its lock, are still there."""
    with opened(path) as connection:
        connection.execute("BEGIN")
        while True:
            try:
                add_one(connection)
                connection.execute("COMMIT")
                return
            except sqlite3.OperationalError:
                time.sleep(0.01)


def three_tries(path):
    with opened(path) as connection:
        for _ in range(3):
            with contextlib.suppress(sqlite3.OperationalError), connection:
                connection.execute("BEGIN")
                return add_one(connection)
    return None


def swap_once(path):
    """Compares, and does not look whether anything was swapped."""
    with opened(path) as connection:
        (value,) = connection.execute(SELECT).fetchone()
        connection.execute(f"{UPDATE} WHERE value = ?", (value + 1, value))


def never_closes(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    add_one(connection)
    connection.execute("COMMIT")


def closes_if_all_goes_well(path):
    connection = sqlite3.connect(path)
    connection.execute("UPDATE counter SET value = value + 1")
    connection.commit()
    connection.close()


def releases_if_all_goes_well(path):
    lock.acquire()
    naive(path)
    lock.release()


def counts_to_two(path):
    with opened(path) as connection:
        connection.execute("UPDATE counter SET value = value + 1 WHERE value < 2")


def swallows(path):
    with contextlib.suppress(sqlite3.Error):
        atomic(path)


def returns_in_finally(path):
    with opened(path) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            add_one(connection)
            connection.execute("COMMIT")
        finally:
            return  # noqa: B012


def waits_a_millisecond(path):
    with opened(path, timeout=0.001) as connection:
        connection.execute("BEGIN IMMEDIATE")
        add_one(connection)
        connection.execute("COMMIT")


def waits(path):
    with opened(path, timeout=60, level="") as connection:
        add_one(connection)
        connection.commit()


def by_two(path):
    with opened(path) as connection:
        connection.execute("UPDATE counter SET value = value + 2")


def one(path):
    with opened(path) as connection:
        connection.execute("UPDATE counter SET value = 1")


def misspelt(path):
    with opened(path) as connection:
        connection.execute("UPDATE countre SET value = 1")


def uncommitted(path):
    with opened(path, level="") as connection:
        connection.execute("UPDATE counter SET value = value + 1")


counted = {"value": 0}


def in_python(path):
    """Counts in a variable, and stores what it holds."""
    with lock, opened(path) as connection:
        counted["value"] += 1
        connection.execute(UPDATE, (counted["value"],))


def goes_round_at_two(path):
    atomic(path)
    with opened(path) as connection:
        while connection.execute(SELECT).fetchone() == (2,):
            pass


first, second = threading.Lock(), threading.Lock()


def forwards(path):
    with first, second:
        atomic(path)


def backwards(path):
    with second, first:
        atomic(path)


def gives_up(path):
    """The lock did not come, and nothing is stored, as if all were well."""
    if lock.acquire(timeout=1):
        try:
            naive(path)
        finally:
            lock.release()


RIGHT = {
    "a lock": locked,
    "BEGIN IMMEDIATE": transaction("IMMEDIATE"),
    "BEGIN EXCLUSIVE": transaction("EXCLUSIVE"),
    "one statement": atomic,
    "with": in_with,
    "compare and swap": compares_and_swaps,
    "retry": retries("BEGIN", pause=True, timeout=5),
    "the retry of the kit": Retry(seconds=10)(transaction("DEFERRED")),
    "short waits, retried": retries("BEGIN IMMEDIATE", pause=True, timeout=0.1),
    "short waits, never needed": locked_and_hasty,
    "SAVEPOINT inside": in_savepoint,
    "a write first": writes_first,
}
WRONG = {
    "no transaction": (naive, "No transaction spans the SELECT and the UPDATE"),
    "a longer timeout": (patient, "a longer timeout changes nothing"),
    "a lock per statement": (
        locked_per_statement,
        "gives it back between its SELECT and its UPDATE",
    ),
    "a lock round the UPDATE": (locked_for_the_write, "gives it back between its SELECT"),
    "a lock for each call": (lock_per_call, "overwrites that in step 4"),
    "a lock of one thread": ((locked, naive), "Only A takes the lock"),
    "DEFERRED": (transaction("DEFERRED"), "Which BEGIN takes the write lock before the SELECT?"),
    "BEGIN": (transaction(""), "refused at once, whatever its timeout"),
    "BEGIN after the read": (begins_too_late, "it must begin before the SELECT"),
    "isolation_level alone": (begun_by_python, "overwrites that in step 6"),
    "two transactions": (two_transactions, "it must begin before the SELECT"),
    "two connections": (two_connections, "it must begin before the SELECT"),
    "only the COMMIT again": (commits_again, "Which BEGIN takes the write lock"),
    "only the UPDATE again": (writes_again, "it must begin before the SELECT"),
    "no rollback before the retry": (retries_without_rollback, "does not come to an end"),
    "three tries": (three_tries, "lose an increment"),
    "a swap that is not looked at": (swap_once, "lose an increment"),
    "never closed": (never_closes, "but a connection is never closed"),
    "closed if all goes well": (closes_if_all_goes_well, "when an UPDATE raises, a connection"),
    "released if all goes well": (releases_if_all_goes_well, "the first one holds is not given"),
    "counts to two": (counts_to_two, "three, one after the other, leave 2 in the counter"),
    "gives up in silence": (gives_up, "when a wait for the lock was too short, for example"),
    "exception swallowed": (swallows, "your function returns as if all were well"),
    "return in finally": (returns_in_finally, "your function returns as if all were well"),
    "too short a wait": (
        waits_a_millisecond,
        "a wait of 0.001 s is too short: then in 6 of 8 orders",
    ),
    "no pause": (retries("BEGIN", pause=False, timeout=5), "while A gets no turn to finish"),
    "commit, default level": (waits, "B even waits for the lock in step 4"),
    "adds two": (by_two, "already alone, without a second thread: 2 in the counter"),
    "hard-coded": (one, "What is written was not read from the counter"),
    "misspelt": (misspelt, "no such table: countre"),
    "uncommitted": (uncommitted, "0 in the counter"),
    "counted in Python": (in_python, "counter"),
    "endless at two": ((atomic, goes_round_at_two), "does not come to an end: cut after 32"),
    "two locks, two orders": ((forwards, backwards), "does not come to an end: deadlock"),
}
