"""The kit elsewhere: what Windows, macOS and other set-ups do otherwise, played on this machine."""

import gc
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import elsewhere
import pytest

from helpers import databases, sandbox, soundness
from helpers.explorer import Program, explore

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
