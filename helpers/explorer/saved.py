"""A schedule in a file, to run it again later: in a report of a bug, in a test.

The file is JSON: the schedule, and each step in words, so that a program that has changed since
is noticed instead of misread.
"""

from __future__ import annotations

import json
import os
from itertools import zip_longest
from pathlib import Path

from helpers.explorer.program import Program, Run, ScheduleError
from helpers.explorer.report import replay
from helpers.explorer.runner import STEP_LIMIT


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write the schedule of `run`, with its steps and its outcome, to the file `path`."""
    outcome = None if run.outcome is None else run.outcome.text
    content = {"schedule": run.schedule, "steps": _steps(run), "outcome": outcome}
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def replay_saved(program: Program, path: str | os.PathLike[str], waiting: str = "auto") -> Run:
    """Run `program` in the schedule that `save` wrote to `path`.

    Raises:
        ScheduleError: if it cannot be run, or leads to other steps than it did.
        ValueError: if the file holds no saved schedule.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        schedule, steps = tuple(content["schedule"]), list(content["steps"])
        was_cut = str(content["outcome"]).startswith("endless: cut")
        if not all(isinstance(name, str) for name in schedule) or (was_cut and not steps):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{os.fspath(path)} holds no schedule that was saved here") from None
    changed = "the program has changed since the schedule was saved"
    limit = len(steps) if was_cut else max(STEP_LIMIT, len(steps) + 1)
    try:
        run = replay(program, schedule, waiting, limit)
    except ScheduleError as error:
        raise ScheduleError(f"{changed}: {error}") from None
    pairs = zip_longest(steps, _steps(run), fillvalue="nothing")
    for number, (before, now) in enumerate(pairs, start=1):
        if before != now:
            raise ScheduleError(f"{changed}: step {number} was {before!r}, now it is {now!r}")
    return run


def _steps(run: Run) -> list[str]:
    return [f"{step.thread}: {step.label}" for step in run.steps]
