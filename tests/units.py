"""Units of work, threads and interruptions for the tests of `helpers.strategies`."""

import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

from helpers import strategies

ROOM = str(Path(strategies.__file__).parent)

#: Seconds after which something that should have happened counts as never happening.
TIMEOUT = 20.0


def increment(connection):
    (value,) = connection.execute("SELECT value FROM counter").fetchone()
    connection.execute("UPDATE counter SET value = ?", [value + 1])
    return value + 1


def look(connection):
    return connection.execute("SELECT value FROM counter").fetchone()[0]


def add(amount):
    return lambda connection: (
        connection.execute("UPDATE counter SET value = value + ?", [amount]).rowcount
    )


def stored(database):
    """The counter, as a stranger sees it."""
    with closing(sqlite3.connect(database)) as connection:
        return look(connection)


class Thread(threading.Thread):
    """A thread that has started, and that keeps what its function returned or raised."""

    def __init__(self, function, *arguments, name=None):
        super().__init__(name=name, daemon=True)
        self.function, self.arguments = function, arguments
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.function(*self.arguments)
        except BaseException as error:
            self.error = error

    def get(self):
        """What the function returned, or raise what it raised."""
        self.join(TIMEOUT)
        assert not self.is_alive(), f"{self.name} does not come to an end"
        if self.error is not None:
            raise self.error
        return self.result


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


def until(condition):
    """Wait for what other threads are about to do."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0)


class Held:
    """A unit of work that runs, in a thread of its own, until the end of the ``with``."""

    def __init__(self, strategy, write=True, unit=lambda connection: None, name="holder"):
        self.begun, self.end = threading.Event(), threading.Event()
        self.unit = unit
        self.call, self.name = (strategy.write if write else strategy.read), name

    def _run(self, connection):
        result = self.unit(connection)
        self.begun.set()
        assert self.end.wait(TIMEOUT)
        return result

    def __enter__(self):
        self.thread = Thread(self.call, self._run, name=self.name)
        assert self.begun.wait(TIMEOUT)
        return self

    def __exit__(self, *error):
        self.end.set()
        self.thread.get()


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
