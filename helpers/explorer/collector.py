"""Python's garbage collector, kept out of a run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Collect nothing inside the ``with`` block; what is in no reference cycle goes as always.

    A collection stops every thread, in a notebook kernel for a tenth of a second or more, and
    calls finalizers in whichever thread it happens to be (https://docs.python.org/3/library/gc.html).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
