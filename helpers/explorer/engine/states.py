"""The state of a run, as a key: two runs that have come to equal keys go on alike.

What a thread will do next depends on what its calls returned; what these return depends on the
order of the steps that touch something in common, not on that of independent ones (Mazurkiewicz
1977, `Trace theory`). So the key holds each thread's calls with their results, for each shared
resource the order of its uses, and what the scheduler itself remembers. A wait that is over is
left out: the call that waited counts where it was completed.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ControlledThread


class CannotMerge(RuntimeError):
    """The threads share what no step shows: equal keys do not mean equal states."""


#: A use of a resource: thread, number of its call.
Use = tuple[str, int]


def state_of(run: Scheduler) -> bytes:
    """The key of the state in which `run` is between two steps; needs `Scheduler.track`.

    Raises:
        CannotMerge: if the threads have been found to share something else.
    """
    if run.shares:
        raise CannotMerge(run.shares)
    if any(connection.commits_later() for connection in run.connections):
        raise CannotMerge("a statement that commits when its last row is read")
    since = {name: thread.since for name, thread in run.threads.items() if thread.waiting}
    calls: dict[str, list[object]] = {name: [] for name in run.threads}
    uses: dict[str, _Uses] = {}
    for number, step in enumerate(run.steps):
        if step.outcome == "waits" and number + 1 < since.get(step.thread, len(run.steps) + 1):
            continue  # the wait is over
        calls[step.thread].append((step.label, step.outcome, step.result, step.error))
        use = step.thread, len(calls[step.thread])
        everything = step.touched.get("everything", "r")
        for resource, mode in (*step.touched.items(), ("everything", everything)):
            uses.setdefault(resource, _Uses()).add(use, mode)
    stands = [_stand(run, thread) for thread in run.threads.values()]
    orders = sorted((resource, order.key()) for resource, order in uses.items())
    key = (calls, orders, stands, _patient(run.threads.values()), run.cycles[:1], run.clock)
    return blake2b(repr((*key, run.numbered, sorted(run.tried))).encode(), digest_size=16).digest()


class _Uses:
    """The uses of one resource: those that change it in order, between them sets of readers."""

    def __init__(self) -> None:
        self.order: list[tuple[str, list[Use]]] = []

    def add(self, use: Use, mode: str) -> None:
        if mode == "r" and self.order and self.order[-1][0] == "r":
            self.order[-1][1].append(use)
        else:
            self.order.append((mode, [use]))

    def key(self) -> list[tuple[str, list[Use]]]:
        return [(mode, sorted(uses)) for mode, uses in self.order]


def _stand(run: Scheduler, thread: ControlledThread) -> tuple[object, ...]:
    """Where a thread stands, and whether it could go on."""
    if thread.done:
        return (thread.name, thread.end)
    if thread.waiting is None:
        can = thread.ready is None or thread.ready()
        return (thread.name, thread.label, thread.sleeping, thread.timeout, can)
    moved = len(run.steps) > thread.attempted
    return (thread.name, thread.label, thread.phase, thread.retrying, moved, thread.in_the_way)


def _patient(threads: Iterable[ControlledThread]) -> list[tuple[str, float]]:
    """Those whose wait may expire, in the order in which it would."""
    patient = [t for t in threads if not t.done and (t.waiting or t.timeout is not None)]
    patient.sort(key=lambda thread: (thread.until, thread.since))
    return [(thread.name, thread.until) for thread in patient]
