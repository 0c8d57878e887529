"""What every server of `servers` is: something that can be stopped, on a port of this machine.

How it answers an error is told here as well, so that a client of any of them can count it.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Iterable
from time import monotonic

from helpers.history import CallError

#: How long `stop` waits for requests that are still at work, in seconds.
TIMEOUT = 2.0

#: Where every server listens.
HOST = "127.0.0.1"

#: Of an answer with status 500.
ERROR_HEADERS = [("Content-Type", "application/json")]


class ServerError(RuntimeError):
    """A server could not be started, or did not come to its end."""


class Server:
    """A server that is running; `wsgi`, `asgi` and `cherrypy` make one.

    Attributes:
        url: where it listens, as in ``http://127.0.0.1:49152``.
        errors: every exception that the application let through, in order, with the first
            line of its message. Also those raised after the answer had been sent.
    """

    def __init__(self) -> None:
        self.url = ""
        self.errors: list[CallError] = []
        self._before = set(threading.enumerate())
        self._stopped = False

    def stop(self) -> None:
        """Stop accepting, answer what was accepted, end every thread, free the port.

        Calling it again does nothing, or waits once more after an error.

        Raises:
            ServerError: if threads are still at work after `TIMEOUT` seconds.
        """
        if self._stopped:
            return
        deadline = monotonic() + TIMEOUT
        self._end(deadline)
        left = join(self._threads(), deadline)
        if left:
            raise ServerError(
                f"the server's threads {', '.join(left)} are still at work after {TIMEOUT} s: "
                "run what can hang in a child process, with sandbox.call(...)"
            )
        self._stopped = True

    def _end(self, deadline: float) -> None:
        raise NotImplementedError

    def _threads(self) -> list[threading.Thread]:
        raise NotImplementedError

    def _named(self, *prefixes: str) -> list[threading.Thread]:
        """Threads that began after this server was made, by the beginning of their names."""
        new = [thread for thread in threading.enumerate() if thread not in self._before]
        return [thread for thread in new if thread.name.startswith(prefixes)]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def listening(port: int) -> socket.socket:
    """A socket bound to `port` of the loopback address, or to a free one."""
    listener = socket.socket()
    if sys.platform != "win32":
        # Elsewhere than on Windows: take a port over at once from a server that has ended.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ServerError(
            f"port {port} is taken: stop what uses it, or leave port out to get a free one"
        ) from error
    return listener


def join(threads: Iterable[threading.Thread], deadline: float) -> list[str]:
    """Wait for the threads to end; returns the names of those that did not."""
    threads = list(threads)
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


def described(error: BaseException) -> CallError:
    """The error's class and the first line of its message, without what differs in every run."""
    line = CallError.of(error).message.partition("\n")[0]
    # SQLAlchemy adds a link that names its version; Python names thread ids.
    line = re.sub(r"\s*\(Background on this error at.*\)", "", line)
    line = re.sub(r"thread id \d+", "thread id ...", line)
    found = CallError.of(getattr(error, "orig", None) or error)
    return CallError(type(error).__name__, line.strip(), found.sqlite_errorname)


def answer(error: CallError) -> bytes:
    """The error as JSON, the body of an answer with status 500."""
    return json.dumps({"error": error.kind, "message": error.message}).encode()
