"""Short versions of the benchmarks: kill -9, and acknowledged against stored under load."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import correctness, killing
from benchmarks import faults as table

from helpers import databases
from helpers.workloads import Acknowledged, Transfer

ROOT = Path(__file__).resolve().parent.parent.parent
both_modes = pytest.mark.parametrize("journal_mode", ["delete", "wal"])


# Without WAL each commit waits for the disk several times.
@pytest.mark.parametrize("journal_mode", [pytest.param("delete", marks=pytest.mark.slow), "wal"])
@pytest.mark.parametrize("strategy", killing.STRATEGIES)
def test_what_was_acknowledged_survives_kill_9(strategy, journal_mode):
    row = killing.measure(strategy, journal_mode, runs=3, seed=2)
    assert row["kept"], row
    assert row["acknowledged"] >= 3


def test_the_killed_child_ends_by_the_signal_and_nothing_else():
    with databases.fresh("accounts", "wal") as database:
        told = killing.killed(database.path, "TransactionLock", 5)
        assert len(told) >= 5
        assert Transfer().audit(database, told).lost == 0


def test_a_child_that_ends_by_itself_is_an_error():
    with (
        databases.Database() as empty,
        pytest.raises(RuntimeError, match="Pool ended by itself after 0 units"),
    ):
        killing.killed(empty.path, "Pool", 5)


def test_the_audit_after_a_kill_sees_what_is_lost_and_what_is_half():
    with databases.fresh("accounts") as database:
        assert Transfer().audit(database, [Acknowledged(0, 0)]).lost == 1
        with database.connect() as connection:
            connection.execute("UPDATE account SET balance = 1 WHERE id = 1")
        connection.close()
        assert Transfer().audit(database, []).damaged == 1


@both_modes
@pytest.mark.parametrize("name", correctness.strategies("OFF"))
def test_acknowledged_is_stored(name, journal_mode):
    row = correctness.measure(name, correctness.strategies("OFF")[name], journal_mode, 1, 640)
    assert row["kept"], row
    # 16 x 20 increments, and 16 x 20 transfers of which every tenth gives up.
    assert row["acknowledged"] == row["stored"] == 320 + 288


def test_the_measure_sees_what_is_lost():
    class Forgetful(correctness.TransactionLock):
        """Acknowledges every unit, and stores two of three."""

        def write(self, unit_of_work, /):
            self.count = getattr(self, "count", 0) + 1
            return super().write(unit_of_work) if self.count % 3 else 1

    row = correctness.measure("forgetful", lambda path, _: Forgetful(path), "wal", 1, 64)
    assert not row["kept"]
    assert row["acknowledged"] > row["stored"]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["killing", "correctness"])
def test_one_command_writes_json(program):
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / f"{program}.py"), "--runs", "1"]
    if program == "correctness":
        command += ["--units", "320"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, check=True, env=environment, timeout=300)
    results = json.loads(done.stdout)["results"]
    assert len(results) == 10
    assert all(row["kept"] for row in results)


def faults(*options):
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "faults.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.stderr == ""
    rows = json.loads(done.stdout)
    assert not done.returncode, [row for row in rows if any(row[count] for count in COUNTS)]
    return rows


COUNTS = ("lost", "half", "told wrongly", "unanswered")


@pytest.mark.parametrize("name", ["TransactionLock", "PerThread", "Pool", "Writer"])
def test_a_fault_harms_its_own_unit_only(name):
    options = [f"--fault={fault}" for fault in ("disk full", "Ctrl-C", "kill -9", "OR ROLLBACK")]
    rows = {row["fault"]: row for row in faults(f"--strategy={name}", *options)}
    assert all(row["acknowledged"] for row in rows.values())
    assert rows["disk full"]["acknowledged"] < rows["disk full"]["units"]


@pytest.mark.slow
def test_the_whole_table_of_faults_is_zero():
    assert len(faults()) == 16 * 4


def test_the_recorded_table_has_every_strategy_and_fault():
    with open(databases.DATA / "faults.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    recorded = {(row["strategy"], row["fault"]) for row in rows}
    assert recorded == {(name, fault) for name in table.STRATEGIES for fault in table.FAULTS}
    assert len(rows) == len(recorded)
    assert {row[count] for row in rows for count in COUNTS} == {"0"}
    assert sum(int(row["acknowledged"]) for row in rows) > 1000


PROGRAMS = [
    path
    for path in sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
    if "argparse" in path.read_text()
]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_benchmark_says_how_it_is_called(program):
    command = [sys.executable, str(program), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.startswith(f"usage: {program.name}"), done.stderr
