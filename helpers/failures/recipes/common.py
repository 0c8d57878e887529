"""What every recipe uses: the registry, threads whose errors are kept as text, outcomes.

Runs on Python 3.6 and newer with the standard library alone. A recipe is a function
``recipe(room, fixed)``: it makes one failure happen (or, with `fixed`, does the same with
the cure in place) and returns `outcome`. Nothing it does depends on luck unless its entry
says so: threads are ordered by events.
"""

import ctypes
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

Outcome = Dict[str, Any]
Build = NamedTuple("Build", [("python", Tuple[int, ...]), ("sqlite", Tuple[int, ...]), ("gil", bool)])

#: How often a failure happens on a build. ABSENT: that Python lacks what the recipe uses.
ALWAYS, OFTEN, NEVER, ABSENT = "always", "often", "never", "absent"
#: Where a recipe may run: in the process that asks, or only in a child process.
HERE, CHILD = "here", "child"

#: Longest wait for another thread, in seconds: only a broken recipe gets there.
PATIENCE = 20.0
#: Timeout of connections whose waiting is measured, in seconds.
SHORT = 0.2
LONG = 5.0

#: Pure C inside SQLite, without the GIL, for seconds.
SLOW = (
    "WITH RECURSIVE k(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM k WHERE x < 4000000)"
    " SELECT count(*) FROM k"
)


class Failure:
    """One entry of the registry.

    Attributes:
        id: its name, letter group first: ``"f-busy-snapshot"``.
        title: what it is, in a few words.
        group: the letter of its group, ``"A"`` to ``"J"``.
        expects: what is seen when it happens, in one sentence.
        fix: what the recipe does instead when asked for the fix.
        happens: build -> how often: `ALWAYS`, `OFTEN`, `NEVER` or `ABSENT`.
        where: `HERE` or `CHILD`.
        seconds: time limit of a child that runs it.
        recipe: the function.
    """

    def __init__(
        self,
        name: str,
        title: str,
        expects: str,
        fix: str,
        happens: Callable[[Build], str],
        where: str,
        seconds: float,
        recipe: Callable[["Room", bool], Outcome],
    ) -> None:
        self.id, self.title, self.expects, self.fix = name, title, expects, fix
        self.group = name[0].upper()
        self.happens, self.where, self.seconds, self.recipe = happens, where, seconds, recipe

    def __repr__(self) -> str:
        return "<Failure {}: {}>".format(self.id, self.title)


FAILURES = {}  # type: Dict[str, Failure]


def always(_build: Build) -> str:
    """On every build."""
    return ALWAYS


def since(*python: int) -> Callable[[Build], str]:
    """Always from this Python on, never before."""
    return lambda build: ALWAYS if build.python >= python else NEVER


def exists_since(*python: int) -> Callable[[Build], str]:
    """Always from this Python on; before, what the recipe uses did not exist."""
    return lambda build: ALWAYS if build.python >= python else ABSENT


def before(*python: int) -> Callable[[Build], str]:
    """Always up to the Python before this one, never since."""
    return lambda build: ALWAYS if build.python < python else NEVER


def failure(
    name: str,
    title: str,
    expects: str,
    fix: str,
    happens: Callable[[Build], str] = always,
    where: str = HERE,
    seconds: float = 30.0,
) -> Callable[[Callable[["Room", bool], Outcome]], Callable[["Room", bool], Outcome]]:
    """Register a recipe; the arguments are those of `Failure`."""

    def register(recipe: Callable[["Room", bool], Outcome]) -> Callable[["Room", bool], Outcome]:
        if name in FAILURES:
            raise ValueError("two recipes are called {}".format(name))
        FAILURES[name] = Failure(name, title, expects, fix, happens, where, seconds, recipe)
        return recipe

    return register


def this_build() -> Build:
    """The interpreter that runs this."""
    ask = getattr(sys, "_is_gil_enabled", None)
    gil = True if ask is None else bool(ask())
    return Build(tuple(sys.version_info[:3]), sqlite3.sqlite_version_info, gil)


class Seen:
    """An exception as text: an exception object would keep cursors, and thus locks, alive."""

    def __init__(self, error: BaseException, folder: str) -> None:
        self.kind = type(error).__name__
        self.message = clean(str(error), folder)
        self.errorname = getattr(error, "sqlite_errorname", "") or ""
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        self.traceback = clean("".join(lines), folder)

    def __str__(self) -> str:
        name = " [{}]".format(self.errorname) if self.errorname else ""
        return "{}: {}{}".format(self.kind, self.message, name)


def clean(text: str, folder: str = "") -> str:
    """Leave out of `text` what differs in every run: thread ids, addresses, folders."""
    text = re.sub(r"thread id \d+", "thread id <number>", text)
    text = re.sub(r"0x[0-9A-Fa-f]{4,}", "0x<address>", text)
    return text.replace(folder, "<folder>") if folder else text


def outcome(
    happened: bool, error: Optional[Seen] = None, detail: str = "", **answers: str
) -> Outcome:
    """What a recipe returns.

    Args:
        happened: whether the failure happened.
        error: what was raised, if anything was.
        detail: what was seen, in a few words; kept only if it happened.
        **answers: what tells causes with the same text apart: ``waited`` ("at once", "the
            timeout"), ``journal_mode``, ``at`` (the statement that failed).
    """
    return {
        "happened": bool(happened),
        "kind": error.kind if error else "",
        "message": error.message if error else "",
        "errorname": error.errorname if error else "",
        "traceback": error.traceback if error else "",
        "detail": detail if happened else "",
        "answers": answers,
    }


class Work:
    """A function running in a thread of its own; its value or its error is kept."""

    def __init__(self, function: Callable[[], Any], folder: str) -> None:
        self.value = None  # type: Any
        self.error = None  # type: Optional[Seen]
        self.seconds = 0.0
        self._function, self._folder = function, folder
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._running.wait(PATIENCE)

    def _run(self) -> None:
        self._running.set()
        began = time.time()
        try:
            self.value = self._function()
        except BaseException as error:
            self.error = Seen(error, self._folder)
        # The function's closure may hold a connection that is meant to be dropped.
        del self._function
        self.seconds = time.time() - began

    def alive(self) -> bool:
        """Whether it is still running."""
        return self._thread.is_alive()

    def join(self) -> "Work":
        """Wait for its end.

        Raises:
            RuntimeError: if it takes longer than `PATIENCE`.
        """
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise RuntimeError("a thread of this recipe never ended")
        return self


class Room:
    """A temporary folder, and the connections and threads of one recipe; closes them all."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="sqlite-under-threads-")
        self.path = os.path.join(self.folder, "sample.db")
        self.connections = []  # type: List[sqlite3.Connection]
        self.works = []  # type: List[Work]

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *_problem: Any) -> None:
        for work in self.works:
            work.join()
        for connection in self.connections:
            connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, script: str = "", path: str = "", **options: Any) -> sqlite3.Connection:
        """Open a connection that the room closes; `script` is run on it and committed."""
        connection = sqlite3.connect(path or self.path, **options)
        self.connections.append(connection)
        if script:
            connection.executescript(script)
        return connection

    def shared(self, script: str = "", **options: Any) -> sqlite3.Connection:
        """A connection that every thread may use."""
        return self.connect(script, check_same_thread=False, **options)

    def start(self, function: Callable[[], Any]) -> Work:
        """Run `function` in a new thread."""
        work = Work(function, self.folder)
        self.works.append(work)
        return work

    def run(self, function: Callable[[], Any]) -> Work:
        """Run `function` in a new thread and wait for its end."""
        return self.start(function).join()

    def attempt(self, function: Callable[[], Any]) -> Work:
        """Run `function` in this thread; its error is kept as text."""
        work = Work.__new__(Work)
        work.value, work.error = None, None
        began = time.time()
        try:
            work.value = function()
        except Exception as error:
            work.error = Seen(error, self.folder)
        work.seconds = time.time() - began
        return work


def waited(work: Work, timeout: float) -> str:
    """Whether a call came back at once or used up its timeout."""
    return "the timeout" if work.seconds >= 0.9 * timeout else "at once"


class Gate:
    """Where one thread waits, inside a call, until it is let go."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()

    def stop(self) -> None:
        """Called by the thread that waits."""
        self.inside.set()
        self.go.wait(PATIENCE)

    def reached(self) -> None:
        """Wait until a thread is at the gate.

        Raises:
            RuntimeError: if none comes.
        """
        if not self.inside.wait(PATIENCE):
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


def settle() -> None:
    """Let threads come to a lock inside SQLite: wait until none of them computes any more."""
    _until_quiet(time.sleep, 4)


def freeze() -> None:
    """Hold the GIL until no C code of another thread computes any more."""
    _until_quiet(_sleep_with_gil, 8)


def _until_quiet(sleep: Callable[[float], Any], times: int) -> None:
    """Sleep in steps until the process has used no time for some of them in a row."""
    began, quiet, last = time.time(), 0, time.process_time()
    while quiet < times and time.time() - began < PATIENCE / 2:
        sleep(0.05)
        now = time.process_time()
        quiet = quiet + 1 if now - last < 0.004 else 0
        last = now


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
    room: Room,
    held: str,
    holder: Callable[[], Any],
    *queued: Callable[[], Any],
    then: Optional[Callable[[], Any]] = None
) -> List[Work]:
    """Let `holder` wait inside SQLite, `queued` wait for its mutex, and Python stand still.

    All of them leave SQLite before any Python code runs again, so that each looks at what
    the last one left in the connection.

    Args:
        room: where the threads run.
        held: path of the file whose write lock `holder` waits for.
        holder: makes one call into SQLite, which writes to that file.
        *queued: each makes a call on the same connection.
        then: called when Python runs again and nobody computes any more.
    """
    process = Holder(held)
    works = [room.start(holder)]
    settle()
    for function in queued:
        works.append(room.start(function))
    settle()
    process.release()
    freeze()
    if then:
        settle()
        then()
    for work in works:
        work.join()
    process.end()
    return works


def integer(connection: sqlite3.Connection, sql: str) -> int:
    """The one number that a query returns."""
    return int(connection.execute(sql).fetchall()[0][0])
