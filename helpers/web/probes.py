"""Two server processes beside a program that holds the write lock: who waits, and who is told what.

    seen = probes.while_locked(shop, servers.asgi)

A load test of one process says nothing about locks in Python's memory, and little about who
waits for whom. Here both are forced: each of two processes gets one sale while the database
cannot be written to, and pages are asked for meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from time import monotonic, sleep

from helpers import databases
from helpers.web import clients as http
from helpers.web import processes as several
from helpers.web import servers
from helpers.web.load import Application

#: How long the lock is held, in seconds: by then each sale has read what it reads before it waits.
HELD = 1.0
#: How long a page may take beside the lock, in seconds: less than `sqlite3` waits by default.
TIMEOUT = 3.0


@dataclass(frozen=True)
class Waiting:
    """What visitors of two processes were answered.

    Attributes:
        sales: the answers to the two sales, one in each process.
        pages: the answers to the pages; the last one came too late, or did not come, if its
            status is 0.
        early: whether a sale was acknowledged while none could write.
        stored: the counter at the end.
    """

    sales: tuple[http.Answer, ...]
    pages: tuple[http.Answer, ...]
    early: bool
    stored: int

    @property
    def failed(self) -> list[http.Answer]:
        """Answers that are errors, or never came."""
        return [answer for answer in (*self.pages, *self.sales) if not answer.ok]

    @property
    def told(self) -> list[object]:
        """What the two sales were answered, the smaller count first."""
        return sorted((answer.value for answer in self.sales), key=repr)


def while_locked(application: Application, serve: Callable[..., servers.Server]) -> Waiting:
    """Send two processes a sale each, and ask for pages, while another program holds the lock.

    Args:
        application: as for `webload.run`; it is opened in each process.
        serve: the server of each process.

    Raises:
        servers.ServerError: if a process does not start.
    """
    seen: list[Waiting] = []
    try:
        with (
            databases.fresh("counter", "wal") as database,
            several.serve(application, os.fspath(database), server=serve) as urls,
        ):
            seen.append(_watch(database, urls))
    except servers.ServerError:
        # Slow to stop, after everything was answered: that is a matter for a load test.
        if not seen:
            raise
    return seen[0]


def _watch(database: databases.Database, urls: list[str]) -> Waiting:
    with (
        closing(database.connect(isolation_level=None)) as other,
        ThreadPoolExecutor(len(urls)) as visitors,
    ):
        other.execute("BEGIN IMMEDIATE")
        try:
            sales = [visitors.submit(_ask, url, ("POST", "/increment")) for url in urls]
            pages = _pages(urls)
            early = any(_acknowledged(sale) for sale in sales)
        finally:
            other.rollback()
        answers = tuple(sale.result() for sale in sales)
    ((stored,),) = database.query("SELECT value FROM counter")
    return Waiting(answers, pages, early, stored)


def _ask(url: str, request: http.Request, timeout: float = http.TIMEOUT) -> http.Answer:
    return http.run(url, [request], clients=1, timeout=timeout).answers[0]


def _pages(urls: list[str]) -> tuple[http.Answer, ...]:
    """Pages of the processes in turn, for as long as the lock is held, or until one fails."""
    pages: list[http.Answer] = []
    until = monotonic() + HELD
    for url in cycle(urls):
        pages.append(_ask(url, ("GET", "/"), TIMEOUT))
        if not pages[-1].ok or monotonic() > until:
            break
        sleep(0.05)
    return tuple(pages)


def _acknowledged(sale: Future[http.Answer]) -> bool:
    return sale.done() and sale.result().ok
