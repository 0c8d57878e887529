"""All ways to write from many threads, side by side: speed, fairness, waiting, errors, audit.

    python tests/benchmarks/strategies.py --figure strategies.png > strategies.json
    python tests/benchmarks/strategies.py --readers 4

A unit of work is one small INSERT in a transaction of its own. Each of the threads waits until
its unit is acknowledged, and then submits the next one, for a fixed time. Every strategy runs in
a process of its own, with the same settings; the strategies take turns, for several rounds, and
a ratio is the median over the rounds, so that other work on the machine matters little.

The floor is one thread with one connection that commits batches of as many units as there are
threads: that many can wait at a time, so no queue could fill a larger batch.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from functools import partial
from time import perf_counter, sleep, thread_time

import peers_alone

from helpers import databases
from helpers.load import peers
from helpers.strategies import PerThread, Pool, Settings, TransactionLock, Writer

SCHEMA = "CREATE TABLE entry (worker INTEGER, number INTEGER, text TEXT NOT NULL)"
SETTINGS = {
    "WAL+FULL": Settings("wal", "FULL"),
    "WAL+NORMAL": Settings("wal", "NORMAL"),
    "DELETE+FULL": Settings("delete", "FULL"),
}


def ours(strategy, **options):
    """A strategy of the kit, called as the peers are."""
    return lambda path, settings: strategy(path, settings.open, **options)


OURS = {
    "Writer": ours(Writer),
    "Writer, groups of one": ours(Writer, group=1),
    "TransactionLock": ours(TransactionLock),
    "Pool": ours(Pool),
    "PerThread": ours(PerThread),
}
STRATEGIES = {
    **OURS,
    "sqlite3, one lock": peers_alone.OnePlainLock,
    "sqlite3, connection per thread": peers_alone.PlainPerThread,
    "peewee SqliteQueueDatabase": peers.PeeweeQueue,
    "SQLAlchemy, one lock": peers_alone.SqlAlchemyLock,
    "SQLAlchemy, its pool": peers.SqlAlchemyPool,
    "aiosqlite, threads": peers.AioSqlite,
    "aiosqlite, tasks": peers.AioSqlite,
}
FLOOR, ALONE = "floor: one thread, full batches", "one thread, unit by unit"
TASKS = "aiosqlite, tasks"
KINDS = {
    **dict.fromkeys(STRATEGIES, "peers"),
    **dict.fromkeys(OURS, "the kit"),
    **dict.fromkeys([FLOOR, ALONE], "one thread"),
}
WAL_ONLY = {"peewee SqliteQueueDatabase"}

#: Settings, strategy, peer, and how many times the peer's units/s it is to reach.
SPEED_TARGETS = [
    ("WAL+FULL", "sqlite3, connection per thread", 3.0),
    ("WAL+FULL", "peewee SqliteQueueDatabase", 4.0),
    ("WAL+FULL", "SQLAlchemy, its pool", 5.0),
    ("WAL+FULL", "SQLAlchemy, one lock", 5.0),
    ("WAL+FULL", "aiosqlite, threads", 10.0),
    ("WAL+FULL", "aiosqlite, tasks", 10.0),
    ("WAL+FULL", FLOOR, 0.25),
    ("WAL+NORMAL", "peewee SqliteQueueDatabase", 5.0),
    ("WAL+NORMAL", "sqlite3, one lock", 1.2),
]
#: Strategy and the largest number allowed. In WAL only: with a rollback journal a commit can
#: take tens of milliseconds, and the counts are then too small for a ratio.
UNFAIRNESS_TARGETS = [("Writer", 1.05), ("TransactionLock", 1.25)]
LONGEST_WAIT_MS = 25.0
READERS_TARGET = 0.8


class Insert:
    """The unit of work: one row, which the audit finds again."""

    sql = "INSERT INTO entry VALUES (?, ?, 'some forty characters of harmless text')"

    def __init__(self, worker, number):
        self.parameters = (worker, number)

    def __call__(self, connection):
        connection.execute(self.sql, self.parameters)


# -- one run, in a process of its own ----------------------------------------------------------


class Worker:
    """What one thread, or task, was told: acknowledged units, waits in seconds, errors."""

    def __init__(self, number):
        self.number = number
        self.begun, self.done, self.waits, self.errors = 0, [], [], Counter()

    def next(self):
        self.begun += 1
        return Insert(self.number, self.begun)

    def note(self, began, error=None):
        self.waits.append(perf_counter() - began)
        if error is None:
            self.done.append(self.begun)
        else:
            self.errors[f"{type(error).__name__}: {error}"] += 1

    def unit(self, write):
        unit, began = self.next(), perf_counter()
        try:
            write(unit)
        except Exception as error:
            self.note(began, error)
        else:
            self.note(began)


def in_threads(strategy, workers, seconds):
    """Run all workers in threads; returns the counts at the moment of the bell."""
    barrier, stop = threading.Barrier(len(workers) + 1), threading.Event()

    def work(worker):
        worker.unit(strategy.write)  # opens what opens at the first use
        worker.waits.clear()
        barrier.wait()
        while not stop.is_set():
            worker.unit(strategy.write)

    threads = [threading.Thread(target=work, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    barrier.wait()
    counts = between(workers, seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return counts


def between(workers, seconds):
    """Units acknowledged in `seconds` seconds, per worker."""
    before = [len(worker.done) for worker in workers]
    sleep(seconds)
    return [len(worker.done) - n for worker, n in zip(workers, before, strict=True)]


def in_tasks(strategy, workers, seconds):
    """The same with tasks of one event loop."""

    async def work(worker, stop):
        while not stop.is_set():
            unit, began = worker.next(), perf_counter()
            try:
                await strategy.write_in_loop(unit)
            except Exception as error:
                worker.note(began, error)
            else:
                worker.note(began)

    async def together():
        stop = asyncio.Event()
        tasks = [asyncio.create_task(work(worker, stop)) for worker in workers]
        counts = await asyncio.to_thread(between, workers, seconds)
        stop.set()
        await asyncio.gather(*tasks)
        return counts

    return strategy.run(together())


def alone(database, settings, batch, seconds):
    """One thread, one connection, `batch` units a transaction."""
    worker = Worker(1)
    with closing(settings.open(database)) as connection:
        deadline = perf_counter() + seconds
        while (began := perf_counter()) < deadline:
            connection.execute("BEGIN IMMEDIATE")
            units = [worker.next() for _ in range(batch)]
            for unit in units:
                unit(connection)
            connection.commit()
            worker.waits.append(perf_counter() - began)
            worker.done += [unit.parameters[1] for unit in units]
    return [worker], [len(worker.done)]


def one(name, mode, threads, seconds, folder):
    """One run of one strategy, as a dictionary of what it achieved."""
    settings = SETTINGS[mode]
    with databases.Database(folder=folder) as database:
        with closing(settings.open(database)) as connection:
            connection.execute(SCHEMA)
        if name in (FLOOR, ALONE):
            workers, counts = alone(database, settings, threads if name == FLOOR else 1, seconds)
        else:
            workers = [Worker(number) for number in range(threads)]
            with closing(STRATEGIES[name](database.path, settings)) as strategy:
                run = in_tasks if name == TASKS else in_threads
                counts = run(strategy, workers, seconds)
        stored = Counter(map(tuple, database.query("SELECT worker, number FROM entry")))
    told = {(worker.number, number) for worker in workers for number in worker.done}
    waits = sorted(wait for worker in workers for wait in worker.waits)
    return {
        "units_per_second": sum(counts) / seconds,
        "counts": sorted(counts),
        "unfairness": max(counts) / min(counts) if min(counts) else math.inf,
        "median_wait_ms": statistics.median(waits) * 1e3,
        "longest_wait_ms": waits[-1] * 1e3,
        "errors": dict(sum((worker.errors for worker in workers), Counter())),
        "acknowledged": len(told),
        "lost": len(told - stored.keys()),
        "stored_twice_or_unasked": stored.total() - len(told & stored.keys()),
    }


# -- readers beside a writer -------------------------------------------------------------------


def reading(mode, readers, writers, seconds, folder):
    """Reads of ten rows by `readers` threads, beside as many `writers` (0 or 1); WAL."""
    settings = SETTINGS[mode]
    with databases.Database(folder=folder) as database:
        with closing(settings.open(database)) as connection, connection:
            connection.execute(SCHEMA)
            connection.executemany(Insert.sql, [(0, number) for number in range(1000)])
        with closing(Writer(database.path, settings.open)) as strategy:
            return _readers_at_work(strategy, readers, writers, seconds)


def _ten_rows(start, connection):
    sql = "SELECT worker, number, text FROM entry WHERE rowid BETWEEN ? AND ?"
    assert len(connection.execute(sql, (start, start + 9)).fetchall()) == 10


def _readers_at_work(strategy, readers, writers, seconds):
    stop, barrier = threading.Event(), threading.Barrier(readers + writers + 1)
    reads, cores, longest = [0] * readers, [0.0] * readers, [0.0] * readers
    writer = Worker(1)

    def read(reader):
        strategy.read(partial(_ten_rows, 1))
        barrier.wait()
        began = thread_time()
        while not stop.is_set():
            at = perf_counter()
            strategy.read(partial(_ten_rows, 1 + reads[reader] % 900))
            longest[reader] = max(longest[reader], perf_counter() - at)
            reads[reader] += 1
        cores[reader] = thread_time() - began

    def write():
        barrier.wait()
        while not stop.is_set():
            writer.unit(strategy.write)

    threads = [threading.Thread(target=read, args=[number]) for number in range(readers)]
    threads += [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return {
        "reads_per_second": sum(reads) / seconds,
        "reads_per_core_second": sum(reads) / sum(cores),
        "longest_read_ms": max(longest) * 1e3,
        "units_per_second": len(writer.done) / seconds,
        "errors": dict(writer.errors),
    }


# -- all runs ----------------------------------------------------------------------------------


def child(function, *arguments):
    """Call `function` in a process of its own and return its result."""
    command = [sys.executable, __file__, "--child", json.dumps([function.__name__, *arguments])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def median(rounds, key):
    return statistics.median(run[key] for run in rounds)


def summary(rounds):
    """The medians over the rounds; errors and losses are added up."""
    medians = ("units_per_second", "unfairness", "median_wait_ms", "longest_wait_ms")
    return {
        **{key: median(rounds, key) for key in medians},
        "worst_wait_ms": max(run["longest_wait_ms"] for run in rounds),
        "errors": dict(sum((Counter(run["errors"]) for run in rounds), Counter())),
        "acknowledged": sum(run["acknowledged"] for run in rounds),
        "lost": sum(run["lost"] for run in rounds),
        "stored_twice_or_unasked": sum(run["stored_twice_or_unasked"] for run in rounds),
        "rounds": rounds,
    }


def compare(options):
    """Run all strategies in all settings and say which targets are met."""
    runs = {
        mode: {name: [] for name in options.only if mode.startswith("WAL") or name not in WAL_ONLY}
        for mode in options.settings
    }
    for turn in range(options.rounds):
        for mode, names in runs.items():
            for name in names:
                say(f"round {turn + 1} of {options.rounds}: {mode}, {name}")
                found = child(one, name, mode, options.threads, options.seconds, options.folder)
                names[name].append(found)
    results = {
        mode: {name: summary(rounds) for name, rounds in names.items()}
        for mode, names in runs.items()
    }
    return {"results": results, "targets": list(targets(results))}


def targets(results):
    """What is promised and what was measured, for all that was run."""
    for mode, peer, wanted in SPEED_TARGETS:
        found = results.get(mode, {})
        if "Writer" in found and peer in found:
            pairs = zip(found["Writer"]["rounds"], found[peer]["rounds"], strict=True)
            ratios = [a["units_per_second"] / b["units_per_second"] for a, b in pairs]
            yield target(f"{mode}: Writer / {peer}", wanted, statistics.median(ratios))
    for mode, found in results.items():
        if not mode.startswith("WAL"):
            continue
        for name, most in UNFAIRNESS_TARGETS:
            if name in found:
                measured = found[name]["unfairness"]
                yield target(f"{mode}: {name}, largest / smallest count", most, measured, False)
        if "Writer" in found:
            measured = found["Writer"]["longest_wait_ms"]
            yield target(f"{mode}: Writer, longest wait in ms", LONGEST_WAIT_MS, measured, False)


def target(what, wanted, measured, at_least=True):
    met = measured >= wanted if at_least else measured <= wanted
    bound = "at least" if at_least else "at most"
    return {"what": what, "target": f"{bound} {wanted}", "measured": measured, "met": met}


def compare_readers(options):
    """Readers alone and beside a writer, in turns."""
    results = {}
    for mode in [mode for mode in options.settings if mode.startswith("WAL")]:
        runs = {0: [], 1: []}
        for turn in range(options.rounds):
            for writers, rounds in runs.items():
                say(f"round {turn + 1} of {options.rounds}: {mode}, {writers} writer(s)")
                arguments = (mode, options.readers, writers, options.seconds, options.folder)
                rounds.append(child(reading, *arguments))
        ratios = {
            key: statistics.median(b[key] / a[key] for a, b in zip(*runs.values(), strict=True))
            for key in ("reads_per_second", "reads_per_core_second")
        }
        keys = ("reads_per_second", "reads_per_core_second", "longest_read_ms", "units_per_second")
        results[mode] = {
            "alone": {key: median(runs[0], key) for key in keys},
            "beside a writer": {key: median(runs[1], key) for key in keys},
            "ratios": ratios,
            "target": target(
                f"{mode}: reads a core-second beside a writer / alone",
                READERS_TARGET,
                ratios["reads_per_core_second"],
            ),
        }
    return {"readers": options.readers, "results": results}


def say(text):
    print(text, file=sys.stderr, flush=True)


def finite(value):
    """JSON knows no infinity: None says that a thread got nothing at all."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each run")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    names = [*STRATEGIES, FLOOR, ALONE]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="STRATEGY")
    parser.add_argument("--folder", help="where the databases are; which disk matters")
    parser.add_argument("--figure", help="path of a PNG to write")
    parser.add_argument("--readers", type=int, help="measure this many readers instead")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.child:
        function, *rest = json.loads(options.child)
        found = {"one": one, "reading": reading}[function](*rest)
        print(json.dumps(found))
        return
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        **peers_alone.versions(),
        **{key: getattr(options, key) for key in ("threads", "seconds", "rounds")},
    }
    found = compare_readers(options) if options.readers else compare(options)
    print(json.dumps(finite({"machine": machine, **found}), indent=1))
    if options.figure and not options.readers:
        import strategies_figure

        say(strategies_figure.draw(found["results"], KINDS, options.figure))


if __name__ == "__main__":
    main()
