"""The fixes that the look-up gives as code: each compiles, and does what it says."""

import ast
import asyncio
import contextlib
import sqlite3
import threading

import aiosqlite
import peewee
import pytest
import sqlalchemy
from sqlalchemy import orm

from helpers.failures import diagnose, symptoms

FIXES = symptoms._catalogue().fixes
LOCKED = "sqlite3.OperationalError: database is locked"
PYTHON = [(name, kind) for name, kinds in FIXES.items() for kind in kinds if kind != "shell"]


def code(name, library="sqlite3"):
    return FIXES[name][library]


def done(source, folder, monkeypatch, **names):
    """What a fix left behind, run in a folder of its own."""
    monkeypatch.chdir(folder)
    scope = {"sqlite3": sqlite3, "contextlib": contextlib, "threading": threading, **names}
    exec(compile(source, "fix", "exec"), scope)
    return scope


def test_every_fix_is_used_and_every_code_exists():
    assert {entry.code for entry in symptoms.entries()} - {""} == set(FIXES)


@pytest.mark.parametrize(("name", "library"), PYTHON)
def test_a_fix_is_python(name, library):
    compile(code(name, library), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def pragmas(connection):
    names = ("busy_timeout", "journal_mode")
    return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)


def test_timeout_with_sqlite3(tmp_path, monkeypatch):
    connection = done(code("timeout"), tmp_path, monkeypatch)["connection"]
    with contextlib.closing(connection):
        assert pragmas(connection) == (30_000, "wal")


def test_timeout_with_sqlalchemy(tmp_path, monkeypatch):
    names = {"create_engine": sqlalchemy.create_engine}
    engine = done(code("timeout", "sqlalchemy"), tmp_path, monkeypatch, **names)["engine"]
    with engine.connect() as connection:
        assert pragmas(connection.connection.driver_connection) == (30_000, "wal")
    engine.dispose()


def test_timeout_with_peewee(tmp_path, monkeypatch):
    names = {"SqliteDatabase": peewee.SqliteDatabase}
    database = done(code("timeout", "peewee"), tmp_path, monkeypatch, **names)["db"]
    with database.connection_context():
        assert pragmas(database.connection()) == (30_000, "wal")


def test_timeout_with_aiosqlite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = "async def main():\n" + "".join(
        f"    {line}\n" for line in code("timeout", "aiosqlite").split("\n")
    )
    scope = {"aiosqlite": aiosqlite}
    exec(lines, scope)
    asyncio.run(scope["main"]())
    with contextlib.closing(sqlite3.connect("app.db")) as connection:
        assert pragmas(connection)[1] == "wal"


def refused(path):
    """Is the write lock of the file taken?"""
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def test_immediate_with_sqlite3_takes_the_lock_and_ends(tmp_path, monkeypatch):
    inside = code("immediate").rstrip("\n") + "\n    held = refused('app.db')\n"
    scope = done(inside, tmp_path, monkeypatch, refused=refused)
    assert scope["held"]
    assert not refused("app.db")
    scope["connection"].close()


def test_immediate_with_sqlalchemy_takes_the_lock_first(tmp_path, monkeypatch):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    done(
        code("immediate", "sqlalchemy"),
        tmp_path,
        monkeypatch,
        engine=engine,
        event=sqlalchemy.event,
    )
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        assert refused(tmp_path / "app.db")
    assert not refused(tmp_path / "app.db")
    engine.dispose()


def test_immediate_with_peewee_takes_the_lock_first(tmp_path, monkeypatch):
    database = peewee.SqliteDatabase(str(tmp_path / "app.db"))
    with database.connection_context():
        inside = code("immediate", "peewee").replace("...", "held = refused('app.db')")
        assert done(inside, tmp_path, monkeypatch, db=database, refused=refused)["held"]


def test_each_thread_has_its_own_connection(tmp_path, monkeypatch):
    connection = done(code("own"), tmp_path, monkeypatch)["connection"]
    other = []

    def work():
        with contextlib.closing(connection()) as mine:
            other.append(mine)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with contextlib.closing(connection()) as mine:
        assert mine is connection() is not other[0]


def test_a_connection_is_closed(tmp_path, monkeypatch):
    connection = done(code("close"), tmp_path, monkeypatch)["connection"]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_memory_is_shared(tmp_path, monkeypatch):
    with contextlib.closing(done(code("memory"), tmp_path, monkeypatch)["connection"]) as one:
        one.execute("CREATE TABLE t (v)")
        again = done(code("memory"), tmp_path, monkeypatch)["connection"]
        with contextlib.closing(again):
            assert again.execute("SELECT * FROM t").fetchall() == []
    names = {"create_engine": sqlalchemy.create_engine}
    scope = done(code("memory", "sqlalchemy"), tmp_path, monkeypatch, **names)
    scope["keeper"].exec_driver_sql("CREATE TABLE t (v)")
    scope["keeper"].commit()
    with scope["engine"].connect() as another:
        assert another.exec_driver_sql("SELECT * FROM t").fetchall() == []
    scope["keeper"].close()
    scope["engine"].dispose()
    assert list(tmp_path.iterdir()) == []


def test_a_session_commits_and_closes(tmp_path, monkeypatch):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    inside = code("session").rstrip("\n") + "\n    session.execute(text('CREATE TABLE t (v)'))\n"
    names = {"sessionmaker": orm.sessionmaker, "text": sqlalchemy.text, "engine": engine}
    done(inside, tmp_path, monkeypatch, **names)
    assert sqlalchemy.inspect(engine).get_table_names() == ["t"]
    engine.dispose()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (LOCKED, "sqlite3.connect("),
        (f"(sqlite3.OperationalError) database is locked\n{LOCKED}", "connect_args"),
        (f"  File 'flask_sqlalchemy/session.py'\n{LOCKED}", "SQLALCHEMY_ENGINE_OPTIONS"),
        ("django.db.utils.OperationalError: database is locked", '"OPTIONS"'),
        ("peewee.OperationalError: database is locked", "pragmas="),
        (f"  File 'aiosqlite/core.py'\n{LOCKED}", "await"),
    ],
)
def test_the_code_is_for_the_library_that_the_text_names(text, shown):
    diagnosis = diagnose(text)
    assert shown in diagnosis.code
    assert all(line in str(diagnosis) for line in diagnosis.code.split("\n"))
    assert "<pre>" in diagnosis._repr_html_()
