"""One application in several server processes, as gunicorn and mod_wsgi run it.

    with processes.serve(application, path, count=2) as urls:
        clients.run(urls, requests)

Each process opens the application for itself and has a port of its own; what stands in
front of them in production, a shared socket or a load balancer, is played by the clients,
who are spread over the ports. Nothing in Python's memory is shared: no lock, no queue, no
connection. Applications travel by cloudpickle, so a notebook's cell can define them.

    with processes.start("uvicorn shop:app --port {port}", path, folder="applications") as started:
        clients.run([child.url for child in started], requests)

does the same with an application in a file, by the command that its framework has for it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

import cloudpickle

from helpers.load import sandbox
from helpers.web import servers
from helpers.web.server import HOST, TIMEOUT, Server, ServerError, listening

#: A path in any of the forms that `open` takes.
Path_ = str | os.PathLike[str]

_ROOT = Path(__file__).resolve().parent.parent.parent
_CHILD = "import helpers.web.processes; helpers.web.processes._child()"
#: How long a command may take until its server listens, in seconds.
STARTING = 60.0
#: Commands whose module has another name.
_MODULES = {"waitress-serve": "waitress"}


@contextlib.contextmanager
def serve(
    application: Any,
    path: str,
    *,
    count: int = 2,
    threads: int = 4,
    server: Callable[..., Server] = servers.wsgi,
) -> Iterator[list[str]]:
    """Start `count` processes that serve `application` on the database at `path`.

    Args:
        application: takes a path and gives a context manager that yields an app, as
            `webload.run` wants it. It is opened once in every process.
        path: the database file, the one thing that the processes share.
        count: how many processes.
        threads: how many threads each of them has.
        server: starts the server in each: `servers.wsgi`, `servers.asgi` or `servers.cherrypy`.

    Yields:
        The URL of each process. At the end of the block every process stops its server,
        closes the application and ends.

    Raises:
        ValueError: if `count` is less than 1.
        servers.ServerError: if a process did not start, with the end of what it wrote, or did
            not end within five times `server.TIMEOUT` seconds after it was told to, and was
            killed.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    inner = cloudpickle.dumps((application, path, threads, server))
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
        raise ServerError(f"a server process did not start: {last}")
    return line


def _end(child: subprocess.Popen[bytes]) -> None:
    """Tell the child to stop, by closing its standard input, and wait for its end."""
    with contextlib.suppress(OSError):  # it has ended: EPIPE, on Windows EINVAL
        _pipe(child.stdin).close()
    try:
        child.wait(timeout=5 * TIMEOUT)  # on a busy machine Python's own end takes seconds
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise ServerError("a server process did not stop and was killed") from None


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _child() -> None:
    """Serve until standard input is closed."""
    # In two steps: what the parent can import, the child must be able to import first.
    sys.path, job = cloudpickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    application, path, threads, server = cloudpickle.loads(job)
    with application(path) as app, server(app, threads=threads) as started:
        print(started.url, flush=True)
        sys.stdin.buffer.read()


# -- an application in a file, started by a command ----------------------------------------


@dataclass(frozen=True)
class Child:
    """One server process that `start` has started.

    Attributes:
        url: where it listens, as in ``http://127.0.0.1:49152``.
        process: to be killed, or told to stop, before the block ends.
    """

    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def start(command: str, path: Path_, *, folder: Path_, count: int = 2) -> Iterator[list[Child]]:
    """Start `count` processes by a command, each on a free port, and wait until all listen.

    Args:
        command: as one types it, as in ``uvicorn shop:app --port {port}``. It runs with this
            Python. ``{port}`` stands for the port, which is in the variable ``PORT`` as well.
        path: the database, which the application finds in the variable ``DATABASE``.
        folder: where the command runs.
        count: how many processes.

    Yields:
        The processes. At the end of the block those that still run are told to stop.

    Raises:
        ValueError: if `count` is less than 1.
        servers.ServerError: if a process did not start, with the end of what it wrote, or did
            not end within five times `server.TIMEOUT` seconds after it was told to, and was
            killed.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    with contextlib.ExitStack() as running:
        starting = [running.enter_context(_command(command, path, folder)) for _ in range(count)]
        for child, output in starting:
            _wait_until_it_listens(child, output)
        yield [child for child, _ in starting]


@contextlib.contextmanager
def _command(command: str, path: Path_, folder: Path_) -> Iterator[tuple[Child, IO[bytes]]]:
    with contextlib.closing(listening(0)) as free:
        port = str(free.getsockname()[1])
    name, *arguments = shlex.split(command.replace("{port}", port))
    module = [] if name == "python" else ["-m", _MODULES.get(name, name)]
    environment = {**os.environ, "DATABASE": os.path.abspath(path), "PORT": port}
    # What it writes goes to a file: a pipe would not be read while it runs.
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, *module, *arguments], cwd=folder, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, env=environment,
        )  # fmt: skip
        with child:
            try:
                yield Child(f"http://{HOST}:{port}", child), output
            finally:
                _terminate(child)


def _wait_until_it_listens(child: Child, output: IO[bytes]) -> None:
    host, _, port = child.url.removeprefix("http://").partition(":")
    deadline = monotonic() + STARTING
    while child.process.poll() is None and monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        sleep(0.02)
    output.seek(0)
    last = output.read().decode(errors="replace").strip().splitlines()[-1:]
    raise ServerError(f"a server process did not start: {' '.join(last)}")


def _terminate(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(timeout=5 * TIMEOUT)  # on a busy machine Python's own end takes seconds
    except subprocess.TimeoutExpired:
        child.kill()
        raise ServerError("a server process did not stop and was killed") from None
