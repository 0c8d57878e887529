"""Where do sample databases come from? Small, fresh, complete, and gone afterwards."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from helpers import databases

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("journal_mode", databases.JOURNAL_MODES)
@pytest.mark.parametrize("sample", databases.SAMPLES)
def test_every_sample_in_every_journal_mode(sample, journal_mode):
    with databases.fresh(sample, journal_mode) as database:
        with closing(database.connect()) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == (journal_mode,)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        folder = database.folder
    assert not folder.exists()


def test_investments_are_about_a_thousand_with_some_null_groups():
    with databases.fresh("investments") as database:
        ((rows, nulls, names),) = database.query(
            "SELECT count(*), sum(SectorGroup IS NULL), count(DISTINCT Name) FROM Investment"
        )
    assert rows == 1000
    assert 20 <= nulls <= 100
    assert names == 1000


def test_accounts_hold_ten_thousand_and_the_counter_is_zero():
    with databases.fresh("accounts") as database:
        assert database.query("SELECT count(*), sum(balance) FROM account") == [(10, 10_000)]
        assert database.query("SELECT count(*) FROM transfer") == [(0,)]
    with databases.fresh("counter") as database:
        assert database.query("SELECT * FROM counter") == [(1, 0)]


def test_each_copy_is_its_own():
    with databases.fresh("counter") as one, databases.fresh("counter") as two:
        with closing(one.connect()) as connection, connection:
            connection.execute("UPDATE counter SET value = 5")
        assert one.query("SELECT value FROM counter") == [(5,)]
        assert two.query("SELECT value FROM counter") == [(0,)]


def test_the_data_files_are_what_their_script_makes():
    script = ROOT / "data" / "make_samples.py"
    scope = {"__file__": str(script), "__name__": "make_samples"}
    exec(compile(script.read_text(encoding="utf-8"), script.name, "exec"), scope)
    for name, text in scope["samples"]().items():
        assert (ROOT / "data" / name).read_text(encoding="utf-8") == text


def test_an_unknown_journal_mode_names_itself_and_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown journal mode 'wall'.*delete, wal"):
        databases.fresh("counter", "wall")


def test_an_unknown_sample_names_itself_and_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown sample 'stocks'.*investments, accounts, counter"
    ):
        databases.fresh("stocks")


def test_a_missing_folder_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(FileNotFoundError):
        databases.fresh("counter", folder=tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    # On Windows: the system cannot find the path.
    with pytest.raises((NotADirectoryError, FileNotFoundError)):
        databases.fresh("counter", folder=file)


def test_closing_twice_does_nothing_more():
    database = databases.fresh("counter")
    database.close()
    database.close()
    assert not database.folder.exists()


def test_a_forgotten_database_goes_with_its_process():
    code = "from helpers import databases; print(databases.fresh('counter').folder)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not Path(done.stdout.strip()).exists()


class TestCheckFile:
    def test_a_database_is_returned_as_a_path(self):
        with databases.fresh("counter") as database:
            assert databases.check_file(database) == database.path

    def test_an_empty_file_is_a_database_that_is_still_empty(self, tmp_path):
        file = tmp_path / "new.db"
        file.touch()
        assert databases.check_file(file) == file

    def test_a_folder(self, tmp_path):
        with pytest.raises(IsADirectoryError, match="is a folder"):
            databases.check_file(tmp_path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file 'gone\.db'"):
            databases.check_file(tmp_path / "gone.db")

    def test_a_file_that_is_no_database(self, tmp_path):
        file = tmp_path / "notes.txt"
        file.write_text("these are not the pages you are looking for")
        with pytest.raises(sqlite3.DatabaseError, match=r"'notes\.txt' is not a SQLite database"):
            databases.check_file(file)

    def test_a_read_only_folder(self, tmp_path, monkeypatch):
        file = tmp_path / "t.db"
        file.touch()
        real = os.access
        # Root may write everywhere, so the refusal of the system is played.
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
        with pytest.raises(PermissionError, match=r"'t\.db' or its folder is read-only"):
            databases.check_file(file)


def test_wal_works_in_the_temporary_folder(tmp_path):
    assert databases.wal_supported(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_wal_is_recognised(tmp_path, monkeypatch):
    class Refusing(sqlite3.Connection):
        def execute(self, sql, *rest):
            if "journal_mode" in sql:
                return super().execute("VALUES ('delete')")
            return super().execute(sql, *rest)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **options: connect(*a, factory=Refusing, **options)
    )
    assert not databases.wal_supported(tmp_path)


@pytest.mark.skipif(os.name != "nt", reason="only Windows refuses to remove an open file")
def test_windows_names_the_connection_that_is_still_open():
    database = databases.fresh("counter")
    with closing(database.connect()) as connection:
        connection.execute("SELECT * FROM counter").fetchone()
        with pytest.raises(PermissionError, match="close every connection"):
            database.close()
    database.close()
    assert not database.folder.exists()
