"""What every recipe uses: the registry, threads whose errors are kept as text, outcomes.

Runs on Python 3.6 and newer with the standard library alone. A recipe is a function
``recipe(workspace, fixed)``: it makes one failure happen (or, with `fixed`, does the same with
the cure in place) and returns `outcome`. Nothing it does depends on luck unless its entry
says so: threads are ordered by events.
"""

import os
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

Outcome = Dict[str, Any]
Build = NamedTuple(
    "Build", [("python", Tuple[int, ...]), ("sqlite", Tuple[int, ...]), ("gil", bool)]
)

#: How often a failure happens on a build. ABSENT: that Python lacks what the recipe uses.
ALWAYS, OFTEN, NEVER, ABSENT = "always", "often", "never", "absent"
#: Where a recipe may run: in the process that asks, or only in a child process.
HERE, CHILD = "here", "child"

#: Longest wait for another thread, in seconds: only a broken recipe gets there.
TIMEOUT = 20.0
#: Timeout of connections whose waiting is measured, in seconds.
SHORT = 0.2
LONG = 5.0


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
        recipe: Callable[["Workspace", bool], Outcome],
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
    tries: int = 1,
) -> Callable[[Callable[["Workspace", bool], Outcome]], Callable[["Workspace", bool], Outcome]]:
    """Register a recipe; the arguments are those of `Failure`.

    Where even a recipe leaves something to chance, it may try several times (`tries`), each
    time in a workspace of its own, until the failure happens.
    """

    def register(
        recipe: Callable[["Workspace", bool], Outcome],
    ) -> Callable[["Workspace", bool], Outcome]:
        if name in FAILURES:
            raise ValueError("two recipes are called {}".format(name))
        run = recipe if tries == 1 else _several(recipe, tries)
        FAILURES[name] = Failure(name, title, expects, fix, happens, where, seconds, run)
        return recipe

    return register


def _several(
    recipe: Callable[["Workspace", bool], Outcome], tries: int
) -> Callable[["Workspace", bool], Outcome]:
    def run(workspace: "Workspace", fixed: bool) -> Outcome:
        result = recipe(workspace, fixed)
        for _ in range(0 if fixed else tries - 1):
            if result["happened"]:
                break
            with Workspace() as another:
                result = recipe(another, fixed)
        return result

    return run


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
        self._running.wait(TIMEOUT)

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
            RuntimeError: if it takes longer than `TIMEOUT`.
        """
        self._thread.join(TIMEOUT)
        if self._thread.is_alive():
            raise RuntimeError("a thread of this recipe never ended")
        return self


class Workspace:
    """A temporary folder, and the connections and threads of one recipe; closes them all."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="sqlite-under-threads-")
        self.path = os.path.join(self.folder, "sample.db")
        self.connections = []  # type: List[sqlite3.Connection]
        self.works = []  # type: List[Work]

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_problem: Any) -> None:
        for work in self.works:
            work.join()
        for connection in self.connections:
            connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, script: str = "", path: str = "", **options: Any) -> sqlite3.Connection:
        """Open a connection that the workspace closes; `script` is run on it and committed."""
        connection = sqlite3.connect(path or self.path, **options)  # type: sqlite3.Connection
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


def integer(connection: sqlite3.Connection, sql: str) -> int:
    """The one number that a query returns."""
    return int(connection.execute(sql).fetchall()[0][0])
