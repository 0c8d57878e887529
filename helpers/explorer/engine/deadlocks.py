"""Who waits for whom, in words."""

from __future__ import annotations

from collections.abc import Iterable

from helpers.explorer.engine.threads import ControlledThread, ThreadState


def why_over(threads: Iterable[ControlledThread]) -> str:
    """Why no thread can go on: all are through, or a deadlock and who is in it."""
    stuck = [thread for thread in threads if not thread.done]
    if not stuck:
        return "finished"
    for thread in stuck:
        circle = cycle(thread)
        if circle:
            return f"deadlock: {circle}"
    texts = [why_blocked(thread) for thread in stuck if thread.next.wants]
    return "deadlock: " + "; ".join(texts or ["nobody can go on"])


def why_blocked(thread: ControlledThread) -> str:
    """What `thread` waits for and who has it, in words; empty if it can go on."""
    coming = thread.next
    if thread.state is ThreadState.WAITING:
        holders, wants = thread.waiting.holders(), "the lock on the database file"
    elif thread.state is ThreadState.PARKED and not thread.can_go_on():
        holders, wants = coming.holders() if coming.holders else (), coming.wants or coming.label
    else:
        return ""
    have = [f"{holder.name} holds {what}" for holder, what in holders if holder is not None]
    return f"{thread.name} waits for {wants}" + (f" ({', '.join(have)})" if have else "")


def cycle(start: ControlledThread) -> str:
    """The circle of threads that wait for one another, in words; empty if there is none."""
    path: list[ControlledThread] = []
    thread: ControlledThread | None = start
    texts: dict[str, str] = {}
    while thread is not None and thread not in path and not thread.done:
        path.append(thread)
        holder = next(iter(_in_the_way_of(thread)), None)
        if holder is None:
            return ""
        waits = thread.state is ThreadState.WAITING
        wants = "the database file" if waits else thread.next.wants
        texts[thread.name] = f"{thread.name} waits for {wants}, which {holder[0].name} holds"
        thread = holder[0]
    if thread is None or thread.done:
        return ""
    members = [member.name for member in path[path.index(thread) :]]
    first = members.index(min(members))
    return ", ".join(texts[name] for name in members[first:] + members[:first])


def _in_the_way_of(thread: ControlledThread) -> list[tuple[ControlledThread, str]]:
    """Those whose locks keep `thread` waiting, threads that wait themselves first."""
    if thread.state is ThreadState.WAITING:
        holders = thread.waiting.holders()
    elif thread.next.holders is not None and not thread.can_go_on():
        holders = thread.next.holders()
    else:
        return []
    others = [(who, what) for who, what in holders if who is not None and who is not thread]
    return [pair for pair in others if not pair[0].done] or others
