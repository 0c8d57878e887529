"""The kit elsewhere: what Windows, macOS and other set-ups do otherwise, played on this machine."""

import errno
import functools
import gc
import locale
import multiprocessing
import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import elsewhere
import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers import databases, failures, load, workloads
from helpers.commands import doctor, soundness, survey
from helpers.explorer import Program, explore
from helpers.explorer.scenarios import begin, no_increment_lost
from helpers.failures import registry, symptoms, transaction_control
from helpers.failures.recipes import common
from helpers.load import child, sandbox
from helpers.strategies.per_thread import PerThread
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


@pytest.fixture
def left_open():
    """A program whose threads read one of two rows; the cursor is left in a reference cycle."""

    def leave_a_cursor_open(path):
        connection = sqlite3.connect(path, isolation_level=None)
        cycle = [connection.execute("SELECT id FROM counter UNION ALL SELECT 2")]
        cycle.append(cycle)

    return Program("counter", dict.fromkeys("AB", leave_a_cursor_open), lambda end: True)


@linux
def test_programs_that_leave_a_cursor_open_are_explored(left_open, open_files_stay, tmp_path):
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
def test_programs_that_leave_a_cursor_open_are_run_freely(left_open):
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
    child.limit_memory(sandbox.MEMORY)


@linux
@pytest.mark.parametrize(("hard", "limit"), [(1 << 30, 1 << 30), (-1, 2 << 30), (4 << 30, 2 << 30)])
def test_a_limit_that_is_there_already_is_not_raised(hard, limit, monkeypatch):
    limits = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (-1, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _, wanted: limits.append(wanted))
    child.limit_memory(2 << 30)
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
    child.without_traces()
    runpy.run_path(str(registry.RECIPES / "__main__.py"))["_without_traces"]()
    assert modes == [3, 3]


class Harmless(common.Workspace):
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
    monkeypatch.setattr(common, "Workspace", Harmless)
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
    monkeypatch.setattr(registry, "os", SimpleNamespace(name="nt"))
    report = registry._judge(failures.FAILURES["d-crash-close"], status, "", "no")
    assert (report.outcome, report.kind) == (outcome, kind)
    assert report.happened == (outcome == "crashed")


def test_a_child_writes_utf_8_whatever_the_machine_does(monkeypatch):
    settings = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    # In an environment whose path is not ASCII no Python before 3.13 starts under LC_ALL=C.
    if sys.prefix.isascii() and str(ROOT).isascii():
        settings["LC_ALL"] = "C"
    for name, value in settings.items():
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


@pytest.mark.parametrize(
    ("command", "typed", "answer"),
    [
        ("-S -m helpers doctor", b"", b"WAL in the course folder"),
        ("-m helpers scenarios atomic", b"", b"All counts are as derived."),
        (
            "-m helpers diagnose",
            "OperationalError: no such table: “Fäden→”".encode(),
            b"no such table",
        ),
    ],
    ids=["doctor", "scenarios", "diagnose"],
)
def test_commands_where_text_is_cp1252(command, typed, answer):
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT, env=environment, input=typed, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == b""
    assert answer in done.stdout


@pytest.fixture
def with_crlf(tmp_path):
    """A copy of a folder whose text files have the line ends of a checkout on Windows."""

    def copy(folder):
        target = tmp_path / folder
        target.mkdir(parents=True)
        for path in (ROOT / folder).iterdir():
            if path.suffix in (".csv", ".toml", ".txt", ".ipynb"):
                text = path.read_bytes().replace(b"\r\n", b"\n")
                (target / path.name).write_bytes(text.replace(b"\n", b"\r\n"))
        return target

    return copy


def test_samples_are_the_same_with_crlf(with_crlf, monkeypatch):
    before = {name: read() for name, read in databases._ROWS.items()}
    monkeypatch.setattr(databases, "DATA", with_crlf("data"))
    assert {name: read() for name, read in databases._ROWS.items()} == before


def test_tables_are_the_same_with_crlf(with_crlf):
    data = with_crlf("data")
    assert survey.read(data / "failures.csv") == survey.read()
    assert symptoms.entries(data / "errors.toml") == symptoms.entries()
    columns = {"index_col": 0, "dtype": str, "keep_default_na": False}
    assert pd.read_csv(data / "autocommit.csv", **columns).equals(transaction_control.table())


CELL = """
from helpers import databases, load, workloads
from helpers.load import sandbox
from helpers.explorer import Program, explore
from helpers.explorer.scenarios import begin, no_increment_lost
from helpers.strategies.per_thread import PerThread

program = Program("counter", [begin("IMMEDIATE")] * 2, no_increment_lost)
assert explore(program, show=False).proved
assert sandbox.run_load(workloads.Increment(5), PerThread, threads=2).get().ok
with databases.fresh("investments") as database:
    assert database.query("SELECT count(*) FROM Investment") == [(1000,)]
"""


@pytest.mark.slow
def test_a_notebook_runs_in_a_folder_with_umlauts_and_without_a_home(tmp_path):
    course = tmp_path / "Fäden für alle (2. Kurs)"
    for folder in ("helpers", "data"):
        shutil.copytree(ROOT / folder, course / folder)
    nbformat.write(new_notebook(cells=[new_code_cell(CELL)]), course / "Übung.ipynb")
    nowhere = dict.fromkeys(("HOME", "USERPROFILE", "XDG_CONFIG_HOME"), "/nonexistent")
    environment = {**os.environ, **nowhere, "PYTHONPATH": str(course)}
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "Übung.ipynb"],
        cwd=course, env=environment, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="users are POSIX")
def test_the_kit_needs_no_rights():
    def without_rights(folder):
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        tempfile.tempdir = folder
        program = Program("counter", [begin("IMMEDIATE")] * 2, no_increment_lost)
        run = load.run(workloads.Increment(5), PerThread, threads=2)
        return explore(program, show=False).proved, run.ok, doctor.check_wal("", Path("/")).status

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        assert sandbox.call(without_rights, folder).get() == (True, True, doctor.MISSING)


@linux
def test_databases_of_the_explorer_where_there_is_no_memory_folder(tmp_path, monkeypatch):
    seen = []
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/dev/shm" and real(path, mode))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    explore(Program("counter", {"A": seen.append}, lambda end: True), show=False)
    assert {Path(path).parents[2] for path in seen} == {tmp_path}


@pytest.mark.skipif(os.name != "posix", reason="there is no forkserver")
def test_an_exploration_over_processes_from_a_forkserver():
    program = Program("counter", [begin("IMMEDIATE")] * 2, no_increment_lost)
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert explore(program, executor=pool) == explore(program)
