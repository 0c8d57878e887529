"""An inventory service at full speed, in a child process, and one whose process ends at once.

What `helpers.exercises.inventories` cannot see in any order of steps: two threads inside one call,
real waiting, a sweeper that runs beside them, and a process that is gone in the middle of it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from helpers import databases
from helpers.load import sandbox

#: Threads, and what each does: so many rounds of seven requests.
THREADS, ROUNDS = 4, 8
#: After how many acknowledged requests the process ends in the second run.
ENDS_AFTER = 40
#: Time limit of a run: a right service needs a hundredth of it, on a crowded machine a tenth.
SECONDS = 120.0
#: Seconds after which the sweeper, due every thousandth of one, has stopped.
SWEEPS_WITHIN = 10.0
#: A reservation that the sweeper has to release.
OLD = 9999
#: Pieces at the start. Of screws there are fewer than the threads ask for.
BOLTS, SCREWS = 1000, 20

Acknowledge = Callable[[str, object], None]


def what_broke(service: Callable[[str], Any], schema: str) -> str:
    """What was wrong after a run to the end, or after one that was cut off; empty if nothing.

    Args:
        service: makes the service from the path of its database.
        schema: SQL that makes the tables, with nothing in them but ``bolt`` and ``nut``.
    """
    for ends_after in (0, ENDS_AFTER):
        with databases.Database() as database:
            path, told = str(database.path), str(database.folder / "told.txt")
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(schema)
                connection.execute("UPDATE stock SET quantity = ?", (BOLTS,))
                connection.execute("INSERT INTO stock VALUES ('screw', ?)", (SCREWS,))
                connection.commit()
            ended = sandbox.call(_business, service, path, told, ends_after, seconds=SECONDS)
            reason = _how_it_ended(ended, bool(ends_after)) or _audit(database, Path(told))
        if reason:
            how = "when its process ends at once" if ends_after else "under load"
            return f"{how}, {reason}"
    return ""


def _how_it_ended(ended: sandbox.SandboxResult, cut: bool) -> str:
    if ended.kind == "returned":
        return str(ended.value)
    if cut and ended.kind == "crashed" and ended.signal == "exit status 9":
        return ""
    return str(ended)


# -- in the child process ------------------------------------------------------------------------


class _Told:
    """Writes what is acknowledged to a file, and ends the process after so many times."""

    def __init__(self, path: str, ends_after: int) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.left = ends_after
        self.counting = threading.Lock()

    def __call__(self, what: str, number: object) -> None:
        os.write(self.file, f"{what} {number}\n".encode())
        with self.counting:
            self.left -= 1
            if self.left == 0:
                os._exit(9)


def _business(service: Callable[[str], Any], path: str, told: str, ends_after: int) -> str:
    """Serve `THREADS` threads and the sweeper; returns what may not happen, or nothing."""
    threading.settrace(_give_way)
    opened = service(path)
    acknowledge = _Told(told, ends_after)
    errors: list[str] = []

    def work(worker: int) -> None:
        barrier.wait()
        for number in range(worker * ROUNDS, (worker + 1) * ROUNDS):
            try:
                errors.extend(_round(opened, number, acknowledge))
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

    barrier = threading.Barrier(THREADS)
    swept = _start_sweeping(opened)
    threads = [threading.Thread(target=work, args=(n,), name=f"T{n}") for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reason = f'a thread is told "{errors[0]}"' if errors else _not_swept(opened, swept)
    opened.close()
    os.close(acknowledge.file)
    return reason


def _start_sweeping(opened: Any) -> threading.Event:
    """Reserve for a day that is gone, and start the sweeper; set when it has swept once."""
    swept, asked = threading.Event(), []

    def today() -> int:
        asked.append(0)
        if len(asked) == 2:  # it asks again: the first sweep has ended
            swept.set()
        return 0

    opened.reserve(OLD, "bolt", 1, -1)
    opened.sweep_every(0.001, today)
    return swept


def _not_swept(opened: Any, swept: threading.Event) -> str:
    if not swept.wait(SWEEPS_WITHIN):
        return "the sweeper has stopped"
    with contextlib.suppress(KeyError):
        opened.cancel(OLD)
        return "the sweeper releases nothing"
    return ""


def _give_way(frame: FrameType, event: str, _argument: object) -> Any:
    """A trace function: between two lines of the service others get a turn, also in its Python."""
    if str(frame.f_globals.get("__name__")).partition(".")[0] in sys.stdlib_module_names:
        return None
    if event == "line":
        time.sleep(0)
    return _give_way


def _round(service: Any, number: int, acknowledge: Acknowledge) -> list[str]:
    """Seven requests, of which two have to fail; errors that are neither those nor a wait."""
    errors: list[str] = []

    def request(what: str, *arguments: Any) -> Any:
        try:
            result = getattr(service, what)(*arguments)
        except sqlite3.Error as error:
            if "locked" not in str(error):
                errors.append(f"{type(error).__name__}: {error}")
            return None
        if result is not False:
            acknowledge(what, arguments[0] if what != "load" else arguments[0][0][0])
        return result

    with contextlib.suppress(Exception):  # both have to fail
        service.cancel(-1)
    with contextlib.suppress(Exception):
        service.load([(f"half {number}", 1), ("bolt", 1)])
    request("receive", number, "bolt", 1)
    request("load", [(f"new {number}", 1)])
    request("reserve", 1000 + number, "screw", 1)
    if request("reserve", number, "bolt", 1):
        list(service.low_stock(5))
        request("ship", number)
    return errors


# -- afterwards ----------------------------------------------------------------------------------


def _audit(database: databases.Database, told: Path) -> str:
    """What the file does not hold of what was acknowledged, or holds besides."""
    said: dict[str, set[str]] = defaultdict(set)
    for line in told.read_text(encoding="utf-8").splitlines():
        what, _, number = line.partition(" ")
        said[what].add(number)

    def stored(sql: str) -> set[str]:
        return {str(row[0]) for row in database.query(sql)}

    deliveries, kept = (
        stored("SELECT number FROM delivery"),
        stored("SELECT number FROM reservation"),
    )
    items = stored("SELECT item FROM stock")
    gone = {number for number in said["reserve"] - kept if int(number) < 1000}
    lost = (said["receive"] - deliveries) | (said["load"] - items) | (said["ship"] & kept)
    lost |= {number for number in said["reserve"] - kept if int(number) >= 1000}
    if lost:
        return f"{len(lost)} acknowledged requests are not in the file"
    if any(item.startswith("half") for item in items):
        return "half of an import that failed is in the file"
    bolts = database.query("SELECT quantity FROM stock WHERE item = 'bolt'")[0][0]
    if bolts != BOLTS + len(deliveries) - len(gone):
        return "the stock is not that of the deliveries and shipments in the file"
    screws = "SELECT coalesce(sum(quantity), 0) FROM reservation WHERE item = 'screw'"
    if database.query(screws)[0][0] > SCREWS:
        return "more is reserved than there is"
    return ""
