"""Exercises: check what a learner wrote, and say what is still wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from helpers import load, sandbox
from helpers.workloads import Cancelled, Workload

#: How many runs a strategy must survive. A lucky run is common; five in a row are not.
RUNS = 5

#: Time limit of one run in seconds: a right strategy needs a tenth of it.
SECONDS = 4.0


@dataclass(frozen=True)
class Verdict:
    """Whether an exercise is solved, and why (not); its text is shown in a notebook."""

    solved: bool
    reason: str

    def __str__(self) -> str:
        return f"{'Solved' if self.solved else 'Not yet'}: {self.reason}"

    def __repr__(self) -> str:
        return str(self)


def check_under_load(
    strategy: load.StrategyFactory, workload: Workload, *, threads: int = 5, runs: int = RUNS
) -> Verdict:
    """Run a learner's strategy in the sandbox until it breaks, `runs` times at most.

    It is solved when every unit of work was acknowledged and stored in every run, units
    that raised `Cancelled` excepted, of which nothing may be stored. That is evidence, not
    proof: for a proof, the explorer tries every order.
    """
    for _ in range(runs):
        result = sandbox.run_load(
            workload, strategy, threads=threads, seconds=SECONDS, stop_on_error=False
        )
        reason = _what_broke(result, threads * workload.units)
        if reason:
            return Verdict(False, reason)
    return Verdict(True, f"{runs} runs of {threads} threads kept every promise")


def _what_broke(result: sandbox.SandboxResult, units: int) -> str:
    """The first thing that is wrong, worded without numbers that differ from run to run."""
    if result.kind != "returned":
        return f"in one of the runs {result}"
    run: load.LoadResult = result.value
    if run.hung:
        return "in one of the runs a thread never came back: is a lock taken and not released?"
    if run.audit is None or not run.audit.holds:
        return "in one of the runs the database does not hold what the threads were told"
    cancelled = [f for f in run.failures if f.error.kind == Cancelled.__name__]
    if len(cancelled) < len(run.failures):
        return "in one of the runs a thread saw an error"
    if run.audit.acknowledged + len(cancelled) < units:
        return "in one of the runs work was left undone at the time limit"
    return ""
