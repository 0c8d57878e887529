"""How often each failure happens under load: every recipe, many times, many at a time.

    python tests/benchmarks/every_failure.py [--trials 50] [--jobs 8] [PYTHON ...]

Prints one line a failure that is claimed to happen always on that Python, and whose share
is not full; then the count of those whose share is. Exit status 1 if any is not.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from helpers import failures
from helpers.commands import survey


def measure(python, trials, jobs):
    """Failure -> how often it happened, for those that should happen always."""
    build = survey.build_of(python)
    names = [n for n, f in failures.FAILURES.items() if f.happens(build) == failures.ALWAYS]
    with ThreadPoolExecutor(jobs) as pool:
        # Turn by turn, so that different recipes disturb each other.
        work = [(name, turn) for turn in range(trials) for name in names]
        reports = pool.map(
            lambda job: failures.run(job[0], python=python, seconds=limit(job[0])), work
        )
        counts = dict.fromkeys(names, 0)
        for report in reports:
            counts[report.failure] += report.happened
    return counts


def limit(name):
    """A hang is judged by the clock; what is to end gets time enough on a loaded machine."""
    return failures.FAILURES[name].seconds * (1 if name.startswith("d-hang") else 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", nargs="*", default=[sys.executable])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1))
    arguments = parser.parse_args()
    complete = True
    for python in arguments.python:
        counts = measure(python, arguments.trials, arguments.jobs)
        short = {name: count for name, count in counts.items() if count < arguments.trials}
        full = len(counts) - len(short)
        version = ".".join(map(str, survey.build_of(python).python))
        print(f"{version}: {full} of {len(counts)} failures, {arguments.trials} of", end=" ")
        print(arguments.trials)
        for name, count in short.items():
            print(f"  {name}: {count} of {arguments.trials}")
        complete = complete and not short
    sys.exit(not complete)
