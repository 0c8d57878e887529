"""What a schedule that broke an attempt teaches: who did what in which step, and why it could.

`lesson` words a whole verdict; the other functions each tell one kind of story about one
`Run`, in sentences for a reader who wrote the attempt and has not seen the schedule yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from helpers.explorer import CLOSER, Exploration, RoundRobin, Run, Runner, Schedule, Step

Story = Callable[[Run], str]

#: Steps of a schedule that is shortened, and how many of them stay at its two ends.
_LONG, _BEGINNING, _END = 24, 8, 2

#: By which statements a thread's write reaches the others, and how to say so.
_PUBLISHES = {"UPDATE": "writes", "COMMIT": "commits"}


def example(found: Exploration) -> Schedule | None:
    """The simplest schedule that breaks an attempt: the claim, or a thread with an error."""
    return found.failing or found.example("error")


class Told(Protocol):
    """What `lesson` needs to know about a promise; see `helpers.exercises.promises.Promise`."""

    @property
    def kept(self) -> str:
        """The promise, as in "no increment is lost"."""

    @property
    def broken(self) -> str:
        """What orders do that break it, as in "lose an increment"."""

    @property
    def story(self) -> Story:
        """Tells how one run broke it."""

    @property
    def refused(self) -> Story:
        """Tells why a thread saw an error."""

    @property
    def stuck(self) -> str:
        """What to think of when a run does not come to an end."""


def lesson(found: Exploration, promise: Told, told: Schedule | None = None) -> str:
    """Which schedule breaks the attempt, what happens in it, and what to think about.

    Args:
        found: an exploration with an `example`.
        promise: what was broken.
        told: another schedule than the simplest that breaks it.
    """
    run = found.replay(told or example(found))
    kind = run.outcome.kind if run.outcome else "endless"
    some = f"{found.counts.get(kind, 0)} of {found.schedules} orders"
    shown = f"for example {schedule(run)}"
    if kind in ("deadlock", "endless"):
        ended = run.outcome.text.removeprefix("endless: ") if run.outcome else "no end was found"
        if told_to_retry := _retries_at_once(run):
            return f"in the order {schedule(run)}, {told_to_retry}"
        return f"in the order {schedule(run)} it does not come to an end: {ended}. {promise.stuck}"
    if kind == "wrong":
        return f"{some} {promise.broken}, {shown}. {promise.story(run)}".rstrip()
    return f"{promise.kept}, but in {some} {_told(run)}, {shown}. {promise.refused(run)}"


def schedule(run: Run) -> str:
    """The schedule in one line, without the closing of what the threads shared.

    One that is too long to be read is shortened in the middle.
    """
    names = list(run.schedule)
    while names and names[-1] == CLOSER:
        names.pop()
    if len(names) > _LONG:
        names[_BEGINNING:-_END] = ["…"]
    return " ".join(names)


def waits_and_overwrites(found: Exploration) -> Schedule | None:
    """A schedule in which a thread waits for the lock, and loses the other's update all the same.

    None if no thread waits where the threads take turns, or a lock or BEGIN is to blame.
    """
    if "wrong" not in found.counts:
        return None
    with Runner(found.program, found.waiting, track=True) as runner:
        run = runner.trace(RoundRobin())
    wrong = run.outcome is not None and run.outcome.kind == "wrong"
    plain = not _lockers(run) and not any(word(step) == "BEGIN" for step in run.steps)
    return run.schedule if wrong and plain and _waiting(run) is not None else None


def _waiting(run: Run) -> int | None:
    """The first step in which a thread waits for a lock on the file."""
    return next((n for n, step in enumerate(run.steps) if step.outcome == "waits"), None)


def _retries_at_once(run: Run) -> str:
    """What happens to a thread that is refused and tries again without a pause; empty if none."""
    last = [step for step in run.steps[-_LONG // 2 :] if step.thread == run.steps[-1].thread]
    locked = [step for step in last if step.error is not None and "locked" in step.error.message]
    if len(locked) < 2 or any(step.label == "sleep" for step in last):
        return ""
    name = run.steps[-1].thread
    others = " and ".join(sorted(_everybody(run) - {name}))
    return (
        f"{name} is refused and tries again at once, forever, while {others} gets no turn to "
        "finish. To roll back and retry is right: pause before it, for example with time.sleep."
    )


def _told(run: Run) -> str:
    ends = [
        (name, end) for name, end in (run.outcome.threads if run.outcome else ()) if ": " in end
    ]
    for step in run.steps:
        # A thread may have caught an error and gone on.
        if step.error is not None and any(step.error.message in end for _, end in ends):
            return f'a thread is told "{step.error.message}"'
    name, error = ends[0]
    return f"{name} ends with {error}"


# -- a lost update ---------------------------------------------------------------------------


def lost_update(run: Run) -> str:
    """Who overwrote what, and why nothing kept the other thread out."""
    overtaken = _overtaken(run)
    # Without a thread in between the update is lost for another reason.
    return (overtaken and f"{overtaken} {_unprotected(run)}") or _alone(run) or _unprotected(run)


def _alone(run: Run) -> str:
    """How an increment was lost although no other thread came in between; empty if unknown."""
    ends = dict(run.outcome.threads) if run.outcome else {}
    for number, step in enumerate(run.steps, 1):
        well = ends.get(step.thread, "").startswith(("ok", "returned"))
        if well and step.error is not None and "locked" in step.error.message:
            return (
                f"{step.thread} is refused in step {number}, and returned as if all were well. "
                "Raise the error again, or do the whole unit again."
            )
    if any(word(step) == "SELECT" for step in run.steps):
        return ""
    return "What is written was not read from the counter. Add 1 to whatever it holds."


def _overtaken(run: Run) -> str:
    """Who wrote between another's read and write, in the words of the schedule."""
    for name in run.schedule:
        mine = [n for n, step in enumerate(run.steps) if step.thread == name]
        read = next((n for n in mine if word(run.steps[n]) == "SELECT"), None)
        writes = (n for n in mine if word(run.steps[n]) == "UPDATE")
        write = next((n for n in writes if run.steps[n].outcome == "ok"), None)
        if read is None or write is None:
            continue
        for between in range(read + 1, write):
            other = run.steps[between]
            if other.thread != name and word(other) in _PUBLISHES:
                return (
                    f"{name} reads in step {read + 1}, {other.thread} "
                    f"{_PUBLISHES[word(other)]} in step {between + 1}, and {name} overwrites "
                    f"that in step {write + 1}."
                )
    return ""


def _unprotected(run: Run) -> str:
    """Why nothing kept the other thread out."""
    lockers, everybody = _lockers(run), _everybody(run)
    if lockers and lockers != everybody:
        return ONLY_ONE_LOCKS.format(", ".join(sorted(lockers)))
    if lockers:
        return (
            "Each thread holds the lock, but gives it back between its SELECT and its UPDATE. "
            "Which lines have to happen as a whole?"
        )
    if any(word(step) == "BEGIN" for step in run.steps):
        return (
            "The transaction does not span both statements: it must begin before the SELECT and "
            "end after the UPDATE."
        )
    waiting = _waiting(run)
    if waiting is not None:
        return (
            f"{run.steps[waiting].thread} even waits for the lock in step {waiting + 1}, then "
            "writes what it computed before: no timeout helps while no transaction spans SELECT "
            "and UPDATE."
        )
    return (
        "No transaction spans the SELECT and the UPDATE, and in this order nobody waits for a "
        "lock, so that a longer timeout changes nothing."
    )


ONLY_ONE_LOCKS = "Only {} takes the lock: a lock keeps out only those who ask for it."


def refused(run: Run) -> str:
    """Why a thread was told that the database is locked."""
    begins = [step.sql.upper().split() for step in run.steps if word(step) == "BEGIN"]
    locked = any(step.error is not None and "locked" in step.error.message for step in run.steps)
    if locked and begins and not any({"IMMEDIATE", "EXCLUSIVE"} & set(b) for b in begins):
        return (
            "BEGIN takes no lock. Both threads read, and then only one may write: the other is "
            "refused at once, whatever its timeout. Which BEGIN takes the write lock before the "
            "SELECT?"
        )
    if not locked and _shares(run):
        return (
            "Both threads are on one connection, which has one transaction: what keeps them apart?"
        )
    return "What does that thread do with the error? An increment that was refused must be redone."


# -- a unit that was called off ----------------------------------------------------------------


#: What a thread reports whose unit raised although `write` did not.
NOT_TOLD = "was not told that its unit had raised"


def left_open(run: Run) -> str:
    """Why a thread saw an error where another thread's unit, or its own, had raised before."""
    if any(step.error is not None and "locked" in step.error.message for step in run.steps):
        told = refused(run)
        if told.startswith("BEGIN"):
            return told
    return (
        "Before that, a unit of B raised. Its transaction must be rolled back, or it stays open, "
        "and keeps its lock."
    )


def half_kept(run: Run) -> str:
    """How half of a unit that raised came to be stored, or took another's work with it."""
    ends = run.outcome.threads if run.outcome else ()
    if any(NOT_TOLD in end for _, end in ends):
        return "B's unit raised, and write returned as if it had not: raise the error again."
    name = _called_off(run)
    wrote = _first(run, name, "UPDATE")
    if wrote is None:
        return ""
    undone = _first(run, name, "ROLLBACK", after=wrote)
    if undone is not None:
        return _taken_back(run, name, undone)
    half = f"{name} writes in step {wrote + 1}, and then its unit raises;"
    for number, step in enumerate(run.steps):
        if number > wrote and word(step) == "COMMIT" and _same(step, run.steps[wrote]):
            return (
                f"{half} {step.thread} commits in step {number + 1}, and with it what {name} "
                "has left in their one transaction. Roll it back before anybody else comes in."
            )
    return f"{half} that statement had committed itself, so there was nothing to roll back."


def _taken_back(run: Run, name: str, undone: int) -> str:
    for number, step in enumerate(run.steps[:undone]):
        if step.thread != name and word(step) == "UPDATE" and _same(step, run.steps[undone]):
            return (
                f"{step.thread} writes in step {number + 1}, and before its COMMIT {name} rolls "
                f"back in step {undone + 1}: they share a transaction, and both writes are gone. "
                "The lock must be held until the unit is committed, or rolled back."
            )
    return f"{name} rolls back in step {undone + 1}; by then its write had been committed."


def _called_off(run: Run) -> str:
    """The thread whose unit gave up halfway, as `helpers.exercises.promises` reports it."""
    ends = run.outcome.threads if run.outcome else ()
    stuck = set(run.pending)
    told = [name for name, end in ends if "called off" in end and name not in stuck]
    return told[0] if told else ""


# -- a reader that saw a half ------------------------------------------------------------------


def torn_read(run: Run) -> str:
    """Between which writes a reader read."""
    reader = next((step.thread for step in run.steps if word(step) == "SELECT"), "")
    reads = _all(run, "SELECT", reader)
    writes = [n for n, step in enumerate(run.steps) if word(step) == "UPDATE"]
    if not reads or not writes:
        return ""
    writer = run.steps[writes[0]].thread
    told = f"{reader} reads in {_steps(reads)}, {writer} writes in {_steps(writes)}."
    lockers = _lockers(run)
    if lockers == {writer}:
        return f"{told} {ONLY_ONE_LOCKS.format(writer)}"
    if lockers:
        return f"{told} Each gives the lock back between its two statements."
    if _shares(run):
        return f"{told} On one connection a reader sees what is not committed yet."
    return f"{told} Two SELECTs see one state only inside one transaction."


# -- a unit inside a unit ------------------------------------------------------------------------


def let_in(run: Run) -> str:
    """How an inner unit published half of the outer one, or was lost with it."""
    wrote = [n + 1 for n, step in enumerate(run.steps) if word(step) == "UPDATE"]
    committed = next((n for n, step in enumerate(run.steps) if word(step) == "COMMIT"), None)
    undone = next((n for n, step in enumerate(run.steps) if word(step) == "ROLLBACK"), None)
    if committed is not None:
        return (
            f"The outer unit writes in step {wrote[0]}; the inner one commits in step "
            f"{committed + 1}, and with it the outer unit's half. Then the outer unit is called "
            "off. A lock that its holder may take again lets the inner unit in: refuse it."
        )
    if undone is not None:
        return (
            f"The inner unit writes in step {wrote[-1]} and is acknowledged. Then the outer unit "
            f"is called off, and step {undone + 1} rolls both back. What is acknowledged must be "
            "stored: refuse the inner unit."
        )
    return "Each statement commits itself, so there is nothing to roll back."


# -- looking at steps ----------------------------------------------------------------------------


def word(step: Step) -> str:
    """The first word of a step's SQL; empty for a commit with nothing to commit."""
    return step.sql.split(None, 1)[0].upper() if step.sql.strip() else ""


def _all(run: Run, first_word: str, thread: str) -> list[int]:
    return [n for n, s in enumerate(run.steps) if s.thread == thread and word(s) == first_word]


def _first(run: Run, thread: str, first_word: str, after: int = -1) -> int | None:
    return next((n for n in _all(run, first_word, thread) if n > after), None)


def _steps(numbers: list[int]) -> str:
    told = " and ".join(str(number + 1) for number in numbers)
    return f"step{'s' if len(numbers) > 1 else ''} {told}"


def _same(step: Step, other: Step) -> bool:
    return step.connection == other.connection


def _everybody(run: Run) -> set[str]:
    return {step.thread for step in run.steps} - {CLOSER}


def _lockers(run: Run) -> set[str]:
    return {step.thread for step in run.steps if step.label.startswith("acquire")} - {CLOSER}


def _shares(run: Run) -> bool:
    """Whether two threads used the same connection."""
    users: dict[int, set[str]] = {}
    for step in run.steps:
        if step.sql and step.thread != CLOSER:
            users.setdefault(step.connection, set()).add(step.thread)
    return any(len(names) > 1 for names in users.values())
