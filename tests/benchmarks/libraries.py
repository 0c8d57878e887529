"""The same increments under the explorer and under libraries that explore plain Python threads.

    uv run --group comparison python tests/benchmarks/libraries.py
    uv run --group comparison python tests/benchmarks/libraries.py --timeout 0 --json

Two threads read a counter and write it plus 1: in autocommit, where an update can be lost;
after BEGIN (DEFERRED), where none is lost, but a thread may see "database is locked"; after
BEGIN IMMEDIATE, the fix. The promise is the explorer's: the counter equals the number of threads
that had no error. `--timeout` is that of the connections: with Python's default, 5 seconds, a
thread waits inside SQLite; with 0 it never does, which a library that does not see the wait can
follow. "ends" counts how the schedules ended, also those of a search that was cut short; an "error"
is a thread that was told so, the promise kept. Each library runs in a child process with a time
limit; "verdict" is in its own words, "finding" is what that means here.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from helpers.explorer import Program, explore
from helpers.explorer.runner import _memory_folder
from helpers.explorer.scenarios import no_increment_lost
from helpers.load import sandbox

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.increments import increment

PROGRAMS = {"autocommit": "", "DEFERRED": "BEGIN DEFERRED", "IMMEDIATE": "BEGIN IMMEDIATE"}
MODES = ("delete", "wal")
#: Library to package. frontrun twice: its documentation tries SQLite in processes, too.
PACKAGES = {
    "frontrun": "frontrun",
    "frontrun, processes": "frontrun",
    "interleave-test": "interleave-test",
    "ploom": "ploom",
}
SCRIPT = Path(__file__).with_name("increments.py")
#: Seconds that a library may take beyond its own limit, to start and to end.
GRACE = 10


def by_explorer(program, mode, timeout):
    """The explorer's row."""
    job = functools.partial(increment, begin=PROGRAMS[program], timeout=timeout)
    found = explore(Program("counter", [job] * 2, no_increment_lost, journal_mode=mode), show=False)
    return {
        "holds": False if found.failures else True if found.complete else None,
        "complete": found.complete,
        "verdict": found.verdict.split(":")[0],
        "schedules": found.schedules,
        "ends": found.counts,
        "seconds": found.seconds,
    }


def command_of(library, *arguments):
    command = [sys.executable, str(SCRIPT), library, *arguments]
    # frontrun's documentation runs threads through its own command, which Windows does not have.
    if library == "frontrun" and os.name == "posix":
        command.insert(0, os.path.join(os.path.dirname(sys.executable), "frontrun"))
    return command


def kind(line):
    """How a schedule ended, in the explorer's words, from "value succeeded"."""
    value, succeeded = map(int, line.split())
    return "wrong" if value != succeeded else "right" if succeeded == 2 else "error"


def by_library(library, program, mode, timeout, seconds):
    """A library's row."""
    row = {"holds": None, "complete": False, "schedules": 0, "ends": {}, "seconds": 0.0}
    if version(library) is None:
        return {**row, "verdict": "not installed"}
    # In memory, as the explorer's databases are.
    with tempfile.TemporaryDirectory(dir=_memory_folder(), ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "counter.db")
        options = [path, PROGRAMS[program], mode, str(timeout), str(seconds)]
        ended = sandbox.call(
            subprocess.run,
            command_of(library, *options),
            seconds=seconds + GRACE,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        file = Path(path + ".ends")
        ends = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    row |= {"schedules": len(ends), "ends": dict(Counter(map(kind, ends)))}
    row["seconds"] = ended.seconds
    if ended.kind == "hung":
        return {**row, "verdict": "still running at the time limit"}
    done = ended.get()
    if done.returncode:
        return {**row, "verdict": done.stderr.strip().splitlines()[-1]}
    return row | json.loads(done.stdout.splitlines()[-1])


def version(library):
    try:
        return importlib.metadata.version(PACKAGES[library])
    except PackageNotFoundError:
        return None


def finding(row, program):
    """What the verdict is worth: only autocommit loses an update."""
    loses = program == "autocommit"
    if row["verdict"] == "not installed":
        return "not installed"
    if row["holds"] is None:
        return "no verdict"
    if not row["holds"]:
        return "loss found" if loses else "false alarm"
    if not row["complete"]:
        return "not proved"
    return "loss missed" if loses else "proved"


def rows(libraries, programs, modes, timeouts, seconds):
    """One row for each library, program, journal mode and timeout."""
    for timeout in timeouts:
        for program in programs:
            for mode in modes:
                for library in ("explorer", *libraries):
                    found = (
                        by_explorer(program, mode, timeout)
                        if library == "explorer"
                        else by_library(library, program, mode, timeout, seconds)
                    )
                    yield {
                        "library": library,
                        "version": "" if library == "explorer" else version(library) or "",
                        "program": program,
                        "mode": mode,
                        "timeout": timeout,
                        "finding": finding(found, program),
                        "schedules": found["schedules"],
                        "ends": found["ends"],
                        "seconds": round(found["seconds"], 2),
                        "verdict": found["verdict"],
                    }


def table(found):
    """The rows as text: a table for each program."""
    data = pd.DataFrame(found)
    data["ends"] = [", ".join(f"{n} {kind}" for kind, n in ends.items()) for ends in data["ends"]]
    data["verdict"] = data["verdict"].str.slice(0, 90)
    for (timeout, program), part in data.groupby(["timeout", "program"], sort=False):
        yield f"{program}, timeout={timeout:g}"
        yield part.drop(columns=["program", "timeout"]).to_string(index=False) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several = {"nargs": "+", "metavar": "WHICH"}
    for name, known in (("library", PACKAGES), ("program", PROGRAMS), ("mode", MODES)):
        parser.add_argument(
            f"--{name}",
            choices=list(known),
            default=list(known),
            help=f"some of: {'; '.join(known)} (default: all)",
            **several,
        )
    parser.add_argument(
        "--timeout",
        type=float,
        nargs="+",
        default=[5.0, 0.0],
        help="of the connections, in seconds",
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="limit for each row of a library (default: 60)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    chosen = parser.parse_args()
    if not chosen.seconds > 0 or min(chosen.timeout) < 0:
        parser.error("--seconds must be more than 0, --timeout at least 0")
    each = rows(chosen.library, chosen.program, chosen.mode, chosen.timeout, chosen.seconds)
    programs = len(chosen.program) * len(chosen.mode) * len(chosen.timeout)
    found = list(tqdm(each, total=programs * (1 + len(chosen.library)), disable=None))
    if chosen.json:
        print(json.dumps({"python": platform.python_version(), "rows": found}, indent=1))
    else:
        print(f"Python {platform.python_version()}\n", *table(found), sep="\n")


if __name__ == "__main__":
    main()
