"""Do the repaired applications of notebooks 12 to 14 keep every promise, again and again?

    python tests/benchmarks/servers.py [--runs 20] [--requests 2000] [--only WORDS]

takes the complete applications and those of the notebooks' cells, serves each to sixteen
clients `--runs` times with `--requests` requests a run, and prints one JSON object per
application: sales acknowledged, lost and stored without acknowledgement, stale pages, errors,
requests a second (median), the longest wait and the longest stop of a server, in seconds. The
status is 1 if a promise was broken.
"""

import argparse
import functools
import json
import platform
import sqlite3
import statistics
import sys
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import notebook_code  # noqa: E402

from helpers.web import load as webload  # noqa: E402
from helpers.web import servers  # noqa: E402

CLIENTS = 16


#: The complete applications, each by its own command.
COMMANDS = {
    "flask_app.py, two processes": (
        "waitress-serve --listen=127.0.0.1:{port} --call flask_app:create_app"
    ),
    "fastapi_app.py, two processes": "uvicorn fastapi_app:app --port {port}",
    "cherrypy_app.py, two processes": "python cherrypy_app.py",
}


def applications():
    """Name -> what runs it: one of the functions of `webload` with application and server."""
    flask = notebook_code.definitions(ROOT / "notebooks" / "12_flask.ipynb")
    fastapi = notebook_code.definitions(ROOT / "notebooks" / "13_fastapi.ipynb")
    cherrypy = notebook_code.definitions(ROOT / "notebooks" / "14_cherrypy.ipynb")
    run, partial = webload.run, functools.partial
    at_once, folder = cherrypy["at_once"], ROOT / "notebooks" / "applications"
    complete = {
        name: partial(webload.run_command, command, folder=folder)
        for name, command in COMMANDS.items()
    }
    return complete | {
        "Flask, connection in g, IMMEDIATE": partial(
            run, lambda path: nullcontext(flask["plain_shop"](path, "BEGIN IMMEDIATE"))
        ),
        "FastAPI, connection per request, IMMEDIATE": partial(
            run,
            partial(
                fastapi["connection_per_request"],
                sell=fastapi["at_once"](fastapi["sell"]),
                check_same_thread=False,
            ),
            servers.asgi,
        ),
        "CherryPy, connection per thread, IMMEDIATE": partial(
            run, partial(cherrypy["connection_per_thread"], around=at_once), servers.cherrypy
        ),
        "CherryPy, writer on the bus": partial(
            run, cherrypy["writer_on_the_bus"], servers.cherrypy
        ),
        "CherryPy behind waitress, two processes, IMMEDIATE": partial(
            webload.run_processes, partial(cherrypy["wsgi_shop"], protection=lambda: at_once)
        ),
    }


def measure(name, run, runs, requests):
    """The JSON object of one application."""
    rounds = -(-requests // (CLIENTS * len(webload.ROUND)))
    results = [run(requests=webload.ROUND * rounds, clients=CLIENTS) for _ in range(runs)]
    reports = [result.report for result in results]
    return {
        "application": name,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "runs": runs,
        "requests": sum(len(report.answers) for report in reports),
        "acknowledged": sum(result.audit.acknowledged for result in results),
        "lost": sum(result.audit.lost for result in results),
        "unacknowledged": sum(result.audit.unacknowledged for result in results),
        "stale": sum(report.stale_reads for report in reports),
        "errors": sum(len(report.failed) for report in reports)
        + sum(len(result.errors) for result in results),
        "per_second": round(statistics.median(report.per_second for report in reports)),
        "longest_wait": round(max(report.longest_wait for report in reports), 3),
        "longest_stop": round(max(result.stopping for result in results), 3),
        "kept": all(result.ok for result in results),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=2000, help="in each run, at least")
    parser.add_argument("--only", default="", help="applications with these words in their name")
    arguments = parser.parse_args()
    kept = True
    for name, run in applications().items():
        if arguments.only in name:
            found = measure(name, run, arguments.runs, arguments.requests)
            kept = kept and found["kept"]
            print(json.dumps(found), flush=True)
    sys.exit(not kept)
