"""Run it at full speed: threads, processes or tasks on one database, and the audit after it.

    result = load.run(workloads.Increment(50), PerThread, threads=8)
    result.audit.lost

`run` works with threads of this process, `processes.run` with processes, `tasks.run` with tasks
of asyncio. `sandbox` runs in a child process, with a time limit, what may crash or hang;
`comparison` runs several strategies and compares.
"""

from helpers.load.threads import LoadResult, StrategyFactory, UnitError, failure_table, run

__all__ = [
    "LoadResult", "StrategyFactory", "UnitError", "comparison", "failure_table", "processes", "run",
    "sandbox", "tasks",
]  # fmt: skip
