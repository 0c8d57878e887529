"""Which threads will be back in a moment? A group that waits for them is larger.

When a group has been committed, its threads wake up, go on, and most of them soon write again.
If the next group begins at once, it is made up of the others, and two crowds of half the size
take turns. To wait a moment for the first crowd makes one of both: half as many commits, and
the writer is woken once, not in the middle of every unit. PostgreSQL has the like in
``commit_delay`` (https://www.postgresql.org/docs/current/runtime-config-wal.html).
"""

from __future__ import annotations

from collections.abc import Iterable


class Regulars:
    """The threads of the last group, and whether it pays to wait for them.

    If they do not all come in time, the next groups begin at once: first one, then two, four
    and so on, at most `LONGEST`. So where threads come and go, next to nothing is lost.
    """

    #: Seconds that a group waits at most. Sixteen threads are back after about half of it.
    PATIENCE = 0.0005

    #: How many groups begin at once before the first one that waits, and between two at most.
    FIRST, LONGEST = 16, 256

    def __init__(self) -> None:
        self._last: set[int] = set()
        self._at_once = self.FIRST
        self._pause = 1

    def at_once(self) -> bool:
        """Whether the next group does not even ask who is missing; to be called once for each."""
        if self._at_once:
            self._at_once -= 1
            return True
        return False

    def missing(self, threads: Iterable[int]) -> int:
        """How many threads of the last group are not among `threads`, those of the next one."""
        return len(self._last.difference(threads))

    def note(self, came: bool) -> None:
        """All who were missing have come, or not: whether to wait next time."""
        if came:
            self._pause = 1
        else:
            self._at_once = self._pause
            self._pause = min(2 * self._pause, self.LONGEST)

    def remember(self, threads: Iterable[int]) -> None:
        """The threads of the group that is committed now; 0 stands for one that does not wait."""
        self._last = set(threads) - {0}
