"""Real threads on real SQLite, in an order that you choose and in every order.

    program = Program("counter", [increment, increment], lambda end: end.value == 2)
    explore(program)              # every schedule: how many keep the invariant, which break it
    Stage(program).run("A B B")   # one schedule, step by step

A step is one SQL call, or one call of Python's own primitives (a lock, a queue, `sleep`).
`tasks` does the same for tasks of asyncio; `scenarios` holds the programs whose counts are known;
`saved` keeps a schedule in a file.
`Runner`, `RoundRobin` and `DepthFirst` run single schedules of one's own choice, for checks.
"""

from helpers.explorer.engine.policies import RoundRobin
from helpers.explorer.engine.processor import gc_paused
from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.game import SchedulerGame
from helpers.explorer.program import (
    Diverged,
    Ending,
    Outcome,
    Program,
    Run,
    Schedule,
    ScheduleError,
    Step,
)
from helpers.explorer.report import Exploration, explore, replay
from helpers.explorer.runner import CLOSER, Runner
from helpers.explorer.search import DepthFirst
from helpers.explorer.stage import NamedThread, Stage, told

__all__ = [
    "CLOSER", "DepthFirst", "Diverged", "Ending", "Exploration", "NamedThread", "Outcome",
    "Program", "RoundRobin", "Run", "Runner", "Schedule", "ScheduleError", "Scheduler",
    "SchedulerGame", "Stage", "Step", "explore", "gc_paused", "replay", "saved", "scenarios",
    "tasks", "told",
]  # fmt: skip
