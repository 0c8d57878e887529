"""An application under load: its audit, its errors, and nothing left behind."""

import contextlib
import itertools
import sqlite3
import threading
from pathlib import Path

import flask
import notebook_code
import pytest

from helpers.load import sandbox
from helpers.web import load as webload
from helpers.web import servers
from helpers.web.clients import Report

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
REQUESTS = [("POST", "/increment"), ("GET", "/")]


def shop(increment, read=None):
    """An application that answers with what the two functions return."""

    @contextlib.contextmanager
    def application(path):
        app = flask.Flask("shop")
        app.config["PROPAGATE_EXCEPTIONS"] = True
        app.post("/increment", endpoint="increment")(lambda: flask.jsonify(increment(path)))
        app.get("/", endpoint="page")(lambda: flask.jsonify((read or value)(path)))
        yield app

    return application


def value(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT value FROM counter").fetchone()[0]


def increment(path):
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        sql = "UPDATE counter SET value = value + 1 RETURNING value"
        return connection.execute(sql).fetchall()[0][0]


def test_an_application_that_keeps_its_promises():
    result = webload.run(shop(increment), requests=REQUESTS * 3, clients=4)
    assert result.ok
    assert (result.audit.acknowledged, result.audit.stored) == (12, 12)
    assert len(result.report.answers) == 24
    assert result.stopping < 2


def test_an_application_that_stores_nothing():
    numbers = itertools.count(1)
    forgetful = shop(lambda path: next(numbers))
    result = webload.run(forgetful, requests=REQUESTS, clients=4)
    assert result.audit.lost == 4
    assert not result.ok


def test_a_stale_page_is_not_well():
    result = webload.run(shop(increment, lambda path: 0), requests=REQUESTS, clients=4)
    assert (result.audit.lost, result.report.stale_reads) == (0, 4)
    assert not result.ok


def test_an_error_while_it_is_closed_is_noted():
    @contextlib.contextmanager
    def application(path):
        with shop(increment)(path) as app:
            yield app
        raise sqlite3.ProgrammingError("another thread's connection")

    result = webload.run(application, requests=REQUESTS, clients=2)
    assert [error.kind for error in result.errors] == ["ProgrammingError"]
    assert (result.audit.stored, result.ok) == (2, False)


def test_errors_are_counted():
    def refuse(path):
        raise sqlite3.OperationalError("database is locked")

    result = webload.run(shop(refuse), requests=REQUESTS, clients=3)
    assert [error.kind for error in result.errors] == ["OperationalError"] * 3
    assert not result.ok
    (row,) = webload.table({"refuses": result}).itertuples()
    assert row[:6] == ("refuses", "to the end", 0, 0, 0, 3)


def test_in_a_child_process():
    result = webload.run_sandboxed(shop(increment), requests=REQUESTS, clients=2)
    assert result.get().ok
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith(("waitress", "C1"))] == []


def test_a_process_that_crashed_has_a_row():
    crashed = sandbox.SandboxResult("crashed", signal="SIGSEGV")
    well = webload.run(shop(increment), requests=REQUESTS, clients=2)
    table = webload.table({"one": crashed, "two": well})
    assert list(table.columns) == webload.TABLE_COLUMNS
    assert table.loc["one"].to_list() == ["crashed"] + [""] * 6
    assert table.loc["two", "lost"] == 0


def test_the_application_is_closed_after_an_error():
    closed = []

    @contextlib.contextmanager
    def application(path):
        try:
            yield flask.Flask("shop")
        finally:
            closed.append(path)

    with pytest.raises(ValueError, match="clients must be"):
        webload.run(application, clients=0)
    assert len(closed) == 1


def test_a_report_without_answers():
    report = Report((), 1, 0.0)
    assert (report.per_second, report.longest_wait, report.stale_reads) == (0.0, 0.0, 0)


def test_an_application_in_a_file_is_started_by_its_command():
    command = "flask --app flask_app run --port {port}"
    folder = NOTEBOOKS / "applications"
    result = webload.run_command(command, folder=folder, requests=REQUESTS, clients=4)
    assert result.ok
    assert (result.audit.acknowledged, result.audit.stored) == (4, 4)


def test_the_plain_shop_of_notebook_12_can_be_taken_from_its_cells():
    shop = notebook_code.definitions(NOTEBOOKS / "12_flask.ipynb")["plain_shop"]

    def application(path):
        return contextlib.nullcontext(shop(path, "BEGIN IMMEDIATE"))

    assert webload.run(application, requests=REQUESTS, clients=4).ok


def test_the_applications_of_notebook_14_can_be_taken_from_its_cells():
    names = notebook_code.definitions(NOTEBOOKS / "14_cherrypy.ipynb")
    assert webload.run(names["writer_on_the_bus"], servers.cherrypy, clients=4).ok


def test_an_answer_before_the_commit_is_too_early():
    names = notebook_code.definitions(NOTEBOOKS / "solutions" / "13_fastapi.ipynb")
    assert webload.answered_too_early(names["late"], servers.asgi)
    assert not webload.answered_too_early(names["right"], servers.asgi, patience=0.5)
