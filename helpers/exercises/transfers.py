"""The exercise of notebook 08: a transfer between two accounts that no schedule breaks."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from helpers.exercises import progress
from helpers.exercises.verdict import Verdict
from helpers.explorer import Ending, Exploration, Outcome, Program, Run, Step, explore

#: Takes an open connection (``isolation_level=None``), source, target and amount; returns
#: whether the money was moved.
Transfer = Callable[[sqlite3.Connection, int, int, int], Any]

#: What account 1 holds at the start, and account 2.
BALANCE = 1000
#: Thread -> what it transfers from account 1 to account 2, one after the other. In every
#: order one of the two 700s has to be refused, and the 200 succeeds.
PLANS = {"A": (700, 200), "B": (700,)}
#: Transfers that succeed in every order.
BOTH: dict[str, tuple[int, ...]] = {"A": (300,), "B": (200,)}
_LOOK = "SELECT balance FROM account WHERE id < 3 ORDER BY id"
_SELECT = "SELECT balance FROM account WHERE id = ?"
_UPDATE = "UPDATE account SET balance = balance + ? WHERE id = ?"

#: Three accounts, of which the third takes no money: the second UPDATE of a transfer fails.
_CLOSED = """
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    INSERT INTO account VALUES (1, 1000), (2, 1000), (3, 0);
    CREATE TRIGGER closed BEFORE UPDATE ON account WHEN NEW.id = 3
    BEGIN SELECT RAISE(ABORT, 'account 3 is closed'); END;"""


@progress.records
def check(transfer: Transfer, journal_mode: str = "delete") -> Verdict:
    """Run a learner's transfer in two threads, in every order.

    Args:
        transfer: moves an amount from one row of ``account (id, owner, balance)`` to another
            and returns True; if the balance is too low, it changes nothing and returns False;
            if a statement fails, it changes nothing and raises.
        journal_mode: ``"delete"`` or ``"wal"``.

    It is solved when in every schedule the money that was acknowledged has moved, and no
    other, no balance is below 0, nobody is told False whose balance suffices, and no thread
    sees an error; when that is so beside another process, too, which takes no lock of
    Python's; when a transfer that fails leaves nothing behind; and when nobody sees half of one.
    """
    alone = _alone(transfer, journal_mode)
    if alone:
        return Verdict(False, f"already alone, without a second thread, {alone}")
    found = explore(_program(transfer, PLANS, journal_mode), merge=True, show=False)
    if found.failing or found.example("error"):
        return Verdict(False, _lesson(found), found)
    if not found.complete:
        return Verdict(False, f"too many orders to try them all. {found.verdict}", found)
    # Both succeed: what one of them has read of the target, the other may have changed.
    both = explore(_program(transfer, BOTH, journal_mode), merge=True, show=False)
    if both.failing or both.example("error"):
        return Verdict(False, _lesson(both), both)
    beside = explore(_beside(transfer, journal_mode), merge=True, show=False)
    if beside.failing or beside.example("error"):
        return Verdict(False, _lesson_beside(beside), beside)
    left = _left_by_an_error(transfer, journal_mode)
    if left:
        return Verdict(False, f"when a statement fails, because account 3 is closed, {left}")
    if _leaves_a_refused_commit_open(transfer):
        return Verdict(
            False,
            "when its COMMIT is refused, because somebody reads, its transaction stays open. "
            "Which line ends it then?",
        )
    halved = explore(_beside_a_reader(transfer, journal_mode), merge=True, show=False)
    if halved.failing:
        return Verdict(False, _lesson_halved(halved), halved)
    orders = found.schedules + beside.schedules
    return Verdict(True, f"all {orders} orders keep the promise", found)


def _kept(plans: dict[str, tuple[int, ...]]) -> Callable[[Ending], bool]:
    """The promise: what was acknowledged has moved, nothing else, and every False is justified."""

    def kept(end: Ending) -> bool:
        (source,), (target,) = end.rows
        moved = sum(sum(result) for result in end.results.values())
        told = end.errors or moved == BALANCE - source
        # The balance only ever falls: what it can pay at the end, it could pay before.
        refused = (set(plans[name]) - set(result) for name, result in end.results.items())
        justified = all(amount > source for amounts in refused for amount in amounts)
        return bool(source >= 0 and source + target == 2 * BALANCE and told and justified)

    return kept


def _job(transfer: Transfer, amounts: tuple[int, ...]) -> Callable[[str], list[int]]:
    """A thread that transfers `amounts`, and returns those that it was told had moved."""

    def run(path: str) -> list[int]:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            return [amount for amount in amounts if transfer(connection, 1, 2, amount)]

    # The explorer looks for locks in the modules of its threads: the learner's is one of them.
    run.__module__ = getattr(transfer, "__module__", __name__)
    return run


def _program(transfer: Transfer, plans: dict[str, tuple[int, ...]], journal_mode: str) -> Program:
    return Program(
        "accounts",
        {name: _job(transfer, amounts) for name, amounts in plans.items()},
        _kept(plans),
        "no money is made or lost, and nobody pays what they do not have",
        look=_LOOK,
        journal_mode=journal_mode,
        name="the exercise",
    )


def _beside(transfer: Transfer, journal_mode: str) -> Program:
    """`transfer` beside a right one that knows nothing of its locks, as another process would."""
    program = _program(transfer, {"A": (700,), "other": (700,)}, journal_mode)
    program.threads["other"] = _job(_immediate, (700,))
    return program


def _beside_a_reader(transfer: Transfer, journal_mode: str) -> Program:
    """`transfer` beside one SELECT that adds up both accounts, from a process of its own."""

    def adds_up(path: str) -> int:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            sql = "SELECT sum(balance) FROM account WHERE id < 3"
            return int(connection.execute(sql).fetchone()[0])

    program = _program(transfer, {"A": (700,)}, journal_mode)
    program.threads["reader"] = adds_up
    program.invariant = lambda end: bool(end.results.get("reader", 2 * BALANCE) == 2 * BALANCE)
    return program


def _immediate(connection: sqlite3.Connection, source: int, target: int, amount: int) -> bool:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        paid = bool(connection.execute(_SELECT, (source,)).fetchone()[0] >= amount)
        if paid:
            connection.executemany(_UPDATE, [(-amount, source), (amount, target)])
        return paid


def _left_by_an_error(transfer: Transfer, journal_mode: str) -> str:
    """What is wrong after a transfer to an account that is closed; empty if nothing is."""
    said = [""]

    def run(path: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            try:
                told = transfer(connection, 1, 3, 100)
                said[0] = f"it returns {told!r}, and nobody learns why: let the error out"
            except Exception:
                (held,) = connection.execute(_SELECT, (1,)).fetchone()
                if connection.in_transaction:
                    said[0] = "its transaction stays open. Which line ends it then?"
                elif held != BALANCE:
                    said[0] = f"account 1 holds {held} all the same: half of it is stored"

    program = Program(_CLOSED, {"A": run}, lambda end: True, look=_LOOK, journal_mode=journal_mode)
    ((outcome, _, _),) = explore(program, show=False).outcomes
    return said[0] if outcome.ended == "finished" else f"it never ends: {outcome.ended}"


def _leaves_a_refused_commit_open(transfer: Transfer) -> bool:
    """Whether a transfer beside a reader, which stops a COMMIT, ends inside its transaction."""
    stays_open = [False]

    def connect(path: str) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(path, isolation_level=None, timeout=60))

    def run(path: str) -> None:
        with connect(path) as connection, connect(path) as reader:
            reader.execute("BEGIN")
            reader.execute(_LOOK).fetchall()
            with contextlib.suppress(Exception):
                transfer(connection, 1, 2, 100)
            stays_open[0] = connection.in_transaction
            reader.execute("COMMIT")

    run.__module__ = getattr(transfer, "__module__", __name__)
    program = Program("accounts", {"A": run}, lambda end: True, look=_LOOK)
    # Who tries again without end does so here: the reader waits for it.
    explore(program, max_schedules=1, show=False)
    return stays_open[0]


def _alone(transfer: Transfer, journal_mode: str) -> str:
    """What is wrong with `transfer` when nothing else runs; empty if nothing is."""
    trials = (((700, 200), (100, 1900)), ((700, 700), (300, 1700)), ((700, 300), (0, 2000)))
    for amounts, right in trials:
        program = _program(transfer, {"A": amounts}, journal_mode)
        ((outcome, _, _),) = explore(program, show=False).outcomes
        held = f"{right[0]} and {right[1]}"
        if outcome.raised:
            return outcome.threads[0][1]
        if outcome.kind != "right" or outcome.rows != f"({right[0]}), ({right[1]})":
            asked = " and ".join(map(str, amounts))
            return f"the accounts hold {outcome.rows} after {asked} were asked for, not {held}"
    return ""


def _lesson(found: Exploration) -> str:
    """Which schedule breaks the attempt, what happens in it, and what to think about."""
    schedule = found.failing or found.example("error") or ()
    run = found.replay(schedule)
    counts = found.counts
    of = f"of {found.schedules} orders"
    shown = f"for example {' '.join(schedule)}."
    if "deadlock" in counts or "endless" in counts:
        return f"in the order {' '.join(schedule)}: {run.outcome and run.outcome.text}"
    if "wrong" in counts and run.outcome and _consistent(run.outcome):
        return f"{counts['wrong']} {of} break the promise, {shown} {_excused(run)}"
    if "wrong" in counts:
        rows = run.outcome.rows if run.outcome else ""
        part = f"{counts['wrong']} {of} break the promise, {shown} The accounts then hold {rows}."
        return f"{part} {_overtaken(run)}"
    number, step = next((n, step) for n, step in enumerate(run.steps, 1) if step.error)
    message = step.error.message if step.error else ""
    told = sum(n for o, n, _ in found.outcomes if any(message in end for _, end in o.threads))
    part = f'in {told} {of} a thread is told "{message}"'
    return f"{part}, {shown} {_refused(run, number, step)}"


def _lesson_beside(found: Exploration) -> str:
    """Why what two threads keep breaks beside another process."""
    schedule = found.failing or found.example("error") or ()
    run = found.replay(schedule)
    kind = run.outcome.kind if run.outcome else ""
    error = next((step.error.message for step in run.steps if step.error), "")
    what = f'A is told "{error}"' if error else "the promise is broken"
    return (
        f"two threads keep the promise, but beside another process, in {found.counts.get(kind, 0)} "
        f"of {found.schedules} orders, {what}, for example {' '.join(schedule)}. It does not see "
        "a lock of Python's. Which lock do all processes see, and which BEGIN takes it?"
    )


def _lesson_halved(found: Exploration) -> str:
    """What somebody saw who read in the middle of a transfer."""
    schedule = found.failing or ()
    ends = dict(found.outcomes[0][0].threads)
    return (
        f"nothing is lost as long as nothing fails, but in {found.failures} of {found.schedules} "
        f"orders a reader adds up both accounts to {ends['reader'].removeprefix('returned ')}, for "
        f"example {' '.join(schedule)}. Half of the transfer is committed by then, and if the "
        "program is killed it stays so. Which two statements need one COMMIT?"
    )


def _consistent(outcome: Outcome) -> bool:
    """Whether the accounts hold what the threads were told."""
    told = [text for _, text in outcome.threads if text.startswith("returned")]
    moved = sum(int(amount) for text in told for amount in re.findall(r"\d+", text))
    return outcome.rows == f"({BALANCE - moved}), ({BALANCE + moved})" and moved <= BALANCE


def _excused(run: Run) -> str:
    """Which refusal was taken for an empty account."""
    number, step = next(((n, s) for n, s in enumerate(run.steps, 1) if s.error), (0, None))
    what = "A transfer returns False, though the balance suffices"
    if step is None or step.error is None:
        return f"{what}."
    return (
        f'{what}: in step {number} {step.thread} is told "{step.error.message}", which is '
        "no answer to whether there is enough. Let the error out, or do the whole transfer again."
    )


def _overtaken(run: Run) -> str:
    """Who wrote between another's read and write, in the words of the schedule."""
    read: dict[str, int] = {}
    for number, step in enumerate(run.steps, 1):
        word = _word(step)
        if word == "SELECT":
            read[step.thread] = number
        elif word in ("UPDATE", "COMMIT") and step.outcome == "ok":
            for other, when in read.items():
                later = [n for n, s in enumerate(run.steps, 1) if n > number and _writes(s, other)]
                if other != step.thread and later:
                    return (
                        f"{other} reads in step {when}, {step.thread} changes the balances in step "
                        f"{number}, and {other} goes by what it read, in step {later[0]}. What was "
                        "read in another transaction, or in none, does not count."
                    )
            if word == "UPDATE":
                read.pop(step.thread, None)
    return "A transfer has two updates: both must be stored, or neither."


def _refused(run: Run, number: int, step: Step) -> str:
    """Why a thread saw this error, and which line to look at."""
    message = step.error.message if step.error else ""
    if "within a transaction" in message:
        return (
            f"In step {number} {step.thread} begins, and its transaction before, which moved "
            "nothing, is still open. What ends it?"
        )
    begins = [s.sql.upper() for s in run.steps if _word(s) == "BEGIN"]
    if begins and not any("IMMEDIATE" in sql or "EXCLUSIVE" in sql for sql in begins):
        return (
            f"In step {number} {step.thread} has read and wants to write, and BEGIN gave it no "
            "right to: it is refused at once. Which BEGIN does? Or else: the whole transfer "
            "must be done again, from its BEGIN."
        )
    return f"In step {number} {step.thread} is refused: is a transaction left open?"


def _writes(step: Step, thread: str) -> bool:
    return step.thread == thread and _word(step) == "UPDATE" and step.outcome == "ok"


def _word(step: Step) -> str:
    """The first word of a step's SQL."""
    return step.sql.split(None, 1)[0].upper() if step.sql.strip() else ""
