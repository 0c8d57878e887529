"""What is wrong with a learner's web application, in words for whoever wrote it.

`alone`, `program` and `TOLD` serve `exercises.check_requests`, which tries a Flask application
in every order of two requests; `under_load` and `beside_a_lock` serve `exercises.check_server`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from helpers.exercises.lessons import word
from helpers.exercises.promises import INCREMENTS, no_increment_lost
from helpers.explorer import Ending, Program, Run, explore
from helpers.load import sandbox

if TYPE_CHECKING:
    from helpers.web.clients import Answer

#: As `webload.run` wants it.
Application = Callable[[str], contextlib.AbstractContextManager[Any]]

# -- a Flask application, in every order -----------------------------------------------------


def alone(application: Application) -> str:
    """What is wrong with one request when there is no other; empty if nothing is."""
    found = explore(program(application, 1, told_the_count), show=False)
    ((outcome, _, _),) = found.outcomes
    if outcome.kind == "right":
        return ""
    told = dict(outcome.threads).get("A", "").removeprefix("returned ")
    if outcome.kind == "wrong" and outcome.rows == "1":
        return f"already one request alone is answered {told}: a visitor expects the new count, 1"
    return f"already one request alone goes wrong: {outcome.text}"


def program(
    application: Application,
    number: int = 2,
    invariant: Callable[[Ending], bool] = no_increment_lost,
) -> Program:
    """A program of `number` threads, each with one request to the same application."""
    return Program(
        "counter",
        [_post_increment] * number,
        invariant,
        claim="no increment is lost",
        share=opener(application),
        name="the exercise",
    )


def opener(application: Application) -> Callable[[str], _Opened]:
    """Opens the application of a path, as the explorer wants it."""

    def share(path: str) -> _Opened:
        return _Opened(application(path))

    # The explorer looks for locks in the module of the learner's application.
    share.__module__ = getattr(application, "func", application).__module__
    return share


def told_the_count(end: Ending) -> bool:
    """No increment is lost, and each request is answered with another count, from 1 on."""
    return no_increment_lost(end) and _are_counts(end.results.values())


def _are_counts(values: Iterable[object]) -> bool:
    """Whether the values are 1, 2, 3, … in any order."""
    values = list(values)
    numbers = [value for value in values if type(value) is int]
    return sorted(numbers) == list(range(1, len(values) + 1))


class _Opened:
    """An application, and what closes it after the run."""

    def __init__(self, context: contextlib.AbstractContextManager[Any]) -> None:
        self.app = context.__enter__()
        # Exceptions reach whoever sent the request, as Flask's documentation on testing has it.
        self.app.testing = True
        self.context = context

    def close(self) -> None:
        self.context.__exit__(None, None, None)


def _post_increment(opened: _Opened) -> Any:
    """What the request is answered: a number, or else the text of the answer."""
    answer = opened.app.test_client().post("/increment")
    if answer.status_code != 200:
        raise RuntimeError(f"the request was answered with status {answer.status_code}")
    value = answer.get_json(force=True, silent=True)
    return value if type(value) is int else answer.get_data(as_text=True).strip()[:40]


#: The two requests that an application gets from `exercises.check_requests`.
JOBS = (_post_increment, _post_increment)


def _told(run: Run) -> str:
    """Who was told what, and how that could be."""
    ends = run.outcome.threads if run.outcome else ()
    told = ", ".join(f"{name} is told {end.removeprefix('returned ')}" for name, end in ends)
    for name in {step.thread for step in run.steps}:
        words = [word(step) for step in run.steps if step.thread == name]
        if "UPDATE" in words and "SELECT" in words[words.index("UPDATE") :]:
            return (
                f"{told}. Between the UPDATE of one and its SELECT the other sells. Keep both "
                "in one transaction, or answer what the UPDATE itself returns."
            )
    return f"{told}. Answer the count that this sale has stored."


TOLD = replace(
    INCREMENTS,
    kept="each visitor is told the count of their own sale",
    broken="tell a visitor a wrong count",
    invariant=told_the_count,
    story=_told,
)

# -- an application behind its server --------------------------------------------------------

#: Whether the visitors lose patience first or the server is stopped first is a matter of luck.
STUCK = (
    "in one of the runs requests were never answered: the server's threads wait for each other. "
    "Who holds the write lock, and what does it need to go on?"
)
_EARLY = "a sale was acknowledged before it was stored"
_WRONG_COUNTS = (
    "all sales are stored, and visitors were told wrong counts: the same one twice, or one that "
    "never was. Answer the count that this sale has stored, read in its own transaction."
)
_WAITS = (
    "while a sale waits for the write lock, which another program holds, no page is shown. Who "
    "only reads need not wait in WAL mode. What does the page wait for: the event loop, a lock "
    "in Python, a connection that all share, or BEGIN IMMEDIATE?"
)
_TWO = (
    "two processes made a sale each, and the visitors were told {} and {}; stored: {}. A lock in "
    "Python, or code without an await, keeps out its own process only. The lock on the file, "
    "taken before the first SELECT, keeps out the other one, too."
)


def under_load(result: sandbox.SandboxResult) -> str:
    """The first thing that is wrong with a `webload.trial`, without numbers that differ by run."""
    if result.error is not None and result.error.kind == "ServerError":
        return STUCK
    if result.kind != "returned":
        return f"in one of the runs {result}"
    early, served = result.value
    if early:
        return _EARLY
    if served.report.failed:
        return _refused(served.report.failed)
    if served.errors:
        return f"after the answer was sent, {served.errors[0].kind}: {served.errors[0].message}"
    if served.audit.lost:
        return "no visitor saw an error, and acknowledged sales are not in the database"
    return _answers(served.report.answers) or (
        "a visitor was shown less than had been acknowledged to the same visitor before"
        if served.report.stale_reads
        else ""
    )


def _refused(failed: Iterable[Answer]) -> str:
    """What most of the visitors were told whose requests failed."""
    failed = list(failed)
    if any(answer.error == "ReadTimeout" for answer in failed):
        return STUCK
    told = Counter((a.error or f"status {a.status}", a.message) for a in failed)
    ((error, message), _) = told.most_common(1)[0]
    return f"visitors are told {error}: {message}".rstrip(": ")


def _answers(answers: Iterable[Answer]) -> str:
    """What is wrong with the counts that visitors were told; empty if nothing is."""
    values: dict[str, list[Any]] = {"POST": [], "GET": []}
    for answer in answers:
        values[answer.request[0]].append(answer.value)
    for what, told in (("a sale is answered", values["POST"]), ("a page shows", values["GET"])):
        wrong = next((value for value in told if type(value) is not int), 0)
        if wrong != 0:
            return f"{what} {wrong!r}, and not the count, as a number in JSON"
    if _are_counts(values["POST"]):
        return ""
    return _WRONG_COUNTS


def beside_a_lock(application: Application, serve: Callable[..., Any]) -> str:
    """What two processes do wrong beside a program that holds the write lock."""
    from helpers.web import probes, servers

    try:
        seen = probes.while_locked(application, serve)
    except servers.ServerError as error:
        return f"in two processes, {error}"
    if any(answer.error == "ReadTimeout" for answer in seen.pages):
        return _WAITS
    if seen.failed:
        return _refused(seen.failed)
    if seen.early:
        return _EARLY
    if seen.stored == 2 and _are_counts(seen.told):
        return ""
    return _WRONG_COUNTS if seen.stored == 2 else _TWO.format(*seen.told, seen.stored)
