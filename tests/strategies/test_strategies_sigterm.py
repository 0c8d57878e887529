"""A server is stopped by SIGTERM while its threads, and daemon threads beside them, are at work."""

import contextlib
import http.client
import itertools
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import protocol
import pytest

pytest.importorskip("waitress")
pytest.importorskip("cherrypy")

#: Seconds from the signal to the end: both servers wait 5 s for busy threads, those for a lock.
LIMIT = 15.0

#: Requests and two daemon threads write and read; each row that was acknowledged is one line.
PROGRAM = """
import itertools, os, signal, sys, threading
import cherrypy, waitress
from helpers import strategies

path, name, server = sys.argv[1:]
strategy = getattr(strategies, name)(path)

def write(number):
    strategy.write(lambda c: c.execute("INSERT INTO item VALUES (?, 'x')", [number]) and None)
    os.write(1, b"%d\\n" % number)

def read():
    strategy.read(lambda c: c.execute("SELECT * FROM item ORDER BY text").fetchall())

def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        write(int(environ["QUERY_STRING"]))
    else:
        read()
    start_response("200 OK", [("Content-Length", "0")])
    return []

def start(port):
    os.write(1, b"%d\\n" % port)
    numbers = itertools.count(10**9)
    for job in (lambda: write(next(numbers)), read):
        threading.Thread(target=lambda job=job: [job() for _ in iter(int, 1)], daemon=True).start()

if server == "waitress":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    served = waitress.create_server(application, host="127.0.0.1", port=0, threads=4)
    start(int(served.effective_port))
    served.run()
else:
    settings = {"server.socket_port": 0, "server.thread_pool": 4, "log.screen": False}
    cherrypy.config.update(settings | {"engine.autoreload.on": False, "checker.on": False})
    cherrypy.tree.graft(application, "/")
    cherrypy.engine.signals.subscribe()
    cherrypy.engine.start()
    start(cherrypy.server.bound_addr[1])
    cherrypy.engine.block()
"""


def visit(port, worker, told):
    """Send writes and reads in turn until the server is gone; note what was acknowledged."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        for number in itertools.count(worker * 10**6):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)) as visitor:
                visitor.request("POST", f"/?{number}")
                if visitor.getresponse().status == 200:
                    told.add(number)
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)) as visitor:
                visitor.request("GET", "/")
                visitor.getresponse()


def stop_and_look(name, server, path, seconds, mode):
    """How the server ended, after how long, and what was told and the file does not hold."""
    protocol.create(path, mode)
    command = [sys.executable, "-c", PROGRAM, path, name, server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        port, told = int(child.stdout.readline()), set()
        visitors = [threading.Thread(target=visit, args=(port, n, told)) for n in range(1, 5)]
        for visitor in visitors:
            visitor.start()
        time.sleep(seconds)
        child.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        try:
            lines, errors = child.communicate(timeout=protocol.TIMEOUT)
        finally:
            child.kill()
        took = time.monotonic() - sent
        for visitor in visitors:
            visitor.join()
    assert told, "nobody was answered"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = {number for (number,) in connection.execute("SELECT id FROM item")}
    return (
        child.returncode,
        errors.decode(),
        (told | {int(n) for n in lines.split()}) - stored,
        took,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("server", ["waitress", "CherryPy"])
@pytest.mark.parametrize("name", ["TransactionLock", "PerThread", "Pool", "Writer"])
def test_a_server_that_is_told_to_stop_loses_nothing(name, server, tmp_path):
    chance = random.Random(name)
    for number, mode in enumerate(("wal", "delete")):
        path, seconds = str(tmp_path / f"{number}.db"), chance.uniform(0.4, 0.7)
        status, errors, lost, took = stop_and_look(name, server, path, seconds, mode)
        assert (status, lost) == (0, set()), errors
        assert "Fatal Python error" not in errors
        assert took < LIMIT
