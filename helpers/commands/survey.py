"""Run every failure on each interpreter and count what happened: ``data/failures.csv``.

``python -m helpers survey [PYTHON ...]`` runs every recipe, several trials each, in child
processes of each interpreter given (by default, of this one). Interpreters from 3.6 on
will do, without any package. Rows of interpreters that the file already holds are replaced,
the others are kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import failures
from helpers.databases import DATA
from helpers.failures import Build, Report

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["failure", "python", "sqlite", "gil", "outcome", "message", "trials", "count"]
TABLE = DATA / "failures.csv"

_ASK = (
    "import json, sqlite3, sys; ask = getattr(sys, '_is_gil_enabled', None);"
    "print(json.dumps([sys.version_info[:3], sqlite3.sqlite_version_info,"
    " bool(ask()) if ask else True]))"
)

Row = dict[str, str]


def build_of(python: str) -> Build:
    """What an interpreter is: its version, its SQLite, whether it has a GIL.

    Raises:
        OSError: if it cannot be started.
        ValueError: if it is no Python from 3.6 on with `sqlite3`.
    """
    command = [python, "-B", "-c", _ASK]
    try:
        asked = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except OSError as error:
        raise OSError(error.errno, f"cannot start {python!r}: {error.strerror}") from error
    if asked.returncode:
        raise ValueError(f"{python} is no Python with sqlite3")
    version, sqlite, gil = json.loads(asked.stdout)
    if tuple(version) < (3, 6):
        raise ValueError(f"{python} is older than Python 3.6")
    return Build(tuple(version), tuple(sqlite), gil)


def survey(
    python: str = sys.executable, trials: int = 10, only: Sequence[str] = (), quiet: bool = True
) -> list[Row]:
    """Rows of the table for one interpreter.

    Args:
        python: the interpreter.
        trials: runs of each failure, each in a process of its own.
        only: ids to run; all by default.
        quiet: say nothing on standard error about the progress.
    """
    build, rows = build_of(python), []
    for name in only or failures.FAILURES:
        if failures.find(name).happens(build) == failures.ABSENT:
            continue
        reports = [failures.run(name, python=python) for _ in range(trials)]
        rows += count(reports, build)
        if not quiet:
            happened = sum(report.happened for report in reports)
            print(f"{_dotted(build.python)} {name}: {happened} of {trials}", file=sys.stderr)
    return rows


def count(reports: Sequence[Report], build: Build) -> list[Row]:
    """One row per outcome and message of one failure, the most frequent first."""
    seen = Counter((report.outcome, report.text) for report in reports)
    return [
        {
            "failure": reports[0].failure,
            "python": _dotted(build.python),
            "sqlite": _dotted(build.sqlite),
            "gil": "yes" if build.gil else "no",
            "outcome": outcome,
            "message": message,
            "trials": str(len(reports)),
            "count": str(number),
        }
        for (outcome, message), number in sorted(seen.items(), key=lambda item: (-item[1], item))
    ]


def read(path: Path = TABLE) -> list[Row]:
    """The rows of a table; none if there is no file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(rows: Iterable[Row], path: Path = TABLE) -> None:
    """Write a table, ordered by failure, then by Python."""
    order = {name: place for place, name in enumerate(failures.FAILURES)}
    ordered = sorted(
        rows,
        key=lambda row: (
            order.get(row["failure"], len(order)), _numbers(row["python"]), row["gil"],
            -int(row["count"]), row["message"],
        ),
    )  # fmt: skip
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)


def merge(old: Iterable[Row], new: Sequence[Row]) -> list[Row]:
    """`new`, and what `old` knows of other failures and interpreters."""
    measured = {_subject(row) for row in new}
    return [row for row in old if _subject(row) not in measured] + list(new)


def shares(rows: Iterable[Row] | None = None) -> pd.DataFrame:
    """How often each failure happened, one column per Python: ``"10 of 10"``, ``"-"`` if absent.

    What counts is every outcome but "did not happen" and "broken".
    """
    import pandas as pd

    cells: dict[str, dict[str, list[int]]] = {}
    for row in read() if rows is None else rows:
        column = row["python"] + ("" if row["gil"] == "yes" else "t")
        cell = cells.setdefault(row["failure"], {}).setdefault(column, [0, int(row["trials"])])
        cell[0] += int(row["count"]) * (row["outcome"] not in ("did not happen", "broken"))
    columns = sorted({column for row in cells.values() for column in row}, key=_numbers)
    table = {
        name: [f"{row[c][0]} of {row[c][1]}" if c in row else "-" for c in columns]
        for name, row in cells.items()
    }
    frame = pd.DataFrame.from_dict(table, orient="index", columns=columns)
    return frame.rename_axis("failure")


def _subject(row: Row) -> tuple[str, str, str, str]:
    return row["failure"], row["python"], row["sqlite"], row["gil"]


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version[:3])


def _numbers(version: str) -> tuple[tuple[int, ...], bool]:
    return tuple(int(part) for part in version.rstrip("t").split(".")), version.endswith("t")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The interpreters, and how thoroughly to look."""
    parser.add_argument("python", nargs="*", default=[sys.executable], metavar="PYTHON")
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="runs of each failure")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="one failure")
    parser.add_argument("--output", type=Path, default=TABLE, metavar="FILE")


def main(arguments: argparse.Namespace) -> int:
    """Survey every interpreter and write the table; returns 1 if a recipe broke, else 0."""
    if arguments.trials < 1:
        print(f"--trials must be at least 1, not {arguments.trials}", file=sys.stderr)
        return 2
    broken = False
    for python in arguments.python:
        try:
            rows = survey(python, arguments.trials, arguments.only, quiet=False)
        except (OSError, ValueError, KeyError) as error:
            print(error.args[-1], file=sys.stderr)
            return 2
        broken |= any(row["outcome"] == "broken" for row in rows)
        write(merge(read(arguments.output), rows), arguments.output)
    return int(broken)
