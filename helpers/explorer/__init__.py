"""Every order: real threads on real SQLite, explored at the granularity of SQL calls.

    program = Program("counter", [increment, increment], lambda end: end.value == 2)
    explore(program)

`program` says what is explored, `report` explores it. Below them: `search` (which
schedules), `runner` (one after another), `scheduler` (one thread at a time),
`connections`, `pools` and `primitives` (what is a step; `privacy`: what is none),
`waiting` (would SQLite wait?), `processor` (where they run).
"""

from helpers.explorer.program import Ending, Outcome, Program, Run, Schedule, Step
from helpers.explorer.report import Exploration, explore, replay
from helpers.explorer.scheduler import Diverged, ScheduleError

__all__ = [
    "Diverged", "Ending", "Exploration", "Outcome", "Program", "Run", "Schedule",
    "ScheduleError", "Step", "explore", "replay",
]  # fmt: skip
