"""No connection of a program goes unseen: the calls of such a one would not be steps."""

from __future__ import annotations

import functools
import sys
from typing import Any

from helpers.explorer.engine.scheduler import Scheduler


class Unseen(RuntimeError):
    """The program opened a connection whose calls are no steps."""


@functools.cache
def watch() -> None:
    """From now on refuse such connections; only explored programs notice.

    By an audit hook (https://peps.python.org/pep-0578), which cannot be taken away again.
    """
    sys.addaudithook(_see)


def _see(event: str, _arguments: Any) -> None:
    if event == "sqlite3.connect":
        run = Scheduler.here()
        if run is not None and not run.may_connect:
            unseen = Unseen(
                "the program opens a connection by other means than sqlite3.connect, or by a "
                "sqlite3.connect that was kept where the explorer does not find it"
            )
            raise unseen if run.me() is None else run.give_up(unseen)
