"""How does a web application behave under load? A database, a server, clients, an audit.

    result = webload.run(shop, clients=16)

`shop` is an application as this module wants it: a context manager that takes the path of
a fresh database, opens what the application needs, yields the application, and closes what
it opened. The clients send requests that increment one counter and requests that read it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import httpx

from helpers import databases
from helpers.history import CallError
from helpers.load import sandbox
from helpers.web import clients as http
from helpers.web import processes as several
from helpers.web import servers
from helpers.workloads import Audit, Increment

if TYPE_CHECKING:
    import pandas as pd

#: Takes a database's path; yields an application and closes afterwards what it opened.
Application = Callable[[str], contextlib.AbstractContextManager[Any]]

#: What each client sends, again and again: two increments, then the page that shows the counter.
ROUND: list[http.Request] = [("POST", "/increment"), ("POST", "/increment"), ("GET", "/")]

#: Columns of `table`.
TABLE_COLUMNS = [
    "ended", "acknowledged", "lost", "stale pages", "errors", "requests/s", "longest wait, ms",
]  # fmt: skip


@dataclass(frozen=True)
class WebResult:
    """What one application did under load.

    Attributes:
        report: what every client was answered.
        audit: increments acknowledged against the counter in the database.
        errors: exceptions that the application let through, also after the answer was sent
            and while it was closed.
        stopping: how long the server took to stop, in seconds.
    """

    report: http.Report
    audit: Audit
    errors: tuple[CallError, ...]
    stopping: float

    @property
    def ok(self) -> bool:
        """True when every request was answered well, no page was stale and the audit holds."""
        wrong = self.report.failed or self.report.stale_reads or self.errors
        return not wrong and self.audit.holds


#: Of `run`, or of `run_sandboxed`.
Result = WebResult | sandbox.SandboxResult


def run(
    application: Application,
    serve: Callable[..., servers.Server] = servers.wsgi,
    *,
    requests: Sequence[http.Request] = tuple(ROUND * 5),
    clients: int = 16,
    threads: int = 8,
    journal_mode: str = "wal",
    timeout: float = http.TIMEOUT,
    give_up: bool = False,
) -> WebResult:
    """Serve `application` on a fresh ``counter`` database and send requests to it.

    Args:
        application: see above.
        serve: starts the server: `servers.wsgi`, `servers.asgi` or `servers.cherrypy`.
        requests: what each client sends. ``POST /increment`` adds 1 to the counter and
            answers its new value as JSON; ``GET /`` answers its value.
        clients: how many clients there are.
        threads: how many threads the server has.
        journal_mode: of the database.
        timeout: how long a client waits for an answer, in seconds.
        give_up: whether a client ends when no answer comes.

    Raises:
        ValueError, TypeError, ServerError: as `helpers.web.clients.run` and `servers` do.
    """
    with databases.fresh("counter", journal_mode) as database:
        served: tuple[servers.Server, http.Report, float] | None = None
        closing: list[CallError] = []
        try:
            with application(os.fspath(database)) as app, serve(app, threads=threads) as server:
                report = http.run(
                    server.url, requests, clients=clients, timeout=timeout, give_up=give_up
                )
                began = perf_counter()
                server.stop()
                served = server, report, perf_counter() - began
        except Exception as error:
            if served is None:
                raise
            closing.append(CallError.of(error))
        server, report, stopping = served
        audit = Increment().audit(database, report.acknowledged())
    return WebResult(report, audit, (*server.errors, *closing), stopping)


def answered_too_early(
    application: Application, serve: Callable[..., servers.Server], *, patience: float = 2.0
) -> bool:
    """Whether a sale is acknowledged before it is stored.

    While a database in rollback-journal mode is read, no connection can commit
    (https://www.sqlite.org/lockingv3.html): whoever is answered 200 then was answered too early.

    Args:
        application: see above.
        serve: starts the server.
        patience: how long to wait for the answer that should not come, in seconds.
    """
    with (
        databases.fresh("counter") as database,
        application(os.fspath(database)) as app,
        serve(app) as server,
        contextlib.closing(database.connect(isolation_level=None)) as reader,
        http.browser(server.url, patience) as browser,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT value FROM counter").fetchall()
        try:
            return bool(browser.post("/increment").is_success)
        except httpx.TransportError:
            return False
        finally:
            # The server can then store what it still holds, and come to its end.
            reader.rollback()


def trial(
    application: Application, serve: Callable[..., servers.Server]
) -> tuple[bool, WebResult | None]:
    """`answered_too_early` and, if nothing was, a short `run`; for an exercise."""
    if answered_too_early(application, serve):
        return True, None
    return False, run(application, serve, requests=ROUND * 3, timeout=10.0, give_up=True)


def run_processes(
    application: Application,
    *,
    processes: int = 2,
    requests: Sequence[http.Request] = tuple(ROUND * 5),
    clients: int = 16,
    threads: int = 4,
    journal_mode: str = "wal",
) -> WebResult:
    """`run` with several server processes on one database, each with an application of its own.

    For WSGI applications. What they let through is counted by the clients' answers alone.
    """
    with databases.fresh("counter", journal_mode) as database:
        path = os.fspath(database)
        with several.serve(application, path, count=processes, threads=threads) as urls:
            report = http.run(urls, requests, clients=clients)
            began = perf_counter()
        stopping = perf_counter() - began
        audit = Increment().audit(database, report.acknowledged())
    return WebResult(report, audit, (), stopping)


def run_command(
    command: str,
    *,
    folder: several.Path_,
    processes: int = 2,
    requests: Sequence[http.Request] = tuple(ROUND * 5),
    clients: int = 16,
) -> WebResult:
    """`run` with an application in a file, started by its framework's own command.

    The application makes its own database, journal mode and tables included, at the path in
    the variable ``DATABASE``. What it lets through is counted by the clients' answers alone.

    Args:
        command: as for `processes.start`.
        folder: where the command runs.
        processes: how many server processes share the database.
        requests: what each client sends, as for `run`.
        clients: how many clients there are; they are spread over the processes.

    Raises:
        ValueError, TypeError, ServerError: as `helpers.web.clients.run` and `processes.start` do.
    """
    with databases.Database() as database:
        path = os.fspath(database)
        with several.start(command, path, folder=folder, count=processes) as children:
            report = http.run([child.url for child in children], requests, clients=clients)
            began = perf_counter()
        stopping = perf_counter() - began
        audit = Increment().audit(database, report.acknowledged())
    return WebResult(report, audit, (), stopping)


def run_sandboxed(
    application: Application,
    serve: Callable[..., servers.Server] = servers.wsgi,
    *,
    seconds: float = 30.0,
    **options: Any,
) -> sandbox.SandboxResult:
    """`run` in a child process, server, clients and all; the result's value is a `WebResult`.

    For applications whose threads share a connection without a lock: they can crash the
    interpreter. `seconds` is the time limit.
    """
    return sandbox.call(run, application, serve, seconds=seconds, **options)


def table(results: Mapping[str, Result]) -> pd.DataFrame:
    """One row per application: what was lost, what went wrong, how fast, how long a wait.

    A process that crashed or hung has no counts; the column ``ended`` says so.
    """
    import pandas as pd

    rows = [_row(result) for result in results.values()]
    return pd.DataFrame(rows, columns=TABLE_COLUMNS, index=list(results)).rename_axis("application")


def _row(result: Result) -> tuple[Any, ...]:
    if isinstance(result, sandbox.SandboxResult):
        if result.kind != "returned":
            return (result.kind, *[""] * (len(TABLE_COLUMNS) - 1))
        return _row(result.value)
    report, audit = result.report, result.audit
    return (
        "to the end",
        audit.acknowledged,
        audit.lost,
        report.stale_reads,
        len(report.failed),
        round(report.per_second),
        round(report.longest_wait * 1e3),
    )


def ok(result: Result) -> bool:
    """Whether every request was answered well and the audit holds; a crash is not well."""
    if isinstance(result, sandbox.SandboxResult):
        return result.kind == "returned" and ok(result.value)
    return result.ok
