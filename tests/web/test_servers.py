"""Servers: they answer, note what goes wrong, and leave no thread, port, process or file."""

import asyncio
import contextlib
import gc
import socket
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import flask
import httpx
import psutil
import pytest

from helpers.web import servers
from helpers.web.server import described


class Gate:
    """Holds the requests that pass it until it is opened."""

    def __init__(self):
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.open.wait(10)
        return "answered"


def flask_app(gate):
    app = flask.Flask("app")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.add_url_rule("/", "hello", lambda: threading.current_thread().name)
    app.add_url_rule("/bad", "bad", bad)
    app.add_url_rule("/gate", "gate", gate)
    return app


def bad():
    raise ValueError("it says why\nat length")


def fastapi_app(gate):
    from fastapi import Depends, FastAPI

    def late():
        yield
        raise KeyError("late")

    app = FastAPI()
    app.get("/")(lambda: threading.current_thread().name)
    app.get("/bad")(bad)
    app.get("/gate")(lambda: gate())
    app.get("/late", dependencies=[Depends(late)])(lambda: "sent")
    return app


def cherrypy_root(gate):
    import cherrypy

    class Root:
        @cherrypy.expose
        def index(self):
            return threading.current_thread().name

        @cherrypy.expose
        def bad(self):
            bad()

        @cherrypy.expose
        def gate(self):
            return gate()

    return Root()


KINDS = {
    "waitress": (servers.wsgi, flask_app, "waitress-"),
    "uvicorn": (servers.asgi, fastapi_app, "AnyIO worker thread"),
    "cherrypy": (servers.cherrypy, cherrypy_root, "CP Server Thread-"),
}


def ours():
    """What this process has: threads, listening ports, child processes, files of the course."""
    process = psutil.Process()
    listening = [c.laddr.port for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    files = [path.name for path in Path(tempfile.gettempdir()).iterdir()]
    threads = {thread.ident for thread in threading.enumerate()}
    return threads, sorted(listening), process.children(recursive=True), sorted(files)


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    serve, make, prefix = KINDS[request.param]
    gate = Gate()
    before = ours()
    yield lambda **options: serve(make(gate), **options), gate, prefix
    gate.open.set()
    gc.collect()
    assert ours() == before


def get(server, path="/"):
    return httpx.get(server.url + path, trust_env=False, timeout=10)


def test_answers_in_threads_of_its_own(kind):
    serve, _, prefix = kind
    with serve() as server:
        answer = get(server)
    assert answer.status_code == 200
    assert prefix in answer.text
    assert server.errors == []


def test_an_exception_is_noted_and_answered_with_its_class(kind):
    serve, _, _ = kind
    with serve() as server:
        answer = get(server, "/bad")
    assert answer.status_code == 500
    assert answer.json() == {"error": "ValueError", "message": "it says why"}
    assert [error[:2] for error in server.errors] == [("ValueError", "it says why")]


def test_what_an_application_answers_itself_is_no_exception(kind):
    serve, _, _ = kind
    with serve() as server:
        assert get(server, "/nothing").status_code == 404
    assert server.errors == []


def test_stops_within_two_seconds_with_connections_open(kind):
    serve, _, _ = kind
    server = serve()
    with httpx.Client(base_url=server.url, trust_env=False) as browser:
        browser.get("/")
        began = time.perf_counter()
        server.stop()
        assert time.perf_counter() - began < 2
        with pytest.raises(httpx.TransportError):
            browser.get("/")
    server.stop()  # nothing happens


def test_stops_after_an_error_in_the_block(kind):
    serve, _, _ = kind
    with pytest.raises(ZeroDivisionError), serve() as server:
        _ = get(server).status_code / 0
    with pytest.raises(httpx.TransportError):
        get(server)


def test_stops_after_an_interrupt(kind):
    serve, _, _ = kind

    def interrupted():
        with serve() as server:
            get(server)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_what_was_accepted_is_answered_before_the_end(kind):
    serve, gate, _ = kind
    answers = []
    with serve(threads=1) as server:
        clients = [
            threading.Thread(target=lambda: answers.append(get(server, "/gate").text), name=name)
            for name in ("C1", "C2")
        ]
        clients[0].start()
        assert gate.reached.wait(5)
        clients[1].start()
        _wait_for_connections(server, 2)
        opener = threading.Timer(0.2, gate.open.set)
        opener.start()
    for thread in (*clients, opener):
        thread.join()
    assert answers == ["answered"] * 2 or answers == ['"answered"'] * 2


def _wait_for_connections(server, count):
    """Until so many clients are connected, and what they sent has had time to be read."""
    port = httpx.URL(server.url).port
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        connections = psutil.Process().net_connections()
        accepted = [c for c in connections if c.laddr.port == port and c.raddr]
        if len(accepted) >= count:
            break
        time.sleep(0.01)
    time.sleep(0.1)


def test_a_request_that_does_not_end_is_reported(kind, monkeypatch):
    serve, gate, _ = kind
    server = serve()

    def ask():
        with contextlib.suppress(httpx.TransportError):
            get(server, "/gate")

    client = threading.Thread(target=ask, name="C1")
    client.start()
    assert gate.reached.wait(5)
    with monkeypatch.context() as impatient:
        impatient.setattr("helpers.web.server.TIMEOUT", 0.5)
        with pytest.raises(servers.ServerError, match=r"still at work after 0\.5 s"):
            server.stop()
    opener = threading.Timer(0.1, gate.open.set)
    opener.start()
    server.stop()  # waits for the request that is still at work
    assert gate.open.is_set()
    client.join()
    opener.join()


def test_stop_again_only_waits_once_more(kind, monkeypatch):
    serve, _, _ = kind
    server = serve()
    with monkeypatch.context() as impatient:
        impatient.setattr("helpers.web.server.join", lambda threads, deadline: ["the last one"])
        with pytest.raises(servers.ServerError, match="the last one are still at work"):
            server.stop()
    for thread in server._threads():
        thread.join(5)
    server.stop()


def test_a_loop_that_is_awake_already_does_not_close_its_pipe_too_early(monkeypatch):
    server = servers.wsgi(lambda environ, start_response: [])
    trigger, closed = server._server.trigger, threading.Event()
    pull, close = trigger._physical_pull, trigger.close

    def slowly():
        pull()  # as a worker does that ends its request
        closed.wait(0.1)
        pull()

    monkeypatch.setattr(trigger, "_physical_pull", slowly)
    monkeypatch.setattr(trigger, "close", lambda: (close(), closed.set()))
    server.stop()
    assert closed.is_set()


def test_a_port_that_is_taken(kind):
    serve, _, _ = kind
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(servers.ServerError, match=f"port {port} is taken"):
            serve(port=port)
    with serve(port=port) as server:
        assert server.url.endswith(f":{port}")
        assert get(server).status_code == 200


def test_one_after_the_other_on_one_port(kind):
    serve, _, _ = kind
    with serve() as first:
        get(first)
    with serve(port=httpx.URL(first.url).port) as second:
        assert get(second).status_code == 200


def test_no_threads(kind):
    serve, _, _ = kind
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        serve(threads=0)


def test_cherrypy_serves_once_at_a_time():
    with servers.cherrypy(cherrypy_root(Gate())) as server:
        with pytest.raises(servers.ServerError, match="already serving"):
            servers.cherrypy(cherrypy_root(Gate()))
        assert get(server).status_code == 200


def test_an_error_after_the_answer_is_noted_and_the_answer_stands():
    with servers.asgi(fastapi_app(Gate())) as server:
        assert get(server, "/late").json() == "sent"
    assert [error.kind for error in server.errors] == ["KeyError"]


def test_an_application_that_fails_as_it_starts():
    async def app(scope, receive, send):
        raise RuntimeError("no database")

    with pytest.raises(servers.ServerError, match="as it started: RuntimeError: no database"):
        servers.asgi(app)


def test_the_pool_of_an_asgi_server_has_the_size_asked_for():
    async def app(scope, receive, send):
        from anyio.to_thread import current_default_thread_limiter

        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        size = str(int(current_default_thread_limiter().total_tokens)).encode()
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": size})

    with servers.asgi(app, threads=3) as server:
        assert get(server).text == "3"


def test_messages_are_the_same_in_every_run():
    error = RuntimeError(
        "created in thread id 140659514685120 (Background on this error at: https://x/e/21/abcd)\n[SQL]"
    )
    assert described(error)[:2] == ("RuntimeError", "created in thread id ...")


def test_a_listener_of_cherrypy_that_fails_at_the_end_is_noted():
    import cherrypy

    def fail():
        raise RuntimeError("another thread's connection")

    cherrypy.engine.subscribe("stop", fail)
    try:
        with servers.cherrypy(cherrypy_root(Gate())) as server:
            get(server)
    finally:
        cherrypy.engine.unsubscribe("stop", fail)
    (error,) = server.errors
    assert error.kind == "ChannelFailures"
    assert "another thread's connection" in error.message
