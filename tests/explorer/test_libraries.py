"""The comparison with libraries for plain threads: what it runs, judges and says."""

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from benchmarks import libraries
from benchmarks.increments import Case, increment
from packaging.requirements import Requirement

from helpers.explorer.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parent.parent.parent
SCENARIO = {
    "autocommit": "read-modify-write, autocommit",
    "DEFERRED": "read-modify-write, BEGIN DEFERRED",
    "IMMEDIATE": "read-modify-write, BEGIN IMMEDIATE",
}
FINDING = {"autocommit": "loss found", "DEFERRED": "proved", "IMMEDIATE": "proved"}


@pytest.mark.parametrize("mode", libraries.MODES)
@pytest.mark.parametrize("program", libraries.PROGRAMS)
def test_the_explorer_gives_each_program_its_verdict(program, mode):
    (scenario,) = [each for each in SCENARIOS if each.name == SCENARIO[program]]
    waiting, not_waiting = libraries.rows([], [program], [mode], [5.0, 0.0], 1)
    assert waiting["ends"] == scenario.counts
    assert [row["finding"] for row in (waiting, not_waiting)] == [FINDING[program]] * 2
    # Without waiting, a thread that finds the lock taken is told so, and nothing is lost.
    assert ("error" in not_waiting["ends"]) == (program != "autocommit")


def test_the_journal_mode_is_the_one_asked_for():
    # Without waiting, a COMMIT fails beside a reader; in WAL mode it does not meet one.
    delete, wal = libraries.rows([], ["DEFERRED"], libraries.MODES, [0.0], 1)
    assert delete["ends"]["error"] > wal["ends"]["error"]


@pytest.mark.parametrize(
    ("holds", "complete", "fault", "fix"),
    [
        (None, False, "no verdict", "no verdict"),
        (False, False, "loss found", "false alarm"),
        (True, False, "not proved", "not proved"),
        (True, True, "loss missed", "proved"),
    ],
)
def test_a_verdict_is_judged_by_what_is_true_of_the_program(holds, complete, fault, fix):
    row = {"holds": holds, "complete": complete, "verdict": ""}
    found = [libraries.finding(row, program) for program in ("autocommit", "DEFERRED", "IMMEDIATE")]
    assert found == [fault, fix, fix]


def test_a_thread_that_is_told_of_a_lock_is_not_a_loss(tmp_path):
    case, limits = Case(str(tmp_path / "db"), "BEGIN IMMEDIATE", "wal", 0.25, 1.0), []

    class Interrupted(sqlite3.Connection):
        """B tries while A has the lock."""

        def execute(self, sql, *arguments):
            if sql.startswith("UPDATE"):
                limits.append(super().execute("PRAGMA busy_timeout").fetchone())
                case.attempt("B")
            return super().execute(sql, *arguments)

    case.fresh()
    case.attempt("A", factory=Interrupted)
    assert case.holds()
    assert limits == [(250,)]
    case.fresh()  # forgets who was told
    case.attempt("A")
    case.attempt("B")
    assert case.holds()
    case.fresh()
    increment(case.path, "")
    assert not case.holds()
    ends = (tmp_path / "db.ends").read_text().splitlines()
    assert [libraries.kind(line) for line in ends] == ["error", "right", "wrong"]


@pytest.fixture
def row_of(monkeypatch):
    """The row of a library of which two schedules ended, and whose child process runs `code`."""

    def row_of(code, seconds=60.0):
        def command_of(library, path, *arguments):
            Path(path + ".ends").write_text("2 2\n1 1\n", encoding="utf-8")
            return [sys.executable, "-c", code]

        monkeypatch.setattr(libraries, "version", lambda library: "1.0")
        monkeypatch.setattr(libraries, "GRACE", 0)
        monkeypatch.setattr(libraries, "command_of", command_of)
        row = libraries.by_library("ploom", "IMMEDIATE", "wal", 0.0, seconds)
        assert row["ends"] == {"right": 1, "error": 1}
        return row

    return row_of


def test_a_verdict_comes_from_the_last_line(row_of):
    said = {"holds": True, "complete": True, "schedules": 7, "verdict": "ok", "seconds": 0.25}
    assert said.items() <= row_of(f"print('noise'); print({json.dumps(said)!r})").items()


def test_a_library_that_fails_has_no_verdict_and_says_why(row_of):
    row = row_of("print('{}'); raise OSError('no threads left')")
    assert (row["holds"], row["verdict"], row["schedules"]) == (None, "OSError: no threads left", 2)


def test_a_library_that_does_not_end_is_ended(row_of):
    row = row_of("import threading; threading.Event().wait()", seconds=1.0)
    assert (row["holds"], row["verdict"]) == (None, "still running at the time limit")
    assert row["schedules"] == 2


def test_the_command_says_what_is_not_installed(tmp_path):
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "libraries.py"), "--json"]
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as metadata\n"
        "def version(name):\n    raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    options = ["--program", "IMMEDIATE", "--mode", "wal", "--timeout", "5"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([*command, *options], capture_output=True, env=environment, timeout=60)
    explorer, *others = json.loads(done.stdout)["rows"]
    assert explorer["finding"] == "proved"
    assert [row["library"] for row in others] == list(libraries.PACKAGES)
    assert {row["finding"] for row in others} == {"not installed"}


def test_no_reader_installs_what_the_explorer_is_compared_with():
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    group = [Requirement(line) for line in whole["dependency-groups"]["comparison"]]
    assert {package.name for package in group} == set(libraries.PACKAGES.values())
    for package in group:
        assert {clause.operator for clause in package.specifier} == {">=", "<"}
    assert "comparison" not in whole["tool"]["uv"]["default-groups"]
    extras = whole["project"]["optional-dependencies"].values()
    installed = whole["project"]["dependencies"] + [line for extra in extras for line in extra]
    names = {Requirement(line).name for line in installed}
    assert names.isdisjoint(package.name for package in group)
