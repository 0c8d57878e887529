"""Run it at full speed: threads, processes or tasks on one database, and the audit after it.

    result = load.run(workloads.Increment(50), PerThread, threads=8)
    result.audit.lost

`run` works with threads of this process, `processes.run` with processes, `tasks.run` with tasks
of asyncio. `sandbox` runs in a child process, with a time limit, what may crash or hang;
`comparison` runs several strategies and compares. `trials` measures one strategy or all of them,
those of `peers` too, in child processes, for a given time; `Lab` is a panel for that. Beyond
SQLite: `postgres` is a server of one's own, `sessions` runs two of its connections in every order,
`many_writers` measures it beside SQLite, `replicas` are three nodes of dqlite.
"""

from helpers.load.lab import Lab
from helpers.load.threads import LoadResult, StrategyFactory, UnitError, failure_table, run

__all__ = [
    "Lab", "LoadResult", "StrategyFactory", "UnitError", "comparison", "failure_table",
    "many_writers", "peers", "postgres", "processes", "replicas", "run", "sandbox", "sessions",
    "tasks", "trials",
]  # fmt: skip
