"""What can go wrong, and what does this error mean?

    failures.run("f-busy-snapshot")    # makes it happen, in a child process; returns a `Report`
    diagnose("database is locked")     # causes and fixes of an error message or a traceback

`FAILURES` maps each id to its recipe; `transaction_control` probes Python's three regimes.
"""

from helpers.failures.look_up_widget import look_up
from helpers.failures.registry import (
    ABSENT,
    ALWAYS,
    CHILD,
    FAILURES,
    HERE,
    NEVER,
    OFTEN,
    Build,
    Failure,
    Report,
    find,
    here,
    run,
    table,
    this_build,
)
from helpers.failures.symptoms import QUESTIONS, UNKNOWN, Diagnosis, Question, diagnose

__all__ = [
    "ABSENT", "ALWAYS", "CHILD", "FAILURES", "HERE", "NEVER", "OFTEN", "QUESTIONS", "UNKNOWN",
    "Build", "Diagnosis", "Failure", "Question", "Report", "diagnose", "find", "here", "look_up",
    "run", "symptoms", "table", "this_build", "transaction_control",
]  # fmt: skip
