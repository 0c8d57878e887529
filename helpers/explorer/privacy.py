"""What one thread made and only that thread uses is nobody else's business: no steps.

A lock, or a connection that any thread may use, counts as private to the thread that made it
until another thread uses it. Then the run is given up, the thing is remembered as shared
(`Program.found_shared`), and the exploration begins anew. So nothing is overlooked: up to that
first use by another thread, no one could notice when the private steps were taken.

The thread that closes what `Program.share` returned may use everything: all others have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helpers.explorer.actors import Actor
    from helpers.explorer.scheduler import Scheduler


class FoundShared(RuntimeError):
    """Another thread used what had counted as private to one; explore or replay it again."""

    def __init__(self, thing: str) -> None:
        super().__init__(thing)
        self.thing = thing


class Private:
    """The mark of a thing that counts as private to the thread that made it."""

    __slots__ = ("maker", "thing")

    def __init__(self, maker: Actor, thing: str) -> None:
        self.maker = maker
        self.thing = thing

    def check(self, run: Scheduler, user: Actor | None) -> None:
        """Give up `run` if `user`, a thread of the program, is not the one that made it.

        Raises:
            Cancelled: then.
        """
        if user is not self.maker and user is not None and not user.is_last:
            raise run.give_up(FoundShared(self.thing))


def private(run: Scheduler, kind: str) -> Private | None:
    """The mark of a `kind` of thing being made by the calling thread; None if it is shared.

    Things go by the name of their maker and a number, so that they can be told in every run.
    """
    maker = run.me()
    if maker is None:
        return None
    thing = f"{kind} {run.number(f'{kind} of {maker.name}')} of {maker.name}"
    return None if thing in run.found_shared else Private(maker, thing)
