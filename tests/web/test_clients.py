"""Clients: every answer is kept, every error counted, and the audit asks what was promised."""

import threading

import flask
import pytest

from helpers import databases, workloads
from helpers.web import clients, servers
from helpers.web.clients import Answer, Report


@pytest.fixture(scope="module")
def server():
    app = flask.Flask("app")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    lock, values = threading.Lock(), [0]

    @app.post("/increment")
    def increment():
        with lock:
            values[0] += 1
            return flask.jsonify(values[0])

    @app.get("/")
    def page():
        return flask.jsonify(values[0])

    @app.get("/bad")
    def bad():
        raise LookupError("nothing there")

    with servers.wsgi(app) as server:
        yield server


def test_every_client_sends_every_request_in_order(server):
    requests = [("POST", "/increment"), ("GET", "/")] * 3
    report = clients.run(server.url, requests, clients=4)
    assert len(report.answers) == 24
    assert report.statuses() == {200: 24}
    for client in range(4):
        own = [answer for answer in report.answers if answer.client == client]
        assert [answer.number for answer in own] == list(range(6))
        assert [answer.request for answer in own] == requests
        assert [answer.began for answer in own] == sorted(answer.began for answer in own)
    assert report.failed == []
    assert report.stale_reads == 0
    assert report.per_second == pytest.approx(24 / report.seconds)
    assert 0 < report.longest_wait < report.seconds
    assert list(report.per_client()["requests"]) == [6] * 4


def test_a_server_error_is_counted_by_class(server):
    report = clients.run(server.url, [("GET", "/bad"), ("GET", "/")], clients=2)
    assert report.statuses() == {200: 2, 500: 2}
    (row,) = report.errors().itertuples(index=False)
    assert tuple(row) == (500, "LookupError", "nothing there", 2)
    assert list(report.per_client()["errors"]) == [1, 1]


def test_an_answer_that_is_no_success_is_not_acknowledged(server):
    report = clients.run(server.url, [("POST", "/"), ("POST", "/increment")], clients=1)
    assert report.statuses() == {200: 1, 405: 1}
    assert [done.number for done in report.acknowledged()] == [1]
    assert report.acknowledged("PUT") == []


def test_no_answer_is_an_error_of_the_client():
    with servers.wsgi(flask.Flask("app")) as server:
        pass
    report = clients.run(server.url, [("GET", "/")] * 2, clients=2)
    assert report.statuses() == {0: 4}
    assert set(report.errors()["error"]) == {"ConnectError"}
    assert report.acknowledged("GET") == []


def test_an_answer_that_comes_too_late_is_an_error():
    slow, ended = threading.Event(), threading.Event()
    app = flask.Flask("app")

    @app.get("/")
    def page():
        slow.wait(10)
        ended.set()
        return "late"

    with servers.wsgi(app) as server:
        report = clients.run(server.url, [("GET", "/")], clients=1, timeout=0.2)
        slow.set()
        assert ended.wait(5)
    assert list(report.errors()["error"]) == ["ReadTimeout"]


def test_proxies_of_the_environment_are_not_asked(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert clients.run(server.url, [("GET", "/")], clients=1).failed == []


def answer(client, method, value, number=0, status=200):
    return Answer(client, number, (method, "/"), status, "", "", value, 0.0, 0.1)


def test_a_page_older_than_what_its_reader_was_told_is_stale():
    told = answer(0, "POST", 5)
    assert Report((told, answer(0, "GET", 4)), 1, 1.0).stale_reads == 1
    assert Report((told, answer(0, "GET", 5)), 1, 1.0).stale_reads == 0
    assert Report((told, answer(1, "GET", 4)), 2, 1.0).stale_reads == 0
    assert Report((told, answer(0, "GET", 4, status=500)), 1, 1.0).stale_reads == 0
    assert Report((answer(0, "GET", 6), answer(0, "GET", 5)), 1, 1.0).stale_reads == 1


def test_acknowledged_requests_go_to_the_audit():
    report = Report(tuple(answer(0, "POST", n + 1, n) for n in range(3)), 1, 1.0)
    with databases.fresh("counter") as database:
        audit = workloads.Increment(3).audit(database, report.acknowledged())
    assert (audit.acknowledged, audit.lost) == (3, 3)


def test_an_unexpected_failure_of_a_client_is_raised(server, monkeypatch):
    def fail(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr(clients, "_json", fail)
    with pytest.raises(MemoryError, match="no room"):
        clients.run(server.url, [("GET", "/")], clients=2)
    assert [thread.name for thread in threading.enumerate() if thread.name in ("C1", "C2")] == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clients": 0}, ValueError, "clients must be at least 1, not 0"),
        ({"clients": 1.5}, TypeError, "clients must be a whole number"),
        ({"url": []}, ValueError, "url must be one URL, or a list"),
        ({"requests": []}, ValueError, "requests must hold at least one request"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0, not 0"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        clients.run(**{"url": "http://127.0.0.1:9", "requests": [("GET", "/")], **change})
