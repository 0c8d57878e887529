"""How a recipe puts threads in order: gates inside a call, a lock held elsewhere, a frozen GIL."""

import ctypes
import os
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any, Callable, List, Optional

from .common import TIMEOUT, Work, Workspace

#: Pure C inside SQLite, without the GIL, for seconds.
SLOW = (
    "WITH RECURSIVE k(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM k WHERE x < 4000000)"
    " SELECT count(*) FROM k"
)


class Gate:
    """Where one thread waits, inside a call, until it is let go."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()

    def stop(self) -> None:
        """Called by the thread that waits."""
        self.inside.set()
        self.go.wait(TIMEOUT)

    def reached(self) -> None:
        """Wait until a thread is at the gate.

        Raises:
            RuntimeError: if none comes.
        """
        if not self.inside.wait(TIMEOUT):
            raise RuntimeError("no thread came to the gate")

    def open(self) -> None:
        """Let it go."""
        self.go.set()


class Slow:
    """A parameter whose adaptation waits at a gate, in the middle of ``execute``."""

    def __init__(self, value: Any, gate: Gate) -> None:
        self.value, self.gate = value, gate

    def __conform__(self, _protocol: Any) -> Any:
        self.gate.stop()
        return self.value


def pause_on(connection: sqlite3.Connection, word: str) -> Gate:
    """Stop the first statement that starts with `word`, inside SQLite, holding its mutex."""
    gate, used = Gate(), []  # type: Gate, List[str]

    def trace(sql: str) -> None:
        if sql.upper().startswith(word) and not used:
            used.append(sql)
            gate.stop()

    connection.set_trace_callback(trace)
    return gate


#: For connections that `frozen_while` uses: nobody waits for the disk, which takes no time of
#: the processor either, and would look as if nobody computed any more.
NO_DISK = "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;"


def settle() -> None:
    """Let threads come to a lock inside SQLite: wait until none of them computes any more."""
    _until_quiet(time.sleep, 4, _other_threads())


def freeze(release: Callable[[], Any]) -> None:
    """Call `release`, and hold the GIL until no C code of another thread computes any more.

    SQLite's busy handler looks for the lock every tenth of a second: it must get the time.
    """
    threads = _other_threads()  # Lets go of the GIL, so it comes first.
    interval = sys.getswitchinterval()
    # Who waits for the GIL must not ask for it before this thread gives it up by itself.
    sys.setswitchinterval(TIMEOUT)
    try:
        release()
        _until_quiet(_sleep_with_gil, 6, threads)
    finally:
        sys.setswitchinterval(interval)


def _until_quiet(sleep: Callable[[float], Any], times: int, threads: List[bytes]) -> None:
    """Sleep in steps until, for some of them in a row, no other thread computed or was about to."""
    began, quiet, last = time.time(), 0, time.process_time()
    while quiet < times and time.time() - began < TIMEOUT:
        sleep(0.05)
        now = time.process_time()
        quiet = quiet + 1 if now - last < 0.004 and all(map(_sleeps, threads)) else 0
        last = now


def _other_threads() -> List[bytes]:
    """Where Linux tells the state of each thread but the main one; nothing elsewhere."""
    folder = "/proc/self/task"
    if not os.path.isdir(folder):
        return []
    names = [name for name in os.listdir(folder) if name != str(os.getpid())]
    return [os.fsencode("{}/{}/stat".format(folder, name)) for name in names]


def _sleeps(path: bytes) -> bool:
    """Whether a thread waits, and not just for a processor; asked without giving up the GIL."""
    library, buffer = ctypes.PyDLL(None), ctypes.create_string_buffer(256)
    file = library.open(path, os.O_RDONLY)
    if file < 0:
        return True  # It has ended.
    library.read(file, buffer, 255)
    library.close(file)
    return buffer.value.rpartition(b") ")[2][:1] == b"S"


def _sleep_with_gil(seconds: float) -> None:
    if os.name == "nt":
        ctypes.PyDLL("kernel32").Sleep(int(seconds * 1000))
    else:
        ctypes.PyDLL(None).usleep(int(seconds * 1000000))


_HOLD = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
os.write(1, b"x")
os.read(0, 1)
connection.execute("ROLLBACK")
os.write(1, b"x")
os.read(0, 1)
"""


class Holder:
    """Another process that holds the write lock on a file until it is told to let go.

    A thread that wants the lock waits in C, without the GIL, and holds its connection's
    mutex meanwhile. `release` tells the process without giving up the GIL, so that no
    Python code of this process runs before the lock is free.
    """

    def __init__(self, path: str) -> None:
        command = [sys.executable, "-B", "-S", "-c", _HOLD, path]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.read(self._out(), 1)

    def _out(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def _in(self) -> int:
        assert self.process.stdin is not None
        return self.process.stdin.fileno()

    def release(self) -> None:
        """Let go of the lock, and wait until it is free, with the GIL held."""
        buffer = ctypes.create_string_buffer(1)
        if os.name == "nt":
            library = ctypes.PyDLL("ucrtbase")
            library._write(self._in(), b"x", 1)
            library._read(self._out(), buffer, 1)
        else:
            library = ctypes.PyDLL(None)
            library.write(self._in(), b"x", 1)
            library.read(self._out(), buffer, 1)

    def end(self) -> None:
        """End the process."""
        self.process.communicate()


def frozen_while(
    workspace: Workspace,
    held: str,
    holder: Callable[[], Any],
    *queued: Callable[[], Any],
    then: Optional[Callable[[], Any]] = None,
) -> List[Work]:
    """Let `holder` wait inside SQLite, `queued` wait for its mutex, and Python stand still.

    All of them leave SQLite before any Python code runs again, so that each looks at what
    the last one left in the connection.

    Args:
        workspace: where the threads run.
        held: path of the file whose write lock `holder` waits for.
        holder: makes one call into SQLite, which writes to that file.
        *queued: each makes a call on the same connection.
        then: called when Python runs again and nobody computes any more.
    """
    process = Holder(held)
    works = [workspace.start(holder)]
    settle()
    for function in queued:
        works.append(workspace.start(function))
    settle()
    freeze(process.release)
    if then:
        settle()
        then()
    for work in works:
        work.join()
    process.end()
    return works
