"""Kill -9 in the middle: is every acknowledged unit in the file, and no half one?

    python tests/benchmarks/killing.py [--runs N] [--seed S] > killing.json

A child process transfers money in 8 threads. After each COMMIT the thread writes one line to a
pipe, and nothing else does. After so many lines, drawn at random, the child is killed. Then the
database is opened again, as after a crash: the ledger is compared with the lines, and the
balances with the ledger.
"""

import argparse
import functools
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from helpers import databases
from helpers.strategies import PerThread, Pool, Retry, Settings, TransactionLock, Writer
from helpers.workloads import Acknowledged, Transfer

THREADS = 8
#: The child is killed after 1 to so many acknowledgements.
LONGEST = 300
PATIENT = Settings(busy_timeout=120)

STRATEGIES = {
    "TransactionLock": functools.partial(TransactionLock, timeout=120),
    "PerThread": functools.partial(PerThread, connect=PATIENT.open),
    "PerThread, DEFERRED and Retry": functools.partial(
        PerThread, connect=PATIENT.open, begin="DEFERRED", retry=Retry(seconds=120)
    ),
    "Pool": functools.partial(Pool, connect=PATIENT.open, timeout=120),
    "Writer": functools.partial(Writer, timeout=120),
}


def child(path, strategy):
    """Transfer forever; each acknowledgement is one line, written in one piece."""
    workload, chosen = Transfer(), STRATEGIES[strategy](path)

    def work(worker):
        for number in range(10**9):
            chosen.write(workload.unit(worker, number))
            os.write(1, f"{worker} {number}\n".encode())

    for worker in range(THREADS):
        threading.Thread(target=work, args=[worker]).start()


def run(strategy, journal_mode, stop_after):
    """One child, killed after `stop_after` acknowledgements; what the file holds afterwards."""
    with databases.fresh(Transfer.sample, journal_mode) as database:
        told = killed(database.path, strategy, stop_after)
        left = {path.name.removeprefix(database.path.name) for path in database.folder.iterdir()}
        # The first connection after a crash rolls back, or recovers the WAL.
        with closing(sqlite3.connect(database)) as connection:
            ((check,),) = connection.execute("PRAGMA integrity_check").fetchall()
        audit = Transfer().audit(database, told)
        return {
            "acknowledged": audit.acknowledged,
            "lost": audit.lost,
            "half": audit.damaged,
            "stored_unacknowledged": audit.unacknowledged,
            "integrity_broken": int(check != "ok"),
            "journal_left": int(bool(left & {"-journal", "-wal"})),
        }


def killed(path, strategy, stop_after):
    """Every acknowledgement of a child that was killed after `stop_after` of them."""
    command = [sys.executable, __file__, "--child", str(path), strategy]
    root = str(Path(__file__).resolve().parent.parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            for line in process.stdout:
                lines.append(line)
                if len(lines) == stop_after:
                    process.kill()
        finally:
            process.kill()
    if len(lines) < stop_after:
        raise RuntimeError(f"{strategy} ended by itself after {len(lines)} units")
    return [Acknowledged(*map(int, line.split())) for line in lines if line.endswith(b"\n")]


def measure(strategy, journal_mode, runs, seed):
    """The sums over all runs."""
    chance = random.Random(f"{seed} {strategy} {journal_mode}")
    totals = {"strategy": strategy, "journal_mode": journal_mode, "runs": runs}
    for _ in range(runs):
        for name, value in run(strategy, journal_mode, chance.randint(1, LONGEST)).items():
            totals[name] = totals.get(name, 0) + value
    kept = not (totals["lost"] or totals["half"] or totals["integrity_broken"])
    return {**totals, "kept": kept and totals["stored_unacknowledged"] <= THREADS * runs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=2, metavar=("PATH", "STRATEGY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
    else:
        results = [
            measure(strategy, journal_mode, arguments.runs, arguments.seed)
            for strategy in STRATEGIES
            for journal_mode in ("delete", "wal")
        ]
        versions = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
        json.dump({**versions, "threads": THREADS, "results": results}, sys.stdout, indent=1)
        print()
