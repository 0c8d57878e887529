"""Every failure, made to happen every time: the registry, and what runs it.

`FAILURES` maps an id such as ``"f-busy-snapshot"`` to its entry. `run` makes one happen in
a child process with a time limit, on this Python or another; `here` does so in this
process, where that is safe. Both return a `Report`. With ``fixed=True`` the cure is in
place, and the failure must not happen.

The recipes themselves are in `recipes`, which runs on Python 3.6 and newer on its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.failures.recipes import FAILURES
from helpers.failures.recipes.common import (
    ABSENT,
    ALWAYS,
    CHILD,
    HERE,
    NEVER,
    OFTEN,
    Build,
    Failure,
    Workspace,
    this_build,
)
from helpers.load import sandbox

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ABSENT",
    "ALWAYS",
    "CHILD",
    "FAILURES",
    "HERE",
    "NEVER",
    "OFTEN",
    "Build",
    "Failure",
    "Report",
    "find",
    "here",
    "run",
    "table",
    "this_build",
]

RECIPES = Path(__file__).resolve().parent / "recipes"

#: Exit statuses of Python after an exception, and after a wrong command line.
_ERRORS = (1, 2)

#: Groups whose failure is how the process ends, not what a recipe sees: id prefix -> outcome.
_ENDINGS = {"d-crash": "crashed", "d-hang": "hung"}


@dataclass(frozen=True)
class Report:
    """What one run of one recipe showed.

    Attributes:
        failure: the id.
        happened: whether the failure happened.
        outcome: ``"raised"``, ``"silent"`` (it happened, and nothing was raised),
            ``"crashed"``, ``"hung"``, ``"did not happen"`` or ``"broken"`` (the recipe
            itself failed).
        kind: class of the exception, or name of the signal.
        message: its text, without thread ids, addresses and paths.
        errorname: its `sqlite_errorname`, empty before Python 3.11.
        detail: what was seen, in a few words.
        answers: what tells causes with the same text apart: ``waited``, ``journal_mode``,
            ``at``.
        traceback: as Python prints it, for `helpers.failures.symptoms`.
    """

    failure: str
    happened: bool
    outcome: str
    kind: str = ""
    message: str = ""
    errorname: str = ""
    detail: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    traceback: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """The message with its class and error name; for a silent failure, what was seen."""
        if self.outcome in ("silent", "hung"):
            return self.detail
        name = f" [{self.errorname}]" if self.errorname else ""
        return f"{self.kind}: {self.message}{name}".rstrip(": ")

    def __str__(self) -> str:
        seen = "happened" if self.happened else "did not happen"
        return f"{FAILURES[self.failure].title}: {seen}. {self.text}".strip()


def find(failure: str) -> Failure:
    """The entry of one failure.

    Raises:
        KeyError: if there is none, with the ids there are.
    """
    if failure not in FAILURES:
        raise KeyError(f"unknown failure {failure!r}: use one of {', '.join(FAILURES)}")
    return FAILURES[failure]


def here(failure: str, *, fixed: bool = False) -> Report:
    """Run a recipe in this process.

    Raises:
        KeyError: for an unknown id.
        ValueError: if the recipe can crash, hang or slow down the process: use `run`.
    """
    entry = find(failure)
    if entry.where != HERE:
        raise ValueError(f"{failure} must not run in this process: use failures.run")
    with Workspace() as room:
        return _report(entry, entry.recipe(room, fixed))


def run(
    failure: str,
    *,
    fixed: bool = False,
    python: str | os.PathLike[str] = sys.executable,
    seconds: float | None = None,
) -> Report:
    """Run a recipe in a child process.

    Args:
        failure: its id.
        fixed: with the cure in place.
        python: the interpreter, 3.6 or newer; it needs nothing but its standard library.
        seconds: time limit; by default the recipe's own.

    Raises:
        KeyError: for an unknown id.
        OSError: if `python` cannot be started.
    """
    entry = find(failure)
    command = [os.fspath(python), "-B", os.fspath(RECIPES), failure, *(["--fixed"] * fixed)]
    # A child that crashes cannot tidy up, so its temporary files live in a folder of ours.
    with tempfile.TemporaryDirectory(
        prefix="sqlite-under-threads-", ignore_cleanup_errors=True
    ) as folder:
        status, output, problem = _child(command, folder, seconds or entry.seconds)
    return _judge(entry, status, output, problem)


def table(names: Iterable[str], *, fixed: bool = False) -> pd.DataFrame:
    """Run several failures, each where it is safe, and show what was seen: one row each.

    The columns are ``failure`` (its title), ``outcome`` and ``what was seen``.
    """
    import pandas as pd

    rows = []
    for name in names:
        entry = find(name)
        report = here(name, fixed=fixed) if entry.where == HERE else run(name, fixed=fixed)
        rows.append((entry.title, report.outcome, report.text))
    return pd.DataFrame(rows, columns=["failure", "outcome", "what was seen"])


def _child(command: list[str], folder: str, seconds: float) -> tuple[int | None, str, str]:
    """Exit status (None if it had to be ended), standard output, end of standard error."""
    environment = {**os.environ, "TMPDIR": folder, "TEMP": folder, "TMP": folder}
    environment.pop("PYTHONPATH", None)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",
    )
    with child:
        try:
            output, problem = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            sandbox.kill(child)
            child.communicate()
            return None, "", ""
        except BaseException:
            sandbox.kill(child)
            raise
    return child.returncode, output, problem[-2000:]


def _judge(entry: Failure, status: int | None, output: str, problem: str) -> Report:
    wanted = next((end for prefix, end in _ENDINGS.items() if entry.id.startswith(prefix)), "")
    if status is None:
        return Report(entry.id, wanted == "hung", "hung", detail="the process stood still")
    if status == 0:
        return _report(entry, json.loads(output))
    if status in _ERRORS or (status > 0 and os.name == "posix"):
        last = problem.strip().rpartition("\n")[2]
        return Report(entry.id, False, "broken", "exit status", str(status), detail=last)
    return Report(entry.id, wanted == "crashed", "crashed", sandbox.signal_name(status))


def _report(entry: Failure, result: dict[str, Any]) -> Report:
    outcome = "did not happen"
    if result["happened"]:
        outcome = "raised" if result["kind"] else "silent"
    return Report(entry.id, outcome=outcome, **result)
