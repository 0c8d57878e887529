"""The kit elsewhere: what Windows, macOS and other set-ups do otherwise, played on this machine."""

import errno
import functools
import gc
import locale
import os
import runpy
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import elsewhere
import pytest

from helpers import databases, failures, sandbox, soundness
from helpers.explorer import Program, explore
from helpers.failures.recipes import common
from helpers.web import processes, servers

ROOT = Path(__file__).resolve().parent.parent

linux = pytest.mark.skipif(sys.platform != "linux", reason="what another system does is played")


# -- Windows: an open file cannot be deleted -----------------------------------------------


@pytest.fixture
def open_files_stay(tmp_path, monkeypatch):
    """Files that this process has open stay; those of the explorer in `tmp_path`."""
    monkeypatch.setattr("helpers.explorer.runner._memory_folder", lambda: str(tmp_path))
    with elsewhere.open_files_stay():
        yield


@linux
def test_a_block_ends_while_a_connection_is_open(open_files_stay):
    with databases.fresh("counter", "wal") as database:
        connection = database.connect()
        connection.execute("SELECT * FROM counter").fetchone()
    with closing(connection):
        assert connection.execute("SELECT value FROM counter").fetchone() == (0,)
        with pytest.raises(PermissionError, match=r"counter\.db is still open in this process"):
            database.close()
    database.close()
    assert not database.folder.exists()


@linux
def test_what_a_block_left_goes_with_the_process(tmp_path):
    def leave():
        with elsewhere.open_files_stay(), databases.fresh("counter", folder=tmp_path) as database:
            connection = database.connect()
            connection.execute("SELECT * FROM counter").fetchone()
        connection.close()
        assert database.folder.exists()
        return database._removal.alive

    assert sandbox.call(leave).get()


def leave_a_cursor_open(path):
    """Read one of two rows; the cursor is in a reference cycle, as one in a traceback is."""
    connection = sqlite3.connect(path, isolation_level=None)
    cycle = [connection.execute("SELECT id FROM counter UNION ALL SELECT 2")]
    cycle.append(cycle)


left_open = Program("counter", dict.fromkeys("AB", leave_a_cursor_open), lambda end: True)


@linux
def test_programs_that_leave_a_cursor_open_are_explored(open_files_stay, tmp_path):
    found = explore(left_open, show=False)
    assert found.complete
    assert found.schedules >= 2
    assert list(tmp_path.iterdir()) == []


@linux
def test_programs_that_keep_a_cursor_open_are_explored(open_files_stay):
    kept = []

    def keep(path):
        connection = sqlite3.connect(path, isolation_level=None)
        kept.append(connection.execute("SELECT id FROM counter UNION ALL SELECT 2"))

    found = explore(Program("counter", {"A": keep, "B": keep}, lambda end: True), show=False)
    assert found.complete
    assert len(kept) > 2


@linux
def test_programs_that_leave_a_cursor_open_are_run_freely():
    def free_runs():
        gc.disable()
        with elsewhere.open_files_stay():
            return soundness.free_runs(left_open, 2, 0)

    assert sandbox.call(free_runs).get().total() == 2


# -- child processes -----------------------------------------------------------------------


@linux
def test_macos_has_no_limit_on_the_address_space(monkeypatch):
    def refuse(*_):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("resource.setrlimit", refuse)
    sandbox._limit(sandbox.MEMORY)


@linux
@pytest.mark.parametrize(("hard", "limit"), [(1 << 30, 1 << 30), (-1, 2 << 30), (4 << 30, 2 << 30)])
def test_a_limit_that_is_there_already_is_not_raised(hard, limit, monkeypatch):
    limits = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (-1, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _, wanted: limits.append(wanted))
    sandbox._limit(2 << 30)
    assert limits == [(limit, limit)]


class Pipe:
    """A pipe to a child; on Windows, one that nobody reads any more gives EINVAL."""

    def __init__(self, real):
        self.real = real

    def __getattr__(self, name):
        value = getattr(self.real, name)
        return functools.partial(self.call, value) if callable(value) else value

    def call(self, method, *arguments):
        try:
            return method(*arguments)
        except BrokenPipeError:
            raise OSError(errno.EINVAL, "Invalid argument") from None


class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.stdin = Pipe(self.stdin)


@pytest.fixture(params=[subprocess.Popen, Popen], ids=["as here", "as on Windows"])
def children_that_die_at_once(monkeypatch, request):
    monkeypatch.setattr(subprocess, "Popen", request.param)
    for module in (sandbox, processes):
        monkeypatch.setattr(module, "_CHILD", "import os; os._exit(7)")


def test_a_child_that_dies_before_it_reads_its_job_gives_a_result(children_that_die_at_once):
    result = sandbox.call(len, b"x" * 5_000_000)
    assert (result.kind, result.signal) == ("crashed", "exit status 7")


def test_a_server_that_dies_before_it_reads_its_job_is_told(children_that_die_at_once):
    large = functools.partial(len, b"x" * 5_000_000)
    with (
        pytest.raises(servers.ServerError, match="did not start: exit status 7"),
        processes.serve(large, "nowhere.db", count=1),
    ):
        pass


@linux
@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
def test_a_child_that_macos_does_not_let_us_kill_is_dead(error, monkeypatch):
    real = os.killpg

    def refuse(group, number):
        real(group, number)
        raise error

    monkeypatch.setattr(os, "killpg", refuse)
    assert sandbox.call(time.sleep, 60, seconds=0.5).kind == "hung"
    monkeypatch.setattr(failures.FAILURES["d-hang-create-function"], "seconds", 1.0)
    assert failures.run("d-hang-create-function").outcome == "hung"


def test_windows_opens_no_dialog_when_a_child_crashes(monkeypatch):
    modes = []
    windows = SimpleNamespace(
        SetErrorMode=modes.append, SEM_FAILCRITICALERRORS=1, SEM_NOGPFAULTERRORBOX=2
    )
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setattr("sys.platform", "win32")
    sandbox._without_traces()
    runpy.run_path(str(failures.RECIPES / "__main__.py"))["_without_traces"]()
    assert modes == [3, 3]


class Harmless(common.Room):
    """A room whose connections and cursors survive everything."""

    number = 0

    def __init__(self):
        super().__init__()
        Harmless.number += 1

    def shared(self, *_, **__):
        return self

    def cursor(self):
        return self

    def execute(self, sql, parameters=()):
        for parameter in parameters:
            parameter.__conform__(None)
        return self

    def fetchall(self):
        return []

    def close(self):
        pass


@pytest.mark.parametrize("name", ["d-crash-close", "d-crash-cursor"])
def test_a_crash_that_an_allocator_may_spare_is_tried_again(name, monkeypatch):
    monkeypatch.setattr(common, "Room", Harmless)
    monkeypatch.setattr(Harmless, "number", 0)
    with Harmless() as room:
        assert not failures.FAILURES[name].recipe(room, False)["happened"]
    assert Harmless.number >= 3


@pytest.mark.parametrize(
    ("status", "outcome", "kind"),
    [
        (0xC0000005, "crashed", "SIGSEGV"),
        (0xC0000374, "crashed", "SIGABRT"),
        (3, "crashed", "exit status 3"),
        (1, "broken", "exit status"),
        (2, "broken", "exit status"),
    ],
)
def test_windows_exit_statuses(status, outcome, kind, monkeypatch):
    monkeypatch.setattr(failures, "os", SimpleNamespace(name="nt"))
    report = failures._judge(failures.FAILURES["d-crash-close"], status, "", "no")
    assert (report.outcome, report.kind) == (outcome, kind)
    assert report.happened == (outcome == "crashed")


def test_a_child_writes_utf_8_whatever_the_machine_does(monkeypatch):
    for name, value in {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)

    def talk():
        print("Größe: 3 € → 4")
        sys.stderr.write(locale.getpreferredencoding(False))

    result = sandbox.call(talk)
    assert result.kind == "returned"
    assert "Größe: 3 € → 4" in result.stderr
    assert "utf-8" in result.stderr.lower()


# -- other set-ups -------------------------------------------------------------------------


@pytest.mark.parametrize(("ci", "ending"), [("", pytest.skip.Exception), ("1", ImportError)])
def test_without_playwright_the_browser_is_left_out_and_ci_fails(ci, ending, monkeypatch):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setitem(sys.modules, "playwright", None)
    monkeypatch.delitem(sys.modules, "playwright.sync_api", raising=False)
    with pytest.raises(ending, match=r"playwright|--extra browser"):
        runpy.run_path(str(ROOT / "tests" / "browsing.py"))
