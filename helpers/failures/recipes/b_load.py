"""B. One connection shared by threads at full speed: each symptom, within a few seconds."""

import sqlite3
import threading
from functools import partial
from typing import Any, Callable, Dict, Optional

from .b_errors import OWN, TABLE
from .common import CHILD, NEVER, OFTEN, Build, Outcome, Seen, Workspace, failure, outcome

#: How long the threads try, in seconds.
SECONDS = 4.0


class Hammer:
    """Threads that use one connection at full speed until a wanted symptom is seen."""

    def __init__(
        self, workspace: Workspace, fixed: bool, wanted: str, writes: bool, one_cursor: bool
    ) -> None:
        self.workspace, self.fixed, self.wanted = workspace, fixed, wanted
        self.writes, self.one_cursor = writes, one_cursor
        self.found = None  # type: Optional[Seen]
        self.detail = ""
        self.stop = threading.Event()
        self.shared = workspace.shared(TABLE + "PRAGMA synchronous = OFF;", timeout=20.0)
        self.cursor = self.shared.cursor()

    def run(self, threads: int = 6) -> Outcome:
        """Start the threads, wait for the symptom or for the time limit."""
        works = [self.workspace.start(partial(self.worker, number)) for number in range(threads)]
        self.stop.wait(SECONDS)
        self.stop.set()
        for work in works:
            work.join()
        return outcome(bool(self.found or self.detail), self.found, self.detail)

    def worker(self, number: int) -> None:
        """What one thread does: reads, or reads and writes, rows of its own."""
        connection = sqlite3.connect(self.workspace.path, timeout=20) if self.fixed else self.shared
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                self.unit(connection, 1 + (number + 6 * turn) % 48)
            except Exception as error:
                self.note(Seen(error, self.workspace.folder))
        if self.fixed:
            connection.close()

    def unit(self, connection: sqlite3.Connection, key: int) -> None:
        """One SELECT, with an UPDATE and a commit if writes are wanted."""
        use = self.cursor if self.one_cursor and not self.fixed else connection.cursor()
        row = use.execute("SELECT v FROM t WHERE id = ?", (key,)).fetchall()[0]
        if row[0] is None:
            self.note_detail("NULL in a NOT NULL column")
        elif row[0] != "v%d" % key:
            self.note_detail("another row's value")
        if self.writes:
            use.execute("UPDATE t SET v = ? WHERE id = ?", ("v%d" % key, key))
            connection.commit()

    def note(self, error: Seen) -> None:
        """Keep the error, and stop everyone, if it is the wanted one."""
        if self.wanted in "{}: {}".format(error.kind, error.message) and not self.found:
            self.found = error
            self.stop.set()

    def note_detail(self, detail: str) -> None:
        """The same for what is silent."""
        if self.wanted == detail:
            self.detail = detail
            self.stop.set()


def _often(since_python: Any = (3, 6), until: Any = (9,)) -> Callable[[Build], str]:
    return lambda build: OFTEN if since_python <= build.python < until else NEVER


def _register_hammer(
    name: str, wanted: str, happens: Callable[[Build], str], writes: bool, one_cursor: bool = False
) -> None:
    @failure(
        name,
        "Shared connection at full speed: " + wanted,
        wanted + " within four seconds.",
        OWN,
        happens=happens,
        where=CHILD,
        seconds=40.0,
    )
    def hammer(workspace: Workspace, fixed: bool) -> Outcome:
        return Hammer(workspace, fixed, wanted, writes, one_cursor).run()


HAMMERED = {
    "b-load-begin": ("cannot start a transaction within a transaction", _often(), True),
    "b-load-commit": ("cannot commit - no transaction is active", _often(), True),
    "b-load-misuse": ("bad parameter or other API misuse", _often((3, 12)), False),
    "b-load-index-error": ("IndexError", _often((3, 12)), False),
    "b-load-another-row": ("another row available", _often(), True),
    "b-load-no-more-rows": ("no more rows available", _often(), True),
    "b-load-not-an-error": ("not an error", _often(), True),
    "b-load-system-error": ("SystemError", _often((3, 11)), True),
    "b-load-null": ("NULL in a NOT NULL column", _often((3, 12)), False),
    "b-load-wrong-row": ("another row's value", _often((3, 12)), False),
}  # type: Dict[str, Any]
for _name, _entry in HAMMERED.items():
    _register_hammer(_name, *_entry)
_register_hammer(
    "b-load-binding", "Error binding parameter", _often((3, 6), (3, 11)), True, one_cursor=True
)
