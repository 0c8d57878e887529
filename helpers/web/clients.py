"""Many clients at once: threads that send real HTTP requests, and what each was answered.

    report = clients.run(server.url, [("POST", "/increment"), ("GET", "/")] * 20)

Every answer and every error is kept. A write is *acknowledged* when its answer has a
status from 200 to 299: from then on its sender relies on it. `Report.acknowledged` gives
these to a workload's audit.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from helpers.workloads import Acknowledged, check_positive

if TYPE_CHECKING:
    import pandas as pd

#: A request: its method and its path, as in ``("POST", "/increment")``.
Request = tuple[str, str]

#: How long a client waits for one answer, in seconds. A connection waits as long for a lock, and
#: a machine that many share can stand still for half of it.
TIMEOUT = 30.0


class Answer(NamedTuple):
    """What one client was answered to one request; clients and requests are numbered from 0.

    `status` is 0 when no answer came. `error` and `message` are the exception's: the
    server's for a status of 500, the client's when no answer came, else empty. `value` is
    the answer's JSON, None where it is not JSON. `began` is seconds since the clients
    started together, `seconds` how long the client waited.
    """

    client: int
    number: int
    request: Request
    status: int
    error: str
    message: str
    value: Any
    began: float
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the client may rely on it."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Report:
    """Everything that the clients were answered.

    Attributes:
        answers: in the order in which they came.
        clients: how many clients there were.
        seconds: wall time from the start of the clients to the end of the last.
    """

    answers: tuple[Answer, ...]
    clients: int
    seconds: float

    @property
    def failed(self) -> list[Answer]:
        """Answers that are errors, or never came."""
        return [answer for answer in self.answers if not answer.ok]

    @property
    def per_second(self) -> float:
        """Requests a second, failed ones included."""
        return len(self.answers) / self.seconds if self.seconds else 0.0

    @property
    def longest_wait(self) -> float:
        """The slowest answer, in seconds."""
        return max((answer.seconds for answer in self.answers), default=0.0)

    def acknowledged(self, method: str = "POST") -> list[Acknowledged]:
        """The requests of one method that a client may rely on, for `Workload.audit`."""
        return [
            Acknowledged(answer.client, answer.number, answer.value)
            for answer in self.answers
            if answer.ok and answer.request[0] == method
        ]

    @property
    def stale_reads(self) -> int:
        """Pages that show less than their reader had been told before, of a value that grows.

        Requests count if their answer is a number: a client that was told that the counter
        is 7 may not be shown 6 afterwards.
        """
        stale, known = 0, [0] * self.clients
        for answer in self.answers:
            if answer.ok and isinstance(answer.value, int):
                stale += answer.request[0] == "GET" and answer.value < known[answer.client]
                known[answer.client] = max(known[answer.client], answer.value)
        return stale

    def statuses(self) -> dict[int, int]:
        """Status -> how many answers had it; 0 stands for no answer."""
        return dict(sorted(Counter(answer.status for answer in self.answers).items()))

    def errors(self) -> pd.DataFrame:
        """One row per kind of error: ``status``, ``error``, ``message``, ``count``."""
        import pandas as pd

        counts = Counter((a.status, a.error, a.message) for a in self.failed)
        rows = sorted(((*kind, n) for kind, n in counts.items()), key=lambda r: (-r[3], r))
        return pd.DataFrame(rows, columns=["status", "error", "message", "count"])

    def per_client(self) -> pd.DataFrame:
        """One row per client: requests answered, errors, longest wait in milliseconds."""
        import pandas as pd

        own = [[a for a in self.answers if a.client == n] for n in range(self.clients)]
        rows = [
            (len(a), sum(not x.ok for x in a), max((x.seconds for x in a), default=0.0) * 1e3)
            for a in own
        ]
        columns = ["requests", "errors", "longest_wait_ms"]
        return pd.DataFrame(rows, columns=columns).rename_axis("client")


def browser(url: str, timeout: float = TIMEOUT) -> httpx.Client:
    """A client for one server of this machine, which keeps its connection open.

    No proxy stands between two ends of one machine, and nothing has to be encrypted.
    """
    return httpx.Client(base_url=url, timeout=timeout, trust_env=False, verify=False)


def run(
    url: str | Sequence[str],
    requests: Sequence[Request],
    *,
    clients: int = 16,
    timeout: float = TIMEOUT,
    give_up: bool = False,
) -> Report:
    """Let `clients` threads send `requests`, each of them all, in order, at full speed.

    The clients are called C1, C2, …, start together, and keep their connection open
    between requests, as browsers do. None gives up after an error that it was answered.

    Args:
        url: of the server, without a path; of several servers, the clients take turns.
        requests: what each client sends.
        clients: how many.
        timeout: how long a client waits for one answer, in seconds.
        give_up: whether a client ends when no answer comes, or goes on with its next request.

    Raises:
        ValueError, TypeError: for a bad argument, naming it.
    """
    check_positive("clients", clients)
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise ValueError("url must be one URL, or a list of one or more")
    if not requests:
        raise ValueError("requests must hold at least one request, as in [('GET', '/')]")
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0, not {timeout!r}")
    workers = _Workers(urls, list(requests), clients, timeout, give_up)
    seconds = workers.run()
    return Report(tuple(workers.answers), clients, seconds)


class _Workers:
    """The client threads. The list of answers is only appended to: it needs no lock."""

    def __init__(
        self,
        urls: list[str],
        requests: list[Request],
        clients: int,
        timeout: float,
        give_up: bool,
    ) -> None:
        self.urls, self.requests, self.timeout, self.give_up = urls, requests, timeout, give_up
        self.answers: list[Answer] = []
        self.barrier = threading.Barrier(clients + 1)
        self.began = 0.0
        self.failure: BaseException | None = None
        self.threads = [
            threading.Thread(target=self._work, args=(number,), name=f"C{number + 1}", daemon=True)
            for number in range(clients)
        ]

    def run(self) -> float:
        """Start all clients at once and wait for them; returns the wall time in seconds."""
        for thread in self.threads:
            thread.start()
        self.began = perf_counter()
        self.barrier.wait()
        for thread in self.threads:
            thread.join()
        if self.failure is not None:
            raise self.failure
        return perf_counter() - self.began

    def _work(self, client: int) -> None:
        with browser(self.urls[client % len(self.urls)], self.timeout) as sender:
            self.barrier.wait()
            try:
                for number, request in enumerate(self.requests):
                    answer = self._ask(sender, client, number, request)
                    self.answers.append(answer)
                    if self.give_up and answer.status == 0:
                        break
            except BaseException as error:
                self.failure = error

    def _ask(self, sender: httpx.Client, client: int, number: int, request: Request) -> Answer:
        began = perf_counter()
        status, error, message, value = 0, "", "", None
        try:
            response = sender.request(*request)
        except httpx.TransportError as failure:
            error, message = type(failure).__name__, str(failure)
        else:
            status, value = response.status_code, _json(response)
            if status >= 500 and isinstance(value, dict):
                error, message = value.get("error", ""), value.get("message", "")
        waited = perf_counter() - began
        return Answer(
            client, number, request, status, error, message, value, began - self.began, waited
        )


def _json(response: httpx.Response) -> Any:
    if "json" not in response.headers.get("Content-Type", ""):
        return None
    return response.json()
