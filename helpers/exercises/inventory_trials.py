"""Trials of an inventory service: what its threads do, and what must be true at the end.

Threads act as requests to a service that they share, or as another program beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from helpers.explorer import Ending, Program

#: Makes the service from the path of its database; `notebooks/applications/inventory.py` is one.
Service = Callable[[str], Any]

#: The tables, as the application makes them, and what is in them.
SCHEMA = """
    CREATE TABLE stock (item TEXT PRIMARY KEY, quantity INTEGER NOT NULL);
    CREATE TABLE delivery (
        number INTEGER PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL);
    CREATE TABLE reservation (
        number INTEGER PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL,
        day INTEGER NOT NULL);
    INSERT INTO stock VALUES ('bolt', 10), ('nut', 10);"""

#: Rows that no import may store, for there are bolts already.
BAD = (("cap", 5), ("bolt", 1))
#: The same, with an OverflowError at the second row.
_TOO_LARGE = (("cap", 5), ("screw", 1 << 64))


@dataclass
class Shared:
    """The service of one schedule, and the path of its database for other programs.

    `pages` are listings that a client has not read to their end.
    """

    service: Any
    path: str
    pages: list[Iterator[Any]] = field(default_factory=list)

    def close(self) -> None:
        """Forget the pages, and close the service."""
        self.pages.clear()
        self.service.close()


@dataclass(frozen=True)
class Trial:
    """One program that puts a promise to the test.

    Attributes:
        says: what its threads do.
        threads: name -> what it does with a `Shared`. `job` is a program of its own.
        kept: whether the promise was kept.
        expire: whether every wait for the file is too short.
        filled: more SQL for the database.
    """

    says: str
    threads: Mapping[str, Callable[[Shared], Any]]
    kept: Callable[[Ending], bool]
    expire: bool = False
    filled: str = ""


@dataclass(frozen=True)
class Promise:
    """What the service promises, the query that shows it, and the trials, the shortest first."""

    sentence: str
    look: str
    trials: tuple[Trial, ...]

    def program(self, trial: Trial, service: Service, name: str) -> Program:
        """The program that tries `service`."""

        def share(path: str) -> Shared:
            return Shared(service(path), path)

        # The explorer looks for locks and connections where the learner's class is defined.
        share.__module__ = getattr(service, "func", service).__module__
        return Program(
            SCHEMA + trial.filled,
            trial.threads,
            trial.kept,
            claim=self.sentence,
            look=self.look,
            journal_mode="wal",
            share=share,
            name=name,
            expire=trial.expire,
        )


# -- what the threads do ---------------------------------------------------------------------


def calls(method: str, *arguments: Any) -> Callable[[Shared], Any]:
    """A request: call one method, return what it returns."""
    return lambda shared: getattr(shared.service, method)(*arguments)


def refused(method: str, *arguments: Any) -> Callable[[Shared], Any]:
    """A request that has to fail with an error; the thread goes on."""

    def request(shared: Shared) -> str:
        try:
            getattr(shared.service, method)(*arguments)
        except Exception:
            return "refused"
        return "not refused"

    return request


def job(shared: Shared) -> None:
    """Another program changes what no request looks at; if it must wait, it waits."""
    with closing(sqlite3.connect(shared.path, isolation_level=None, timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE stock SET quantity = 9 WHERE item = 'nut'")
        connection.execute("COMMIT")


def looks(sql: str) -> Callable[[Shared], Any]:
    """Another program reads with one statement, as one that comes after a crash would."""

    def look(shared: Shared) -> Any:
        with closing(sqlite3.connect(shared.path, isolation_level=None, timeout=60)) as connection:
            return connection.execute(sql).fetchone()[0]

    return look


def then_looks(request: Callable[[Shared], Any], sql: str) -> Callable[[Shared], Any]:
    """A request, and when it has been answered another program reads with one statement."""

    def asks(shared: Shared) -> Any:
        request(shared)
        return looks(sql)(shared)

    return asks


def one_after_another(shared: Shared) -> list[Any]:
    """Requests as a test sends them, and their answers."""
    service = shared.service
    service.receive(1, "bolt", 5)
    answers = [list(service.low_stock(below)) for below in (16, 15)]
    answers += [service.reserve(7, "bolt", 15, 3), service.reserve(8, "bolt", 1)]
    answers += [service.available("bolt"), service.ship(7), service.ship(7)]
    answers += [service.reserve(9, "nut", 1, 3), service.sweep(3), service.sweep(4)]
    return answers


#: What `one_after_another` has to return.
ANSWERS = [[("nut", 10), ("bolt", 15)], [("nut", 10)], True, False, 0, True, False, True, 0, 1]


def receives_twice(shared: Shared) -> None:
    """The same delivery is sent again: it may be refused or ignored."""
    shared.service.receive(1, "bolt", 5)
    refused("receive", 1, "bolt", 5)(shared)


def loads_after_failures(shared: Shared) -> list[str]:
    """Two imports that fail, the second with an error that is none of SQLite's; a third."""
    told = [refused("load", rows)(shared) for rows in (BAD, _TOO_LARGE)]
    shared.service.load([("pin", 1)])
    return told


def reads_one_row(shared: Shared) -> None:
    """A client reads one row of a page, and keeps the rest for later."""
    page = iter(shared.service.low_stock(100))
    shared.pages.append(page)
    next(page)


def checkpoints(shared: Shared) -> list[Any]:
    """A page is half read while another program writes, and wants the WAL to be emptied."""
    page = iter(shared.service.low_stock(100))
    shared.pages.append(page)
    first = next(page)
    with closing(sqlite3.connect(shared.path, isolation_level=None, timeout=0)) as connection:
        connection.execute("INSERT INTO delivery VALUES (9, 'nut', 1)")
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return ["the WAL is not emptied" if busy else "the WAL is emptied", first, *page]


# -- what must be true at the end --------------------------------------------------------------


def ends(*rows: str, **told: Any) -> Callable[[Ending], bool]:
    """No errors, one of these rows, and what the threads named are told."""

    def kept(end: Ending) -> bool:
        as_told = all(name in end.results and end.results[name] == told[name] for name in told)
        return not end.errors and as_told and end.value in rows

    return kept


def as_told(stored: str, not_stored: str, answer: Any = None) -> Callable[[Ending], bool]:
    """A is answered, and it is stored; or A sees an error, and it is not."""

    def kept(end: Ending) -> bool:
        if "A" in end.errors:
            return bool(end.value == not_stored)
        return bool(end.value == stored and end.results["A"] == answer)

    return kept


def one_of_two(row: str) -> Callable[[Ending], bool]:
    """Of A and B one is told True and the other False; nobody sees an error."""

    def kept(end: Ending) -> bool:
        told = sorted(end.results.values()) if not end.errors else []
        return told == [False, True] and end.value == row

    return kept


def saw(*rows: str) -> Callable[[Ending], bool]:
    """No errors, and the thread `look` has seen one of these rows."""
    return lambda end: not end.errors and end.results["look"] in rows
