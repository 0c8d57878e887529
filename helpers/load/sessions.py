"""Connections of PostgreSQL in an order that you choose, and in every order.

As the explorer does for SQLite, with less: a step is a statement, and the search repeats every
prefix. Each connection has a thread; a statement that waits for a lock is found in PostgreSQL's
own `pg_blocking_pids`, and goes on when the other transaction has ended. Nothing depends on time.

`here` gives what runs them on a server, or, without the packages of the group ``server``, what
looks them up in `data/servers.json`, where `data/make_servers.py` has recorded a run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.display import Table
from helpers.load import many_writers
from helpers.load.postgres import Server, missing

if TYPE_CHECKING:
    import pandas as pd

RECORD = Path(__file__).resolve().parents[2] / "data" / "servers.json"
COUNTER = "CREATE TABLE counter (value integer); INSERT INTO counter VALUES (0)"
WAITS, REFUSED = "waits", "refused: "
#: Where a result is from.
MEASURED, RECORDED = "measured here", "recorded on another machine"
#: Threads of `increments`, and transactions of each.
THREADS, UNITS = 8, 50
#: Seconds after which a statement that neither ends nor waits for a lock is an error.
ENDLESS = 30.0
_WAITING = "SELECT cardinality(pg_blocking_pids(%s)) > 0"


@dataclass(frozen=True)
class Case:
    """What connections run, each one transaction.

    Attributes:
        sessions: name -> statements, of two connections, or of three that cannot deadlock;
            ``%(seen)s`` stands for the value that the connection has read last.
        setup: makes the tables. A table that exists is dropped first.
        look: a SELECT, once all have ended.
        again: whether a transaction that PostgreSQL refuses, and rolls back, is begun again.
        level: the isolation level of transactions that do not name one.
    """

    sessions: Mapping[str, Sequence[str]]
    setup: str = COUNTER
    look: str = "SELECT value FROM counter"
    again: bool = False
    level: str = "READ COMMITTED"

    @property
    def key(self) -> str:
        """What tells it from others in the record."""
        parts = {name: list(statements) for name, statements in self.sessions.items()}
        level = [self.level] if self.level != Case.level else []
        return json.dumps([parts, self.setup, self.look, self.again, *level])


class Told(NamedTuple):
    """What a connection was told after a statement; of a SELECT the value, or a list, as JSON."""

    name: str
    result: str


@dataclass(frozen=True)
class Run:
    """One order of a case, what was told, and what `Case.look` found at the end."""

    case: Case
    order: tuple[str, ...]
    told: tuple[Told, ...]
    end: str

    def frame(self) -> pd.DataFrame:
        """A row for each statement; one that has waited has a second one, when it goes on."""
        import pandas as pd

        place, waiting, rows = dict.fromkeys(self.case.sessions, 0), set[str](), []
        for name, result in self.told:
            statement = self.case.sessions[name][place[name]]
            rows.append((name, f"… {statement}" if name in waiting else statement, result))
            waiting -= {name}
            if result == WAITS:
                waiting.add(name)
            else:
                place[name] = 0 if result.startswith(REFUSED) else place[name] + 1
        frame = pd.DataFrame(rows, columns=["connection", "statement", "result"])
        frame.index = pd.RangeIndex(1, len(rows) + 1, name="step")
        return frame

    def __repr__(self) -> str:
        return f"{Table(self.frame(), index=True)!r}\n\nThe end: {self.end}."

    def _repr_html_(self) -> str:
        return f"{Table(self.frame(), index=True)._repr_html_()}<p>The end: {self.end}.</p>"


@dataclass(frozen=True)
class Orders:
    """All orders of a case."""

    runs: tuple[Run, ...]

    @property
    def counts(self) -> dict[str, int]:
        """What `Case.look` found at the end -> in how many orders."""
        ends = [run.end for run in self.runs]
        return {end: ends.count(end) for end in sorted(set(ends))}

    def frame(self) -> pd.DataFrame:
        """A row for each way to end: the value, what was refused, how often, an example."""
        import pandas as pd

        kinds: dict[tuple[str, str], list[Run]] = {}
        for run in self.runs:
            refused = {told.result for told in run.told if told.result.startswith(REFUSED)}
            said = ", ".join(sorted(refused)).replace(REFUSED, "") or "nothing"
            kinds.setdefault((run.end, said), []).append(run)
        rows = [(*kind, len(runs), " ".join(runs[0].order)) for kind, runs in sorted(kinds.items())]
        return pd.DataFrame(rows, columns=["at the end", "refused", "orders", "for example"])

    def __repr__(self) -> str:
        return repr(Table(self.frame()))

    def _repr_html_(self) -> str:
        return Table(self.frame())._repr_html_()


class Recorded:
    """What a run on a server has shown, looked up."""

    #: `MEASURED`, or `RECORDED`.
    source = RECORDED

    def __init__(self, record: Path = RECORD) -> None:
        self.record: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))

    def every_order(self, case: Case) -> Orders:
        """All orders of a case.

        Raises:
            LookupError: if the record does not have the case; with the group ``server`` it runs.
        """
        return Orders(tuple(_run(case, line) for line in self._recorded("orders", case)))

    def play(self, case: Case, order: str) -> Run:
        """One order, such as ``"A A B B"``: each name is the next statement of that connection.

        Raises:
            ValueError: if the order cannot be kept, or is not complete; it says what can be next.
            LookupError: if the record does not have the case.
        """
        return _chosen(self.every_order(case).runs, tuple(order.split()))

    def increments(self, case: Case) -> tuple[int, int]:
        """How many increments eight threads were told, and how many are stored.

        Raises:
            LookupError: if the record does not have the case.
        """
        acknowledged, stored = self._recorded("increments", case)
        return acknowledged, stored

    def rates(self) -> many_writers.Rates:
        """Units of work a second, of PostgreSQL and of SQLite: `many_writers.rates`."""
        return many_writers.read_rates(self.record["rates"])

    def close(self) -> None:
        """Nothing is open."""

    def _recorded(self, part: str, case: Case) -> Any:
        if case.key not in self.record[part]:
            raise LookupError(f"these statements are not in the record. {missing()}")
        return self.record[part][case.key]

    def __str__(self) -> str:
        return f"{self.source} ({missing()})" if missing() else self.source


class Live(Recorded):
    """The same on a server, which has to do what the record says."""

    source = MEASURED

    def __init__(self, record: Path | None = RECORD) -> None:
        if record is not None:
            super().__init__(record)
        else:
            self.record = {"orders": {}}
        self.server = Server()
        self._found: dict[str, Orders] = {}

    def every_order(self, case: Case) -> Orders:
        """All orders, run once.

        Raises:
            AssertionError: if the record has the case, and this server does otherwise.
        """
        if case.key not in self._found:
            found = Orders(tuple(_every(self.server, case)))
            if self.record["orders"].get(case.key, lines(found)) != lines(found):
                raise AssertionError("this server does otherwise than data/servers.json has it")
            self._found[case.key] = found
        return self._found[case.key]

    def increments(self, case: Case) -> tuple[int, int]:
        """Run what A does in eight threads, fifty times each."""
        with self.server.connect(autocommit=True) as connection:
            connection.execute(f"DROP TABLE IF EXISTS counter; {case.setup}")
            together = threading.Barrier(THREADS)

            def work(number: int) -> None:
                with self.server.connect(autocommit=True) as own:
                    together.wait(ENDLESS)
                    for _ in range(UNITS):
                        seen: Any = None
                        for statement in case.sessions["A"]:
                            _, seen = _execute(own, statement, seen)

            with ThreadPoolExecutor(THREADS, thread_name_prefix="increment") as pool:
                list(pool.map(work, range(THREADS)))
            (stored,) = connection.execute(case.look).fetchone()
            return THREADS * UNITS, int(stored)

    def rates(self) -> many_writers.Rates:
        """Measured: `many_writers.rates`."""
        return many_writers.rates(self.server)

    def close(self) -> None:
        """Stop the server."""
        self.server.close()


def here() -> Recorded:
    """A server of one's own where the group ``server`` is installed, the record elsewhere."""
    return Recorded() if missing() else Live()


def lines(found: Orders) -> list[list[str]]:
    """Orders as the record keeps them."""
    return [
        [" ".join(run.order), "; ".join(" ".join(told) for told in run.told), run.end]
        for run in found.runs
    ]


def _run(case: Case, line: Sequence[str]) -> Run:
    order, told, end = line
    pairs = (part.split(" ", 1) for part in told.split("; "))
    return Run(case, tuple(order.split()), tuple(Told(*pair) for pair in pairs), end)


def _chosen(runs: Sequence[Run], order: tuple[str, ...]) -> Run:
    """The run of that order, or an error that says from where on it is none."""
    for run in runs:
        if run.order == order:
            return run
    kept = max(len(_common(run.order, order)) for run in runs)
    after = {run.order[kept] for run in runs if run.order[:kept] == order[:kept] != run.order}
    begin = f"after {' '.join(order[:kept])!r}" if kept else "at first"
    if not after:
        raise ValueError(f"{begin} all have ended: take {' '.join(order[kept:])!r} away")
    able = f"{'only ' * (len(after) == 1)}{' or '.join(sorted(after))} can go on"
    raise ValueError(f"{begin} {able}; a connection that waits, or has ended, cannot")


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return one[:same]


class _Session:
    """A connection, its thread, and how far it is."""

    def __init__(self, name: str, connection: Any, case: Case) -> None:
        self.name, self.connection, self.case = name, connection, case
        self.pid: int = connection.info.backend_pid
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"connection {name}")
        self.place = 0
        self.seen: Any = None
        self.pending: Future[str] | None = None

    @property
    def ended(self) -> bool:
        return self.place >= len(self.case.sessions[self.name])

    def start(self) -> None:
        """Let the thread run the next statement."""
        self.pending = self.thread.submit(self._run, self.case.sessions[self.name][self.place])

    def collect(self) -> Told:
        """What the statement that has ended has told."""
        assert self.pending is not None
        result, self.pending = self.pending.result(), None
        if result.startswith(REFUSED):
            self.place = 0 if self.case.again else len(self.case.sessions[self.name])
        else:
            self.place += 1
        return Told(self.name, result)

    def _run(self, statement: str) -> str:
        import psycopg

        try:
            told, self.seen = _execute(self.connection, statement, self.seen)
            return told
        except psycopg.Error as error:
            self.connection.rollback()
            return f"{REFUSED}{error.diag.message_primary}"


def _execute(connection: Any, statement: str, seen: Any) -> tuple[str, Any]:
    """What PostgreSQL tells, and the value that the connection has read last."""
    cursor = connection.execute(statement, {"seen": seen} if "%(seen)s" in statement else None)
    if cursor.description is None:
        return str(cursor.statusmessage), seen
    values = [value for row in cursor.fetchall() for value in row]
    seen = values[0] if len(values) == 1 else values
    return json.dumps(seen, default=str), seen


def _every(server: Server, case: Case) -> Iterator[Run]:
    """Depth first: each run repeats the one before up to the last choice that has a next one."""
    with ExitStack() as stack:
        level = case.level.replace(" ", r"\ ")
        # Nobody sees whether a commit waits for the disk.
        options = "-c deadlock_timeout=200ms -c synchronous_commit=off -c "
        quick = {"autocommit": True, "options": f"{options}default_transaction_isolation={level}"}
        opened = [stack.enter_context(server.connect(**quick)) for _ in (*case.sessions, "+")]
        prefix: tuple[str, ...] | None = ()
        while prefix is not None:
            run, choices = _one(opened, case, prefix)
            yield run
            prefix = None
            for place in reversed(range(len(choices))):
                later = [name for name in choices[place] if name > run.order[place]]
                if later:
                    prefix = (*run.order[:place], later[0])
                    break


def _one(opened: Sequence[Any], case: Case, prefix: tuple[str, ...]) -> tuple[Run, list[list[str]]]:
    """Run one order: `prefix`, then always the first that can go on; and who could, each time."""
    monitor = opened[-1]
    tables = [words.split()[2] for words in case.setup.split(";") if "CREATE TABLE" in words]
    monitor.execute(f"DROP TABLE IF EXISTS {', '.join(tables)}; {case.setup}")
    sessions = {
        name: _Session(name, connection, case)
        for name, connection in zip(sorted(case.sessions), opened, strict=False)
    }
    order: list[str] = []
    choices: list[list[str]] = []
    told: list[Told] = []
    try:
        while not all(session.ended for session in sessions.values()):
            able = [n for n, s in sessions.items() if not s.ended and s.pending is None]
            if not able:  # a deadlock: PostgreSQL refuses one of them
                waiting = {s.pending: s for s in sessions.values() if s.pending is not None}
                future, *_ = wait(waiting, ENDLESS, FIRST_COMPLETED).done
                told.append(waiting[future].collect())
                continue
            choices.append(able)
            name = prefix[len(order)] if len(order) < len(prefix) else able[0]
            order.append(name)
            sessions[name].start()
            # First the one that has gone on, then those that it, or one of them, has set free.
            turn = sorted(sessions.values(), key=lambda s: s.name != name)
            for _ in turn[1:]:
                ended = [s for s in turn if s.pending is not None and _settled(s, monitor)]
            if turn[0] not in ended:
                told.append(Told(name, WAITS))
            told += [session.collect() for session in ended]
    finally:
        for session in sessions.values():
            session.thread.shutdown()
    end, _ = _execute(monitor, case.look, None)
    return Run(case, tuple(order), tuple(told), end), choices


def _settled(session: _Session, monitor: Any) -> bool:
    """Wait until its statement has ended (True) or waits for a lock (False)."""
    assert session.pending is not None
    for _ in range(int(ENDLESS / 0.005)):
        if wait([session.pending], timeout=0.005).done:
            return True
        if monitor.execute(_WAITING, [session.pid]).fetchone()[0]:
            return False
    raise TimeoutError(f"{session.name}'s statement neither ends nor waits for a lock")
