"""Short versions of the benchmarks: kill -9, and acknowledged against stored under load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import correctness, killing

from helpers import databases
from helpers.workloads import Acknowledged, Transfer

ROOT = Path(__file__).resolve().parent.parent
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
