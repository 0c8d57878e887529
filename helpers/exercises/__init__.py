"""Is what a learner wrote right? Every check returns a `Verdict` that names what breaks.

    check(increment)                 # thread functions, in every order
    check_strategy(MyStrategy)       # a strategy that threads share
    check_under_load(MyStrategy)     # at full speed

`check_closing` counts the connections that a strategy leaves open, `check_requests` and
`check_server` take a web application, `check_tasks` takes a coroutine function, `check_inventory`
the service of the capstone; `reports`, `transfers`, `writers`, `programs`, `skews`, `unanswered`
and `cases` are exercises of single notebooks. `promises` are what a strategy is asked to keep,
`predict` asks before a cell is run. `progress` keeps which exercises are solved.
"""

from helpers.exercises.checks import (
    check,
    check_closing,
    check_requests,
    check_server,
    check_strategy,
    check_under_load,
)
from helpers.exercises.inventories import check_inventory
from helpers.exercises.predictions import predict
from helpers.exercises.promises import no_increment_lost
from helpers.exercises.tasks import check_tasks
from helpers.exercises.verdict import Verdict

__all__ = [
    "Verdict", "cases", "check", "check_closing", "check_inventory", "check_requests",
    "check_server", "check_strategy", "check_tasks", "check_under_load", "inventories",
    "no_increment_lost", "predict", "programs", "progress", "promises", "reports", "skews",
    "transfers", "unanswered", "writers",
]  # fmt: skip
