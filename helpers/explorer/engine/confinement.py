"""Thread confinement: what one thread made and no other uses yet needs no steps.

A lock, or a connection that any thread may use, counts as confined to the thread that made it
until another thread uses it; from then on it is shared. That other use could not have come
before the maker's last confined one if the maker has taken a step in between: else it would be
seen to come before that step in another schedule. If the maker has taken none, the run is given
up, the thing is remembered as shared from the start (`Sharing.found`), and the exploration
begins anew. So nothing is overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from helpers.explorer.program import Program

if TYPE_CHECKING:
    from helpers.explorer.engine.scheduler import Scheduler
    from helpers.explorer.engine.threads import ControlledThread


@dataclass
class Sharing:
    """What runs of a program have shown about what its threads share.

    Attributes:
        lends: whether what a pool lends to a thread is used by that thread alone, see
            `helpers.explorer.steps.pools`; None: not tried yet.
        found: locks and connections that one thread made and another used too early.
        beside: what the threads share that no step shows; then states are not merged, and it
            matters that a thread may start late, see `helpers.explorer.steps.discovery`; None:
            not looked for yet.
        unclear: what was found later and keeps states from being merged.
    """

    lends: bool | None = None
    found: set[str] = field(default_factory=set)
    beside: str | None = None
    unclear: str = ""


_known: WeakKeyDictionary[Program, Sharing] = WeakKeyDictionary()


def sharing_of(program: Program) -> Sharing:
    """What is known of `program` in this process, to be added to."""
    return _known.setdefault(program, Sharing())


class FoundShared(RuntimeError):
    """Another thread used what had counted as confined to one; explore or replay it again."""

    def __init__(self, thing: str) -> None:
        super().__init__(thing)
        self.thing = thing


class LentToAnother(RuntimeError):
    """A thread used a connection that another thread has checked out of a pool."""

    def __init__(self, connection: int, borrower: str, user: str) -> None:
        super().__init__(connection, borrower, user)

    def __str__(self) -> str:
        connection, borrower, user = self.args
        return (
            f"{user} used connection {connection}, which {borrower} had checked out of the pool: "
            "the threads share it. Explore the program again: its connections now count as shared"
        )


class Confined:
    """The mark of a thing that counts as confined to the thread that made it."""

    __slots__ = ("maker", "thing", "used_at")

    def __init__(self, maker: ControlledThread, thing: str) -> None:
        self.maker = maker
        self.thing = thing
        self.used_at = -1  # how many steps the maker had taken at its last use

    def ends(self, run: Scheduler) -> bool:
        """Whether it is shared from now on, for the calling thread did not make it.

        Raises:
            Cancelled: the run is given up, with `FoundShared`.
        """
        user = run.me()
        if user is self.maker:
            return False
        # The thread that closes what `Program.share` returned begins when all others have ended.
        if user is not None and not user.is_last and self.maker.taken == self.used_at:
            raise run.give_up(FoundShared(self.thing))
        return True

    def note(self) -> None:
        """The maker has used it, and not in a step of its own."""
        self.used_at = self.maker.taken


def confined(run: Scheduler, kind: str) -> Confined | None:
    """The mark of a `kind` of thing being made by the calling thread; None if it is shared.

    Things go by the name of their maker and a number, so that they can be told in every run.
    """
    maker = run.me()
    if maker is None:
        return None
    thing = f"{kind} {run.number(f'{kind} of {maker.name}')} of {maker.name}"
    return None if thing in run.found_shared else Confined(maker, thing)
