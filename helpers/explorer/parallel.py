"""Spread one exploration over the workers of any `concurrent.futures.Executor`.

The tree of schedules is cut into subtrees near its root, in the order of the search; each
is a task. A task travels as bytes (cloudpickle), so that functions written in a notebook
and lambdas can go to other processes and machines. Merged in order, the results are those
of a serial search.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import cloudpickle

from helpers.explorer.engine.confinement import Sharing
from helpers.explorer.program import Program
from helpers.explorer.runner import Runner
from helpers.explorer.search import Node, Search, depth_first, split, starts
from helpers.explorer.tally import Below, Tally

#: Subtrees per worker: enough that the last one to finish does not keep the rest waiting. Where
#: states are merged there is one, for the parts do not know each other's states.
PARTS_PER_WORKER = 16


#: A subtree: how to search it, and the nodes that lead to it.
Root = tuple[Search, list[Node]]


@dataclass(frozen=True)
class Job:
    """What every task needs to know."""

    program: Program
    waiting: str
    step_limit: int
    search: Search
    sharing: Sharing
    until: float  # the time at which to stop, in seconds since the epoch


def spread(tally: Tally, job: Job, executor: Executor) -> Iterator[Tally]:
    """Cut the tree, hand out the parts, merge what comes back; yields after each part."""
    parts = getattr(executor, "_max_workers", None) or os.cpu_count() or 1
    if not job.search.merge:
        parts *= PARTS_PER_WORKER
    # The parts are handed out outside of the `with`: a process that is forked now must not
    # inherit a run in progress.
    with Runner(job.program, job.waiting, job.step_limit, job.search.merge, job.sharing) as runner:
        roots = [
            (search, root)
            for search in starts(job.search, job.program.threads)
            for root in split(runner, search, parts)
        ]
    batches = _batches(roots, parts)
    payload = cloudpickle.dumps(job)
    complete = True
    futures: list[Future[bytes]] = [
        executor.submit(explore_parts, payload, cloudpickle.dumps(batch)) for batch in batches
    ]
    try:
        for number, future in enumerate(futures, start=1):
            part: Tally = cloudpickle.loads(future.result())
            tally.merge(part)
            complete = complete and part.complete
            tally.covered = number / len(futures) if complete else tally.covered
            tally.complete = complete and number == len(futures)
            yield tally
    finally:
        for future in futures:
            future.cancel()


def _batches(roots: list[Root], parts: int) -> list[list[Root]]:
    """Neighbouring subtrees together, so that there are about `parts` tasks."""
    size = max(1, len(roots) // parts)
    return [roots[start : start + size] for start in range(0, len(roots), size)]


def explore_parts(job_bytes: bytes, roots_bytes: bytes) -> bytes:
    """Run every schedule below some roots, until the time is over: what a worker does.

    Takes and returns pickles.
    """
    job: Job = cloudpickle.loads(job_bytes)
    tally = Tally()
    known: dict[object, Below] = {}
    how = (job.waiting, job.step_limit, job.search.merge, job.sharing)
    with Runner(job.program, *how, pinned=True) as runner:
        for search, root in cloudpickle.loads(roots_bytes):
            for _ in depth_first(runner, tally, search, root, known):
                if time.time() > job.until:
                    return _pickled(tally)
    tally.complete = True
    return _pickled(tally)


def _pickled(tally: Tally) -> bytes:
    result: bytes = cloudpickle.dumps(tally)
    return result
