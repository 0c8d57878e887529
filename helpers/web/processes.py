"""One WSGI application in several server processes, as gunicorn and mod_wsgi run it.

    with processes.serve(application, path, count=2) as urls:
        clients.run(urls, requests)

Each process opens the application for itself and has a port of its own; what stands in
front of them in production, a shared socket or a load balancer, is played by the clients,
who are spread over the ports. Nothing in Python's memory is shared: no lock, no queue, no
connection. Applications travel by cloudpickle, so a notebook's cell can define them.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import cloudpickle

from helpers import sandbox
from helpers.web import servers

_ROOT = Path(__file__).resolve().parent.parent.parent
_CHILD = "import helpers.web.processes; helpers.web.processes._child()"


@contextlib.contextmanager
def serve(application: Any, path: str, *, count: int = 2, threads: int = 4) -> Iterator[list[str]]:
    """Start `count` processes that serve `application` on the database at `path`.

    Args:
        application: takes a path and gives a context manager that yields a WSGI app, as
            `webload.run` wants it. It is opened once in every process.
        path: the database file, the one thing that the processes share.
        count: how many processes.
        threads: how many threads each of them has.

    Yields:
        The URL of each process. At the end of the block every process stops its server,
        closes the application and ends.

    Raises:
        ValueError: if `count` is less than 1.
        servers.ServerError: if a process did not start, with the end of what it wrote, or did
            not end within `servers.PATIENCE` seconds after it was told to; it is killed then.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    inner = cloudpickle.dumps((application, path, threads))
    job = base64.b64encode(cloudpickle.dumps((sys.path, inner)))
    with contextlib.ExitStack() as running:
        children = [running.enter_context(_process(job)) for _ in range(count)]
        yield [_url(child) for child in children]


@contextlib.contextmanager
def _process(job: bytes) -> Iterator[subprocess.Popen[bytes]]:
    search = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search},
    )  # fmt: skip
    # Leaving the child's own block closes its pipes, and waits for it.
    with child:
        try:
            # If it died before it read its job, `_url` tells how.
            with contextlib.suppress(OSError):
                _pipe(child.stdin).write(job + b"\n")
                _pipe(child.stdin).flush()
            yield child
        finally:
            _end(child)


def _url(child: subprocess.Popen[bytes]) -> str:
    """The first line that a child writes."""
    line = _pipe(child.stdout).readline().decode().strip()
    if not line:
        _end(child)
        lines = _pipe(child.stderr).read().decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else sandbox.signal_name(child.returncode)
        raise servers.ServerError(f"a server process did not start: {last}")
    return line


def _end(child: subprocess.Popen[bytes]) -> None:
    """Tell the child to stop, by closing its standard input, and wait for its end."""
    with contextlib.suppress(OSError):  # it has ended: EPIPE, on Windows EINVAL
        _pipe(child.stdin).close()
    try:
        child.wait(timeout=2 * servers.PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise servers.ServerError("a server process did not stop and was killed") from None


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _child() -> None:
    """Serve until standard input is closed."""
    # In two steps: what the parent can import, the child must be able to import first.
    sys.path, job = cloudpickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    application, path, threads = cloudpickle.loads(job)
    with application(path) as app, servers.wsgi(app, threads=threads) as server:
        print(server.url, flush=True)
        sys.stdin.buffer.read()
