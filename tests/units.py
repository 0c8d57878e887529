"""Units of work, threads and interruptions for the tests of `helpers.strategies`."""

import signal
import sqlite3
import sys
from contextlib import closing, contextmanager
from pathlib import Path

from protocol import TIMEOUT, Held, Thread, increment, look, until

from helpers import strategies

__all__ = [
    "ROOM", "TIMEOUT", "Held", "Interruption", "Thread", "add", "ctrl_c", "elsewhere", "increment",
    "look", "stored", "until",
]  # fmt: skip

ROOM = str(Path(strategies.__file__).parent)


def add(amount):
    return lambda connection: (
        connection.execute("UPDATE counter SET value = value + ?", [amount]).rowcount
    )


def stored(database):
    """The counter, as a stranger sees it."""
    with closing(sqlite3.connect(database)) as connection:
        return look(connection)


@contextmanager
def ctrl_c():
    """Let SIGINT raise KeyboardInterrupt: a shell starts what runs in its background without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def elsewhere(function, *arguments):
    """Run it in a thread of its own and return its result."""
    return Thread(function, *arguments).get()


class Interruption:
    """In ``with``: Ctrl-C at the `number`-th place of `helpers.strategies` where it can arrive.

    Python looks for signals when a function written in C has returned. `happened` says
    whether there were as many places.
    """

    def __init__(self, number):
        self.left, self.happened = number, False

    def _profile(self, frame, event, argument):
        if event == "c_return" and frame.f_code.co_filename.startswith(ROOM):
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                self.happened = True
                raise KeyboardInterrupt

    def __enter__(self):
        sys.setprofile(self._profile)
        return self

    def __exit__(self, kind, error, traceback):
        sys.setprofile(None)
        return kind is KeyboardInterrupt
