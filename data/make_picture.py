"""Draw before_and_after.png, the picture in the README: five real runs, so each differs.

Run from anywhere: ``python data/make_picture.py``.
"""

import sqlite3
import threading
from pathlib import Path

from helpers import workloads
from helpers.display import figures
from helpers.load import sandbox
from helpers.strategies import SharedConnection


class OneLock(SharedConnection):
    """The repair of notebook 01: a lock round the whole unit of work."""

    def __init__(self, path, connect=sqlite3.connect):
        super().__init__(path, connect)
        self.lock = threading.Lock()

    def write(self, unit_of_work, /):
        """Run it alone, and commit it, or roll it back when it raises."""
        with self.lock, self.connection:
            return unit_of_work(self.connection)


def audit(strategy):
    """The audit of 5 threads that increment one counter 40 times each, five runs added up."""
    runs = [
        sandbox.run_load(workloads.Increment(40), strategy, threads=5, stop_on_error=False)
        for _ in range(5)
    ]
    return workloads.total(run.value.audit for run in runs if run.kind == "returned")


if __name__ == "__main__":
    picture = figures.audit_bars(
        {
            "one connection, shared": audit(SharedConnection),
            "the same, with one lock": audit(OneLock),
        },
        "Five threads increment a counter 1000 times: what they were told, and what is stored",
    )
    (Path(__file__).resolve().parent / "before_and_after.png").write_bytes(picture.png())
