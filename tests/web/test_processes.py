"""Several server processes: they start, share nothing but the file, and end."""

import contextlib
import itertools
import time

import flask
import httpx
import psutil
import pytest

from helpers import databases
from helpers.web import clients, processes, servers
from helpers.web import load as webload


def shop(increment):
    """An application whose `POST /increment` answers what `increment` returns."""

    @contextlib.contextmanager
    def application(path):
        app = flask.Flask("shop")
        app.post("/increment", endpoint="increment")(lambda: flask.jsonify(increment(path)))
        yield app

    return application


def add_one(path):
    import sqlite3

    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        sql = "UPDATE counter SET value = value + 1 RETURNING value"
        return connection.execute(sql).fetchall()[0][0]


def test_two_processes_share_the_file_and_nothing_else():
    requests = [("POST", "/increment")] * 3
    result = webload.run_processes(shop(add_one), requests=requests, clients=4)
    assert result.ok
    assert result.audit.stored == 12


def test_each_process_has_a_memory_of_its_own():
    numbers = itertools.count(1)
    requests = [("POST", "/increment")] * 3
    result = webload.run_processes(shop(lambda path: next(numbers)), requests=requests, clients=2)
    assert sorted(answer.value for answer in result.report.answers) == [1, 1, 2, 2, 3, 3]


def test_processes_end_after_an_error_and_leave_no_port():
    children = psutil.Process().children()
    seen = []

    def use():
        with (
            databases.fresh("counter") as database,
            processes.serve(shop(add_one), str(database.path), count=2) as urls,
        ):
            seen.extend(urls)
            assert len(psutil.Process().children()) == len(children) + 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert psutil.Process().children() == children
    for url in seen:
        with pytest.raises(httpx.TransportError):
            httpx.get(url, trust_env=False)


def test_a_process_that_does_not_start():
    @contextlib.contextmanager
    def application(path):
        raise RuntimeError("no table here")
        yield

    with (
        pytest.raises(servers.ServerError, match="did not start: RuntimeError: no table here"),
        processes.serve(application, "nowhere.db", count=1),
    ):
        pass


def test_a_process_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr("helpers.web.processes.TIMEOUT", 0.2)
    before = psutil.Process().children()

    @contextlib.contextmanager
    def application(path):
        yield flask.Flask("shop")
        time.sleep(60)

    with (
        pytest.raises(servers.ServerError, match="did not stop and was killed"),
        processes.serve(application, "nowhere.db", count=1) as urls,
    ):
        assert clients.run(urls, [("GET", "/")], clients=1).statuses() == {404: 1}
    assert psutil.Process().children() == before


def test_no_processes():
    with (
        pytest.raises(ValueError, match="count must be at least 1, not 0"),
        processes.serve(shop(add_one), "nowhere.db", count=0),
    ):
        pass
