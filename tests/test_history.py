"""What did the threads do? Every call is recorded, and recording changes nothing."""

import pickle
import sqlite3
import threading
from contextlib import closing, suppress

import pytest

from helpers.history import Call, CallError, History, RecordingConnection, shorten


@pytest.fixture
def history():
    return History()


def test_calls_are_recorded_in_order_with_their_sql_and_outcome(history):
    with closing(history.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a)")
        with connection:
            connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        rows = connection.execute("SELECT a FROM t WHERE a > ?", (1,)).fetchall()
    assert rows == [(2,)]
    steps = [(call.operation, call.statement, call.outcome) for call in history]
    assert steps == [
        ("connect", "connect", "ok"),
        ("execute", "CREATE TABLE t (a)", "ok"),
        ("executemany", "INSERT INTO t VALUES (?)", "ok"),
        ("commit", "COMMIT", "ok"),
        ("execute", "SELECT a FROM t WHERE a > ?", "ok"),
        ("fetchall", "fetchall", "ok"),
        ("close", "close", "ok"),
    ]
    assert all(call.started <= call.ended for call in history)


def test_errors_keep_class_message_and_name_but_not_the_exception(history):
    with closing(history.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a UNIQUE)")
        for _ in range(2):
            with pytest.raises(sqlite3.IntegrityError):
                connection.executemany("INSERT INTO t VALUES (?)", [(1,), (1,)])
    failed = [call for call in history if call.error]
    assert [call.error for call in failed] == [
        CallError("IntegrityError", "UNIQUE constraint failed: t.a", "SQLITE_CONSTRAINT_UNIQUE")
    ] * 2
    assert history.errors().to_dict("records") == [
        {
            "error": "IntegrityError",
            "message": "UNIQUE constraint failed: t.a",
            "sqlite_errorname": "SQLITE_CONSTRAINT_UNIQUE",
            "count": 2,
        }
    ]


def test_with_connection_commits_rolls_back_and_never_closes(history):
    with closing(history.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a)")
        with connection:
            connection.execute("INSERT INTO t VALUES (1)")
        with suppress(ZeroDivisionError), connection:
            connection.execute("INSERT INTO t VALUES (2)")
            _ = 1 / 0
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert [call.operation for call in history if call.sql in ("COMMIT", "ROLLBACK")] == [
        "commit",
        "rollback",
    ]


def test_threads_and_connections_are_told_apart(history, tmp_path):
    def work():
        with closing(history.connect(tmp_path / "t.db")) as connection:
            connection.execute("SELECT 1").fetchone()

    threads = [threading.Thread(target=work, name=name) for name in ("T1", "T2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(history.threads) == ["T1", "T2"]
    pairs = {(call.thread, call.connection) for call in history}
    assert len(pairs) == 2
    assert {connection for _, connection in pairs} == {1, 2}


def test_no_call_is_missed_when_many_threads_record(history):
    def work():
        with closing(history.connect(":memory:")) as connection:
            for _ in range(500):
                connection.execute("SELECT 1")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(call.operation == "execute" for call in history) == 8 * 500


def test_failing_to_connect_is_a_call_too(history, tmp_path):
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        history.connect(tmp_path / "missing" / "t.db")
    assert history.calls[0].error.sqlite_errorname == "SQLITE_CANTOPEN"


def test_a_factory_is_refused_by_name(history):
    with pytest.raises(TypeError, match="factory="):
        history.connect(":memory:", factory=sqlite3.Connection)


def test_fetchmany_follows_arraysize_and_long_results_are_counted(history):
    with closing(history.connect(":memory:")) as connection:
        cursor = connection.execute("VALUES (1), (2), (3), (4), (5)")
        assert cursor.fetchmany() == [(1,)]
        assert cursor.fetchmany(4) == [(2,), (3,), (4,), (5,)]
    assert [shorten(c.result) for c in history if c.operation == "fetchmany"] == ["((1))", "4 rows"]


def test_the_recorded_connection_is_a_sqlite_connection_with_its_options(history):
    with closing(history.connect(":memory:", isolation_level=None)) as connection:
        assert isinstance(connection, sqlite3.Connection)
        assert isinstance(connection, RecordingConnection)
        assert connection.isolation_level is None
        connection.row_factory = sqlite3.Row
        assert connection.execute("SELECT 7 AS seven").fetchone()["seven"] == 7


def test_a_history_travels_between_processes_with_whatever_it_holds(history):
    class Local:
        pass

    history.add(Call("T1", 1, "execute", "SELECT ?", (Local(),), 0, 1, [Local()]))
    copy = pickle.loads(pickle.dumps(history))
    assert copy.table()["parameters"].tolist() == ["(<Local>)"]
    assert copy.table()["result"].tolist() == ["(<Local>)"]
    assert copy.next_connection() == 2


def test_the_table_has_one_row_a_call_and_no_missing_values(history):
    with closing(history.connect(":memory:")) as connection:
        connection.execute("SELECT 'a', ?", (None,)).fetchone()
    table = history.table()
    assert len(table) == len(history) == 4
    assert not table.isna().any().any()
    assert table["parameters"].tolist() == ["", "(NULL)", "", ""]
    assert table["result"].tolist() == ["", "", "('a', NULL)", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ((), ""),
        ("a" * 100, "'" + "a" * 58 + "…"),
        (b"abc", "3 bytes"),
        ({"a": 1, "b": None}, "a=1, b=NULL"),
        (object(), "<object>"),
        ([(1, "x")], "((1, 'x'))"),
    ],
)
def test_values_are_shown_short_and_without_addresses(value, text):
    assert shorten(value) == text


def test_error_messages_lose_their_addresses():
    message = "<method of Thing object at 0x7f00dead> returned NULL"
    assert CallError.of(SystemError(message)).message == "<method of Thing object> returned NULL"


def test_a_thread_gives_way_after_each_call_where_there_is_one_processor(monkeypatch):
    pauses = []
    monkeypatch.setattr("helpers.history.sleep", pauses.append)
    for processors in (1, 2):
        monkeypatch.setattr("helpers.history.processors", lambda count=processors: count)
        with closing(History().connect(":memory:")) as connection:
            connection.execute("CREATE TABLE t (a)")
    assert pauses == [0, 0, 0]  # connect, execute and close of the first
