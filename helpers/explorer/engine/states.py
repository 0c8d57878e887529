"""The state of a run, as a key: two runs that have come to equal keys go on alike.

What a thread will do next depends on what its calls returned; what these return depends on the
order of the steps that touch something in common, not on that of independent ones (Mazurkiewicz,
Concurrent program schemes and their interpretations, 1977). So the key holds each thread's calls
with their results, for each shared resource the order of its uses, and what the scheduler itself
remembers. What was done to the file before a moment in which nobody had a transaction counts by
the content that it left. A wait that is over is left out: the call that waited counts where it
was completed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b

from helpers.explorer.engine.scheduler import Scheduler
from helpers.explorer.engine.threads import ControlledThread, ThreadState


class CannotMerge(RuntimeError):
    """The threads share what no step shows: equal keys do not mean equal states."""


#: Resources whose past is told by the content of the file, once nobody has a lock on it.
_OF_THE_FILE = {"file", "write lock"}

#: A use of a resource: thread, number of its call.
Use = tuple[str, int]


def settled(run: Scheduler) -> bytes | None:
    """The content of the database, if nothing else of it matters now; None otherwise.

    Where no connection has a transaction or a lock and no thread waits, what was done to the file
    before matters by its content only. In WAL mode a connection that was used keeps a lock that
    only the change of that mode meets. Left out of the content are the counters of changes in its
    header (SQLite: `Database File Format`, 1.3).
    """
    if run.elsewhere or any(thread.waiting for thread in run.threads.values()):
        return None
    states = {connection.state() for connection in run.connections}
    if not states <= ({(0, 0), (0, 1)} if run.is_wal else {(0, 0)}):
        return None
    content = _content(run.path)
    if bytes(content[18:20]) != (b"\2\2" if run.is_wal else b"\1\1"):
        return None
    content[24:28], content[92:100] = bytes(4), bytes(8)
    return blake2b(content, digest_size=16).digest()


def _content(path: str) -> bytearray:
    """The pages of the file, those that are in its WAL as they are there (the same, 4.1, 4.2)."""
    with open(path, "rb", buffering=0) as file:
        content = bytearray(file.read())
    try:
        with open(f"{path}-wal", "rb", buffering=0) as file:
            wal = file.read()
    except FileNotFoundError:
        return content
    size, salts = int.from_bytes(wal[8:12], "big"), wal[16:24]
    written: dict[int, int] = {}
    committed: dict[int, int] = {}
    pages = 0
    for frame in range(32, len(wal), 24 + size):
        if wal[frame + 8 : frame + 16] != salts:
            break  # of an earlier round
        written[int.from_bytes(wal[frame : frame + 4], "big") - 1] = frame + 24
        if after := int.from_bytes(wal[frame + 4 : frame + 8], "big"):  # a commit
            pages = after
            committed |= written
            written = {}
    if not committed:
        return content
    content = content[: pages * size].ljust(pages * size, b"\0")
    for page, at in committed.items():
        if page < pages:  # it may have become smaller since
            content[page * size : (page + 1) * size] = wal[at : at + size]
    return content


def keys_of(run: Scheduler, settled_at: int, content: bytes | None) -> list[bytes]:
    """The keys of the state in which `run` is between two steps; needs `Scheduler.track`.

    One by the order of all uses, and one by `content`, if there is any, and the uses since then.

    Args:
        run: what has come to that state.
        settled_at: the number of steps after which it was last `settled`.
        content: its content then, None if it never was.

    Raises:
        CannotMerge: if the threads have been found to share something else.
    """
    if run.shares:
        raise CannotMerge(run.shares)
    if any(connection.commits_later() for connection in run.connections):
        raise CannotMerge("a statement that commits when its last row is read")
    stands = [_stand(run, thread) for thread in run.threads.values()]
    calls, uses, later = _past(run, settled_at)
    now = (_patient(run.threads.values()), run.cycles[:1], run.clock, sorted(run.tried))
    known = repr((calls, stands, now, run.numbered)).encode()
    found = [_key(known, uses, b"")]
    return found if content is None else [*found, _key(known, later, content)]


def _key(known: bytes, uses: dict[str, _Uses], content: bytes) -> bytes:
    order = sorted((resource, order.key()) for resource, order in uses.items())
    return blake2b(known + repr((order, content)).encode(), digest_size=16).digest()


def _past(run: Scheduler, settled_at: int) -> tuple[object, dict[str, _Uses], dict[str, _Uses]]:
    """What each thread's calls have told it, and in which order shared resources were used.

    The order twice: of all uses, and without those of the file before step `settled_at`.
    """
    began = {name: thread.since for name, thread in run.threads.items() if thread.waiting}
    calls: dict[str, list[object]] = {name: [] for name in run.threads}
    uses: defaultdict[str, _Uses] = defaultdict(_Uses)
    later: defaultdict[str, _Uses] = defaultdict(_Uses)
    for number, step in enumerate(run.steps):
        if step.outcome == "waits" and number + 1 < began.get(step.thread, len(run.steps) + 1):
            continue  # the wait is over
        told = (step.label, step.outcome, step.result, step.error, step.counted)
        calls[step.thread].append(told)
        use = step.thread, len(calls[step.thread])
        everything = step.touched.get("everything", "r")
        for resource, mode in (*step.touched.items(), ("everything", everything)):
            uses[resource].add(use, mode)
            if number >= settled_at or resource not in _OF_THE_FILE:
                later[resource].add(use, mode)
    return calls, uses, later


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
    stands = (thread.name, thread.label, thread.state.name)
    if thread.state is not ThreadState.WAITING:
        return (*stands, thread.next.timeout, thread.can_go_on())
    return (*stands, thread.phase, len(run.steps) > thread.attempted, thread.in_the_way)


def _patient(threads: Iterable[ControlledThread]) -> list[tuple[str, float]]:
    """Those whose wait may expire, in the order in which it would."""
    patient = [t for t in threads if not t.done and (t.waiting or t.next.timeout is not None)]
    patient.sort(key=lambda thread: (thread.until, thread.since))
    return [(thread.name, thread.until) for thread in patient]
