"""``python -m helpers explore MODULE:FUNCTION …``: your own functions, in every order.

Each function is a thread. It takes the path of a database, or what ``--share`` makes of it, and
opens its connections with plain `sqlite3`, when it is called. The exit status is 0 if the
invariant holds in every order, 1 if a schedule breaks it or never ends, which is then shown, and
2 if not all orders were run or the command line is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from helpers import databases
from helpers.explorer import (
    Diverged,
    Ending,
    Exploration,
    Program,
    ScheduleError,
    explore,
    saved,
)

REFUTED, UNFINISHED = 1, 2
#: What a wrong command line, or functions that cannot be explored, raise.
UNUSABLE = (OSError, TypeError, ValueError, ImportError, sqlite3.Error, ScheduleError, Diverged)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m helpers explore``."""
    parser.epilog = __doc__.partition("\n\n")[2]
    add = parser.add_argument
    add("functions", nargs="+", metavar="MODULE:FUNCTION", help="one for each thread")
    add("--database", required=True, metavar="FILE", help="SQL that makes it, a database, a sample")
    add("--invariant", required=True, metavar="SQL", help="true: its first column in its first row")
    add("--share", metavar="MODULE:FUNCTION", help="called with the path, gives what threads get")
    add("--journal-mode", default="delete", choices=["delete", "wal"])
    add("--impatient", action="store_true", help="waits may end at any step")
    add("--preemptions", type=int, metavar="N", help="only schedules with at most N preemptions")
    add("--seconds", type=float, default=120.0, help="stop after so many (120)")
    add("--seed", type=int, metavar="N", help="draw schedules at random until then")
    add("--workers", type=int, default=1, metavar="N", help="processes (1)")
    add("--save", metavar="FILE", help="write the schedule that refutes it")
    add("--replay", metavar="FILE", help="run only the schedule of this file")


def main(arguments: argparse.Namespace) -> int:
    """Explore, print what was found; returns the exit status."""
    try:
        program = _program(arguments)
        if arguments.replay:
            run = saved.replay_saved(program, arguments.replay)
            print(run)
            return REFUTED if run.outcome is None or run.outcome.is_failure else 0
        found = _explore(program, arguments)
    except UNUSABLE as error:
        print("\n".join([f"explore: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return UNFINISHED
    for thread, name in zip(program.threads, arguments.functions, strict=True):
        print(f"{thread}: {name}")
    print(f"\n{found}")
    if found.failing is None:
        return 0 if found.proved else UNFINISHED
    run = found.replay()
    print(f"\n{run}")
    if arguments.save:
        saved.save(run, arguments.save)
    return REFUTED


def _program(arguments: argparse.Namespace) -> Program:
    return Program(
        _database(arguments.database),
        [_function(name) for name in arguments.functions],
        _holds,
        claim=arguments.invariant,
        look=arguments.invariant,
        journal_mode=arguments.journal_mode,
        share=_function(arguments.share) if arguments.share else None,
        expire="any" if arguments.impatient else False,
    )


def _explore(program: Program, arguments: argparse.Namespace) -> Exploration:
    with contextlib.ExitStack() as stack:
        executor = None
        if arguments.workers > 1:
            pool = ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn"))
            executor = stack.enter_context(pool)
        return explore(
            program,
            seed=arguments.seed,
            seconds=arguments.seconds,
            max_schedules=sys.maxsize,
            preemptions=arguments.preemptions,
            executor=executor,
        )


def _holds(end: Ending) -> bool:
    return bool(end.value)


def _function(name: str) -> Callable[..., Any]:
    """The function that ``MODULE:FUNCTION`` names, found from the current folder on."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(f"{name!r} is not MODULE:FUNCTION, as in shop.orders:pay")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: Any = importlib.import_module(module)
    for part in function.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{name}: there is no {part!r} in {found!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{name} is {found!r}, which cannot be called")
    return found  # type: ignore[no-any-return]


def _database(name: str) -> str:
    """The SQL that makes the database: a script, the content of a database, or a sample's name."""
    path = Path(name)
    if not path.exists() and name in databases.SAMPLES:
        return name
    if not path.read_bytes().startswith(b"SQLite format 3\0"):
        return path.read_text(encoding="utf-8")
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return "\n".join(db.iterdump())
