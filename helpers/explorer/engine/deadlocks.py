"""Who waits for whom, in words."""

from __future__ import annotations

from collections.abc import Iterable

from helpers.explorer.engine.actors import Actor


def why_over(actors: Iterable[Actor]) -> str:
    """Why no thread can go on: all are through, or a deadlock and who is in it."""
    stuck = [actor for actor in actors if not actor.done]
    if not stuck:
        return "finished"
    for actor in stuck:
        circle = cycle(actor)
        if circle:
            return f"deadlock: {circle}"
    texts = [why_blocked(actor) for actor in stuck if actor.wants]
    return "deadlock: " + "; ".join(texts or ["nobody can go on"])


def why_blocked(actor: Actor) -> str:
    """What `actor` waits for and who has it, in words; empty if it can go on."""
    if actor.waiting is not None:
        holders, wants = actor.waiting.holders(), "the lock on the database file"
    elif actor.ready is not None and not actor.ready() and not actor.sleeping:
        holders, wants = actor.holders() if actor.holders else (), actor.wants or actor.label
    else:
        return ""
    have = [f"{holder.name} holds {what}" for holder, what in holders if holder is not None]
    return f"{actor.name} waits for {wants}" + (f" ({', '.join(have)})" if have else "")


def cycle(start: Actor) -> str:
    """The circle of threads that wait for one another, in words; empty if there is none."""
    path: list[Actor] = []
    actor: Actor | None = start
    texts: dict[str, str] = {}
    while actor is not None and actor not in path and not actor.done:
        path.append(actor)
        holder = next(iter(_in_the_way_of(actor)), None)
        if holder is None:
            return ""
        wants = "the database file" if actor.waiting is not None else actor.wants
        texts[actor.name] = f"{actor.name} waits for {wants}, which {holder[0].name} holds"
        actor = holder[0]
    if actor is None or actor.done:
        return ""
    members = [member.name for member in path[path.index(actor) :]]
    first = members.index(min(members))
    return ", ".join(texts[name] for name in members[first:] + members[:first])


def _in_the_way_of(actor: Actor) -> list[tuple[Actor, str]]:
    """Those whose locks keep `actor` waiting, threads that wait themselves first."""
    if actor.waiting is not None:
        holders = actor.waiting.holders()
    elif actor.ready is not None and not actor.ready() and actor.holders is not None:
        holders = actor.holders()
    else:
        return []
    others = [(who, what) for who, what in holders if who is not None and who is not actor]
    return [pair for pair in others if not pair[0].done] or others
