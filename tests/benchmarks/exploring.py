"""How fast the explorer is: schedules a second against a floor, processes, memory, states.

    python tests/benchmarks/exploring.py [floor] [processes] [memory] [states]

prints one JSON object. The floor is the same work done serially by one thread without a
scheduler: a fresh database file, the same connections opened and closed, the same
statements, the same look at the end. Floor and explorer take turns in short windows;
compared are the quickest twentieth of each, and in the median each window with its neighbour;
"all together" is the time that one schedule of each program takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from helpers.explorer import Program, Runner, explore
from helpers.explorer.runner import _memory_folder
from helpers.explorer.scenarios import SCENARIOS, autocommit, begin, no_increment_lost
from helpers.explorer.search import depth_first
from helpers.explorer.tally import Tally

JOBS = {"autocommit": autocommit, "deferred": begin("DEFERRED"), "immediate": begin("IMMEDIATE")}
WINDOW = 8  # runs: a few milliseconds, mostly between two turns of other programs


def program(job, threads=2, mode="delete"):
    return Program("counter", [job] * threads, no_increment_lost, journal_mode=mode)


def serial(what, job, path):
    """The same work without a scheduler, once."""
    with open(path, "wb", buffering=0) as file:
        file.write(what.template())
    job(path)
    job(path)
    what.judge(path, "finished", {"A": None, "B": None})


def seconds_of(do):
    """Seconds that a window takes."""
    began = time.perf_counter()
    for _ in range(WINDOW):
        do()
    return time.perf_counter() - began


def pairs(job, mode, windows):
    """Seconds of the floor and of the explorer, window by window, in turns."""
    what = program(job, mode=mode)
    with (
        tempfile.TemporaryDirectory(dir=_memory_folder()) as folder,
        Runner(what, pinned=True) as runner,
    ):
        path = os.path.join(folder, "database.db")
        schedules = itertools.chain.from_iterable(
            depth_first(runner, Tally()) for _ in itertools.count()
        )
        for _ in range(windows):
            yield (
                seconds_of(lambda: serial(what, job, path)),
                seconds_of(lambda: next(schedules)),
            )


def floor(windows=300):
    """Runs a second, and the explorer's share of the floor: in the median, and undisturbed."""
    found = {}
    quiet = windows // 20  # other work can only make a window longer
    for mode in ("delete", "wal"):
        together = [0.0, 0.0]
        for name, job in JOBS.items():
            seconds = list(pairs(job, mode, windows))
            base, ours = (sorted(column)[quiet] for column in zip(*seconds, strict=True))
            together = [together[0] + base, together[1] + ours]
            found[f"{name}, {mode}"] = {
                "floor": round(WINDOW / base),
                "explorer": round(WINDOW / ours),
                "share": round(base / ours, 2),
                "median share": round(statistics.median(b / o for b, o in seconds), 2),
            }
        found[f"all together, {mode}"] = {"share": round(together[0] / together[1], 2)}
    return found


def processes(repeats=3):
    """A large exploration by one process and by two."""
    what = program(begin("IMMEDIATE"), 4)
    seconds = {1: [], 2: []}
    with ProcessPoolExecutor(2) as pool:
        explore(program(autocommit), executor=pool)  # the workers have started
        for _ in range(repeats):
            for count, executor in ((1, None), (2, pool)):
                found = explore(what, executor=executor, seconds=600, show=False, merge=False)
                seconds[count].append(found.seconds)
    gain = min(seconds[1]) / min(seconds[2])
    return {"schedules": found.schedules, "seconds": seconds, "gain": round(gain, 2)}


def memory(schedules=100_000):
    """Resident memory in MB along a long exploration."""
    import psutil

    process, seen = psutil.Process(), {}
    with Runner(program(begin("IMMEDIATE"), 5), pinned=True) as runner:
        for tally in depth_first(runner, Tally()):
            if tally.schedules in (1000, schedules // 4, schedules // 2, schedules):
                seen[tally.schedules] = round(process.memory_info().rss / 2**20, 1)
            if tally.schedules >= schedules:
                return seen
    return seen


def states(repeats=3):
    """Schedules, runs and seconds of every scenario, in full and by states."""
    rows = {}
    for scenario, mode in itertools.product(SCENARIOS, ("delete", "wal")):
        full, merged = (
            min(
                (explore(scenario.program(mode), merge=m, show=False) for _ in range(repeats)),
                key=lambda exploration: exploration.seconds,
            )
            for m in (False, True)
        )
        rows[f"{scenario.name}, {mode}"] = {
            "schedules": full.schedules,
            "runs": merged.runs,
            "same": full == merged,
            "seconds": [round(full.seconds, 3), round(merged.seconds, 3)],
        }
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("floor", "processes", "memory", "states")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(names)}")
    parts = parser.parse_args().parts or names
    result = {"python": platform.python_version(), "load": os.getloadavg()}
    for part in parts:
        result[part] = globals()[part]()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
