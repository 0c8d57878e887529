"""Several ways side by side: what each lost, what its threads saw, how fast, how long a wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from helpers.load.sandbox import SandboxResult
from helpers.load.threads import LoadResult
from helpers.workloads import Cancelled

if TYPE_CHECKING:
    import pandas as pd

#: Columns of `table`.
TABLE_COLUMNS = [
    "runs", "of which broken", "ended", "acknowledged", "lost", "leaked",
    "errors", "units/s", "longest wait, ms",
]  # fmt: skip


def table(runs: Mapping[str, Sequence[LoadResult | SandboxResult]]) -> pd.DataFrame:
    """One row per variant, its runs added up; the index is called ``variant``.

    A run is broken when a unit of work raised, a thread hung, the process crashed, or the
    audit does not hold. A unit that raised `Cancelled` gave up on purpose, which is no error.
    ``leaked`` counts units that raised and are stored all the same; ``units/s`` counts
    acknowledged units only. A process that crashed or hung tells nothing else than that; the
    column ``ended`` says so.

    Args:
        runs: variant -> results of `load.run` or `sandbox.run_load`, one or more each.

    Raises:
        ValueError: for a variant without runs.
    """
    import pandas as pd

    empty = [name for name, results in runs.items() if not results]
    if empty:
        raise ValueError(f"there are no runs of {', '.join(empty)}: give at least one of each")
    rows = [_row(results) for results in runs.values()]
    return pd.DataFrame(rows, columns=TABLE_COLUMNS, index=list(runs)).rename_axis("variant")


def is_broken(result: LoadResult | SandboxResult) -> bool:
    """Whether a run lost something, raised, hung or crashed."""
    run = _load(result)
    return run is None or bool(run.hung or _errors(run) or not run.audit or not run.audit.holds)


def _errors(run: LoadResult) -> int:
    """How many units raised, those apart that gave up on purpose."""
    return sum(failure.error.kind != Cancelled.__name__ for failure in run.failures)


def _load(result: LoadResult | SandboxResult) -> LoadResult | None:
    if isinstance(result, LoadResult):
        return result
    run: LoadResult | None = result.value if result.kind == "returned" else None
    return run


def _row(results: Sequence[LoadResult | SandboxResult]) -> tuple[object, ...]:
    loads = [run for run in map(_load, results) if run is not None]
    audits = [run.audit for run in loads if run.audit is not None]
    seconds = sum(run.seconds for run in loads)
    acknowledged = sum(audit.acknowledged for audit in audits)
    waits = [wait for run in loads for wait in run.longest_wait.values()]
    return (
        len(results),
        sum(map(is_broken, results)),
        _ended(results),
        acknowledged,
        sum(audit.lost for audit in audits),
        sum(audit.unacknowledged for audit in audits),
        sum(map(_errors, loads)),
        round(acknowledged / seconds) if seconds else 0,
        round(max(waits, default=0.0) * 1e3),
    )


def _ended(results: Sequence[LoadResult | SandboxResult]) -> str:
    """How the runs ended, in words: ``"to the end"``, or what became of the others."""
    words: list[str] = []
    for result in results:
        run = _load(result)
        if isinstance(result, SandboxResult) and run is None:
            words.append(result.signal or result.kind)
        elif run is not None and run.hung:
            words.append("a thread hung")
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return ", ".join(f"{count} × {word}" for word, count in counts.items()) or "to the end"
