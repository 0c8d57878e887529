"""The exercise of notebook 19: an inventory service with six promises, tried in every order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from helpers.exercises import inventory_load, lessons, progress
from helpers.exercises import inventory_trials as trials
from helpers.exercises.verdict import Verdict
from helpers.explorer import Ending, Exploration, Program, explore

if TYPE_CHECKING:
    import pandas as pd

#: Orders of one trial at most. A right repair has some hundred.
MAX_ORDERS = 20_000
#: Steps after which a schedule counts as endless: three times what a patient retry needs.
STEPS = 120

# -- the promises --------------------------------------------------------------------------------

_RESERVED = "INSERT INTO reservation VALUES (1, 'bolt', 3, 1), (2, 'bolt', 3, 9);"
_BOLTS = "FROM stock WHERE item = 'bolt'"
_DELIVERIES = (
    f"SELECT 'stock ' || quantity || ', deliveries ' || (SELECT count(*) FROM delivery) {_BOLTS}"
)
_RESERVATIONS = "SELECT 'reserved ' || coalesce(sum(quantity), 0) FROM reservation"
_SHIPPED = (
    f"SELECT 'stock ' || quantity || ', reserved orders ' || (SELECT count(*) FROM reservation) "
    f"{_BOLTS}"
)
_STOCK = "SELECT group_concat(item || ' ' || quantity, ', ') FROM (SELECT * FROM stock ORDER BY 1)"
_LEFT = "SELECT 'reserved orders ' || count(*) FROM reservation"

_BOOK, _SHIP = trials.calls("receive", 1, "bolt", 5), trials.calls("ship", 1)
_WITHOUT_TIME = "another program writes, and no wait is long enough"


def _shipped_or_cancelled(end: Ending) -> bool:
    """One of the two is done, and the other is told so."""
    told = [end.results.get(name) for name in "AB"]
    one = told in ([True, "refused"], [False, "not refused"])
    return one and end.value == "reserved orders 1"


#: Key -> promise.
PROMISES = {
    "deliveries": trials.Promise(
        "a delivery is booked whole and once, or with an error not at all",
        _DELIVERIES,
        (
            trials.Trial(
                f"A books 5 bolts; {_WITHOUT_TIME}",
                {"A": _BOOK, "job": trials.job},
                trials.as_told("stock 15, deliveries 1", "stock 10, deliveries 0"),
                expire=True,
            ),
            trials.Trial(
                "A books 5 bolts; another program looks",
                {"A": _BOOK, "look": trials.looks(_DELIVERIES)},
                trials.saw("stock 10, deliveries 0", "stock 15, deliveries 1"),
            ),
            trials.Trial(
                "A and B book 5 bolts each",
                {"A": _BOOK, "B": trials.calls("receive", 2, "bolt", 5)},
                trials.ends("stock 20, deliveries 2"),
            ),
            trials.Trial(
                "A books delivery 1, and is sent it again",
                {"A": trials.receives_twice},
                trials.ends("stock 15, deliveries 1"),
            ),
        ),
    ),
    "reservations": trials.Promise(
        "no more is reserved than there is, and what can be reserved is",
        _RESERVATIONS,
        (
            trials.Trial(
                "A and B each want 6 of 10 bolts",
                {name: trials.calls("reserve", ord(name), "bolt", 6) for name in "AB"},
                trials.one_of_two("reserved 6"),
            ),
            trials.Trial(
                f"A wants 6 of 10 bolts; {_WITHOUT_TIME}",
                {"A": trials.calls("reserve", 1, "bolt", 6), "job": trials.job},
                trials.as_told("reserved 6", "reserved 0", True),
                expire=True,
            ),
        ),
    ),
    "shipping": trials.Promise(
        "what is said to be shipped has left the stock, once",
        _SHIPPED,
        (
            trials.Trial(
                f"A ships order 1; {_WITHOUT_TIME}",
                {"A": _SHIP, "job": trials.job},
                trials.as_told("stock 7, reserved orders 1", "stock 10, reserved orders 2", True),
                expire=True,
                filled=_RESERVED,
            ),
            trials.Trial(
                "A and B ship order 1",
                {"A": _SHIP, "B": _SHIP},
                trials.one_of_two("stock 7, reserved orders 1"),
                filled=_RESERVED,
            ),
            trials.Trial(
                "A ships order 1; another program looks",
                {"A": _SHIP, "look": trials.looks(_SHIPPED)},
                trials.saw("stock 10, reserved orders 2", "stock 7, reserved orders 1"),
                filled=_RESERVED,
            ),
        ),
    ),
    "imports": trials.Promise(
        "an import is stored whole, and one that fails leaves nothing behind",
        _STOCK,
        (
            trials.Trial(
                "A's first two imports fail, the third adds pins",
                {"A": trials.loads_after_failures},
                trials.ends("bolt 10, nut 10, pin 1", A=["refused", "refused"]),
            ),
            trials.Trial(
                "A's import fails; another program writes",
                {"A": trials.refused("load", trials.BAD), "job": trials.job},
                trials.ends("bolt 10, nut 9", A="refused"),
            ),
            trials.Trial(
                "A's import fails; another program looks",
                {"A": trials.refused("load", trials.BAD), "look": trials.looks(_STOCK)},
                trials.saw("bolt 10, nut 10"),
            ),
            trials.Trial(
                f"A imports pins; {_WITHOUT_TIME}",
                {"A": trials.calls("load", [("pin", 1)]), "job": trials.job},
                lambda end: ("pin" in end.value) == ("A" in end.results),
                expire=True,
            ),
        ),
    ),
    "listings": trials.Promise(
        "a page that is not read to its end keeps nobody waiting",
        _STOCK,
        (
            trials.Trial(
                "A has read one row of a page; another program wants to empty the WAL",
                {"A": trials.checkpoints},
                trials.ends("bolt 10, nut 10", A=["the WAL is emptied", ("bolt", 10), ("nut", 10)]),
            ),
            trials.Trial(
                "A has read one row of a page; B imports pins",
                {"A": trials.reads_one_row, "B": trials.calls("load", [("pin", 1)])},
                trials.ends("bolt 10, nut 10, pin 1"),
            ),
        ),
    ),
    "releases": trials.Promise(
        "what is said to be released is released, and nothing else",
        _LEFT,
        (
            trials.Trial(
                "A cancels an order that is not there; B sweeps one of two",
                {"A": trials.refused("cancel", 99), "B": trials.calls("sweep", 5)},
                trials.ends("reserved orders 1", A="refused", B=1),
                filled=_RESERVED,
            ),
            trials.Trial(
                "A cancels one order; B sweeps the other",
                {"A": trials.calls("cancel", 2), "B": trials.calls("sweep", 5)},
                trials.ends("reserved orders 0", A=None, B=1),
                filled=_RESERVED,
            ),
            trials.Trial(
                "A ships order 1; B cancels it",
                {"A": _SHIP, "B": trials.refused("cancel", 1)},
                _shipped_or_cancelled,
                filled=_RESERVED,
            ),
            trials.Trial(
                f"A cancels one of two orders; {_WITHOUT_TIME}",
                {"A": trials.calls("cancel", 2), "job": trials.job},
                trials.as_told("reserved orders 1", "reserved orders 2"),
                expire=True,
                filled=_RESERVED,
            ),
            trials.Trial(
                f"A sweeps one of two orders; {_WITHOUT_TIME}",
                {"A": trials.calls("sweep", 5), "job": trials.job},
                trials.as_told("reserved orders 1", "reserved orders 2", 1),
                expire=True,
                filled=_RESERVED,
            ),
        ),
    ),
}


@dataclass(frozen=True)
class Request:
    """One request of those that have the same effect in any order, and that effect."""

    does: Callable[[trials.Shared], Any]
    bolts: int = 0
    delivery: int = 0
    item: str = ""
    adds: int = 0
    removes: int = 0


_REQUESTS = {
    "receives": Request(_BOOK, bolts=5, delivery=1),
    "reserves": Request(trials.calls("reserve", 7, "bolt", 2, 9), adds=7),
    "ships": Request(trials.calls("ship", 3), bolts=-1, removes=3),
    "imports": Request(trials.calls("load", [("pin", 1)]), item=", pin 1"),
    "fails to import": Request(trials.refused("load", trials.BAD)),
    "lists": Request(lambda shared: len(list(shared.service.low_stock(5)))),
    "cancels": Request(trials.calls("cancel", 2), removes=2),
    "cancels what is not there": Request(trials.refused("cancel", 99)),
    "sweeps": Request(trials.calls("sweep", 5), removes=1),
}
_THREE = "INSERT INTO reservation VALUES (1, 'bolt', 1, 1), (2, 'bolt', 1, 9), (3, 'bolt', 1, 9);"
_ALL = (
    f"SELECT ({_STOCK}) || '; deliveries ' || (SELECT count(*) FROM delivery) || '; orders ' || "
    "(SELECT coalesce(group_concat(number, ' '), '') "
    "FROM (SELECT number FROM reservation ORDER BY 1))"
)


def _row(*requests: Request) -> str:
    """What `_ALL` shows after these requests."""
    removed = {0, *(request.removes for request in requests)}
    orders = sorted({1, 2, 3, *(request.adds for request in requests)} - removed)
    return (
        f"bolt {10 + sum(request.bolts for request in requests)}, "
        f"nut 10{''.join(request.item for request in requests)}; deliveries "
        f"{sum(request.delivery for request in requests)}; orders {' '.join(map(str, orders))}"
    )


def _answered(name: str) -> trials.Trial:
    """What a request has done is in the file when it is answered."""
    row = _row(_REQUESTS[name])
    does = {"A": trials.then_looks(_REQUESTS[name].does, _ALL)}
    says = f"A {name}; then another program looks"
    return trials.Trial(says, does, trials.ends(row, A=row), filled=_THREE)


def _together(first: str, second: str) -> trials.Trial:
    """Two requests that do not concern each other: both are done, and nothing else."""
    a, b = _REQUESTS[first], _REQUESTS[second]
    does = {"A": a.does, "B": b.does}
    return trials.Trial(f"A {first}, B {second}", does, trials.ends(_row(a, b)), filled=_THREE)


_IN_TURN = trials.Trial(
    "A sends one request after another, as a test does",
    {"A": trials.one_after_another},
    trials.ends("bolt 0, nut 10; deliveries 1; orders ", A=trials.ANSWERS),
)
TOGETHER = trials.Promise(
    "requests do what they are for, and leave each other alone",
    _ALL,
    (
        _IN_TURN,
        *map(_answered, _REQUESTS),
        *(_together(*pair) for pair in combinations(_REQUESTS, 2)),
    ),
)


@progress.records
def check_inventory(service: trials.Service, only: str = "") -> Verdict:
    """Try a learner's inventory service: six promises, then other requests, then under load.

    Args:
        service: a class as that of `notebooks/applications/inventory.py`, or what makes one from
            the path of a database. Its methods and tables are those of the application.
        only: the key of one promise, to try it alone; see `PROMISES`.

    It is solved when each promise is kept in every order of the steps and no request is refused
    that could have waited; when each request alone, and each two together, do what they are for;
    and when nothing is lost in a child process at full speed, nor in one that ends at once.

    Raises:
        ValueError: if no promise is called `only`.
        Unseen: if the explorer cannot see its connections.
    """
    found = broken(service, only)
    if found:
        key, (trial, tried) = next(iter(found.items()))
        tale = f"{key}: {_tale(trial, tried)}"
        if only:
            return Verdict(False, tale, tried)
        which = f"{len(found)} of {len(PROMISES)} promises broken: {', '.join(found)}"
        return Verdict(False, f"{which}. First {tale}", tried)
    if only:
        return Verdict(True, f"{only}: {PROMISES[only].sentence}, in every schedule")
    for trial in TOGETHER.trials:
        # A writer's thread and group commits have too many orders for all of them.
        tried = _explore(TOGETHER.program(trial, service, "together"), preemptions=1)
        if not tried.proved:
            return Verdict(False, f"each promise is kept, but {_tale(trial, tried)}", tried)
    reason = under_load(service)
    if reason:
        return Verdict(False, f"every schedule keeps the promises, but {reason}")
    return Verdict(True, "six of six promises are kept, in every schedule, and under load")


def broken(service: trials.Service, only: str = "") -> dict[str, tuple[trials.Trial, Exploration]]:
    """Key of each promise that some order breaks -> the trial, and the exploration, that show it.

    Args:
        service: makes the service from the path of its database.
        only: the key of one promise; by default all are tried.

    Raises:
        ValueError: if no promise is called `only`.
    """
    if only and only not in PROMISES:
        raise ValueError(f"no promise is called {only!r}: they are {', '.join(PROMISES)}")
    found: dict[str, tuple[trials.Trial, Exploration]] = {}
    for key in [only] if only else PROMISES:
        promise = PROMISES[key]
        for trial in promise.trials:
            tried = _explore(promise.program(trial, service, key))
            if not tried.proved:
                found[key] = (trial, tried)
                break
    return found


def table() -> pd.DataFrame:
    """One row per promise: its key, and the promise in words."""
    import pandas as pd

    rows = [(key, promise.sentence) for key, promise in PROMISES.items()]
    return pd.DataFrame(rows, columns=["promise", "in words"])


def counts(service: trials.Service) -> dict[str, tuple[int, int]]:
    """Key of each promise -> how many schedules of its trials break it, and how many there are."""
    found = {
        key: [_explore(promise.program(trial, service, key)) for trial in promise.trials]
        for key, promise in PROMISES.items()
    }
    return {
        key: (sum(tried.failures for tried in all_), sum(tried.schedules for tried in all_))
        for key, all_ in found.items()
    }


def under_load(service: trials.Service) -> str:
    """What is wrong after a run at full speed, or one that is cut off; empty if nothing is."""
    return inventory_load.what_broke(service, trials.SCHEMA)


def _explore(program: Program, preemptions: int | None = None) -> Exploration:
    return explore(
        program, preemptions=preemptions, max_schedules=MAX_ORDERS, step_limit=STEPS, show=False
    )


def _tale(trial: trials.Trial, found: Exploration) -> str:
    """What the threads do, in which schedule a promise breaks, and how that ends."""
    if found.failing is None:
        return f"{trial.says}. {found.verdict}"
    run = found.replay()
    kind = run.outcome.kind if run.outcome else "endless"
    count = found.counts.get(kind, 0)
    some = f"In {count} of {found.schedules} schedules, for example {lessons.schedule(run)}"
    if len(trial.threads) == 1:
        some = f"Alone, in the order {lessons.schedule(run)}"
    ends = "it does not come to an end"
    if run.outcome and kind != "endless":
        ends = run.outcome.text
    return f"{trial.says}. {some}, the end is: {ends}."
