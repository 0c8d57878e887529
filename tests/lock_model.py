"""SQLite's locks on paper: counts schedules without threads and without SQLite.

A program is a list of threads; a thread is a list of letters: ``b`` BEGIN, ``i`` BEGIN
IMMEDIATE, ``s`` SELECT, ``u`` UPDATE, ``c`` COMMIT. A thread that meets an error goes on with
``x``, a close that rolls back, if a transaction is open. The rules are those of
https://www.sqlite.org/lockingv3.html and https://www.sqlite.org/wal.html, written down
independently of the explorer, whose counts must agree.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

NONE, SHARED, RESERVED, PENDING = range(4)


@dataclass(frozen=True)
class Thread:
    todo: str
    open: bool = False
    lock: int = NONE
    snapshot: int = -1  # WAL: the version it reads
    phase: int = 0  # 1: the UPDATE is done and wants to commit by itself
    since: int = -1  # the step in which it began to wait
    failed: bool = False


State = tuple[tuple[Thread, ...], int]  # threads, version of the database


def count(program: list[str], mode: str) -> Counter[tuple[bool, ...]]:
    """Schedules by which threads end with an error."""
    found: Counter[tuple[bool, ...]] = Counter()
    step = _step_wal if mode == "wal" else _step_delete
    todo = [((tuple(Thread(ops) for ops in program), 0), 0)]
    while todo:
        state, depth = todo.pop()
        following = _following(state, depth, step)
        if not following:
            assert all(not thread.todo for thread in state[0])
            found[tuple(thread.failed for thread in state[0])] += 1
        todo.extend((state, depth + 1) for state in following)
    return found


def _following(state: State, depth: int, step) -> list[State]:
    threads, _ = state
    following = []
    for index, thread in enumerate(threads):
        if thread.todo:
            after, result = step(state, index)
            if result == "waits":
                # A first attempt is a step; a retry is one only if it got further.
                moved = replace(after[0][index], since=-1) != replace(thread, since=-1)
                if thread.since < 0 or moved:
                    since = depth if thread.since < 0 else thread.since
                    following.append(_with(after, index, replace(after[0][index], since=since)))
            else:
                following.append(after if result == "ok" else _fail(state, index))
    if not following:
        waiting = [i for i, thread in enumerate(threads) if thread.todo]
        if waiting:
            following = [_fail(state, min(waiting, key=lambda i: threads[i].since))]
    return following


def _with(state: State, index: int, thread: Thread, commits: int = 0) -> State:
    threads, version = state
    return (*threads[:index], thread, *threads[index + 1 :]), version + commits


def _fail(state: State, index: int) -> State:
    thread = state[0][index]
    ends = thread.open
    lock = thread.lock if ends else NONE
    return _with(
        state,
        index,
        replace(thread, todo="x" if ends else "", lock=lock, failed=True, since=-1, phase=0),
    )


def _step_delete(state: State, index: int) -> tuple[State, str]:
    thread = state[0][index]
    others = [other.lock for i, other in enumerate(state[0]) if i != index]
    op, rest = thread.todo[0], thread.todo[1:]
    done = replace(thread, todo=rest, since=-1, phase=0)
    if op == "b":
        return _with(state, index, replace(done, open=True)), "ok"
    if op == "x" or (op == "c" and thread.lock < RESERVED):
        return _with(state, index, replace(done, open=False, lock=NONE)), "ok"
    if op == "s":
        if thread.lock == NONE and max(others) >= PENDING:
            return state, "waits"
        return _with(state, index, replace(done, lock=max(thread.lock, int(thread.open)))), "ok"
    if op in "iu" and not thread.phase and thread.lock < RESERVED:
        if max(others) >= RESERVED:
            return state, "waits" if thread.lock == NONE else "busy"
        if op == "i" or thread.open:
            return _with(state, index, replace(done, open=True, lock=RESERVED)), "ok"
    elif op == "u" and thread.open:
        return _with(state, index, done), "ok"
    if max(others) >= SHARED:  # a commit, or an UPDATE that commits by itself
        return _with(state, index, replace(thread, lock=PENDING, phase=1)), "waits"
    return _with(state, index, replace(done, open=False, lock=NONE)), "ok"


def _step_wal(state: State, index: int) -> tuple[State, str]:
    thread, version = state[0][index], state[1]
    others = [other.lock for i, other in enumerate(state[0]) if i != index]
    op, rest = thread.todo[0], thread.todo[1:]
    done = replace(thread, todo=rest, since=-1)
    if op == "b":
        return _with(state, index, replace(done, open=True)), "ok"
    if op in "cx":
        commits = int(op == "c" and thread.lock == RESERVED)
        gone = replace(done, open=False, lock=NONE, snapshot=-1)
        return _with(state, index, gone, commits), "ok"
    reads = version if thread.snapshot < 0 else thread.snapshot
    if op == "s":
        return _with(state, index, replace(done, snapshot=reads if thread.open else -1)), "ok"
    if thread.lock == RESERVED:
        return _with(state, index, done), "ok"
    if max(others) == RESERVED or reads != version:
        return state, "waits" if thread.snapshot < 0 else "busy"
    if op == "i" or thread.open:
        return _with(state, index, replace(done, open=True, lock=RESERVED, snapshot=reads)), "ok"
    return _with(state, index, done, 1), "ok"
