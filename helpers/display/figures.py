"""Pictures of what threads did: the timeline, the audit, the errors, and the machine behind them.

Each function returns a `Picture`: a matplotlib figure with alternative text. In a notebook it
shows the figure as PNG with the text as its caption, so that all readers get both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helpers.display.pictures import PALETTE, Picture, Style
from helpers.history import Call, History
from helpers.workloads import Audit

if TYPE_CHECKING:  # it takes most of a second, so it is imported where something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What a legend says of each kind.
_LABELS = {
    "read": "SELECT and fetch",
    "write": "INSERT, UPDATE, DELETE",
    "transaction": "BEGIN, COMMIT, ROLLBACK",
    "other": "connect, close and other calls",
    "error": "the call raised an error",
    "stored": "acknowledged and stored",
    "lost": "acknowledged, then lost",
    "unacknowledged": "unacknowledged, yet stored",
    "damaged": "rows damaged",
    "schedules": "schedules",
    "runs": "runs that count them all",
}
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")
_ENDS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "END")


def kind_of(call: Call) -> str:
    """The entry of `PALETTE` that a call is drawn with, errors aside."""
    word = call.sql.lstrip().split(None, 1)[0].upper().rstrip(";") if call.sql.strip() else ""
    if word in _ENDS:
        return "transaction"
    if word in _WRITES:
        return "write"
    if word in ("SELECT", "WITH", "VALUES") or call.operation.startswith("fetch"):
        return "read"
    return "other"


def timeline(
    history: History,
    title: str = "",
    *,
    window: tuple[float, float] | None = None,
    alt: str = "",
) -> Picture:
    """One lane a thread, one bar a SQL call, a cross where the call raised.

    Args:
        history: the calls to draw.
        title: above the figure.
        window: from and to, in milliseconds since the history began. By default it shows
            all of a short history, and 12 ms around the first error of a long one.
        alt: alternative text; by default a description of the figure without its numbers,
            so that it is the same in every run.

    Raises:
        ValueError: if `history` holds no call, or `window` is empty.
    """
    if not len(history):
        raise ValueError("the history holds no call: run the experiment first")
    start, end = _window(history) if window is None else window
    if not start < end:
        raise ValueError(f"window must run forwards, not from {start} to {end} ms")
    names = [name for name in history.threads if name != "MainThread"] or history.threads
    threads = sorted(names, key=lambda name: (len(name), name))
    calls = [call for call in history if call.ended / 1e6 >= start and call.started / 1e6 <= end]
    figure, axes = _figure(height=1.2 + 0.45 * len(threads))
    for lane, name in enumerate(threads):
        _draw_lane(axes, lane, [call for call in calls if call.thread == name])
    axes.set_yticks(range(len(threads)), threads)
    axes.set_ylim(len(threads) - 0.5, -0.5)
    axes.set_xlim(start, end)
    axes.set_xlabel("milliseconds since the start")
    kinds = {kind_of(call) for call in calls if call.thread in threads}
    failed = any(call.error for call in calls if call.thread in threads)
    shown = [kind for kind in ("read", "write", "transaction", "other") if kind in kinds]
    _finish(figure, axes, title, [*shown, *(["error"] if failed else [])])
    description = f"Timeline of {len(threads)} threads: one lane a thread, one bar a SQL call" + (
        ", a cross where a call raised an error." if failed else "; no call raised an error."
    )
    return Picture(figure, alt or _titled(title, description))


def audit_bars(audits: Mapping[str, Audit], title: str = "", *, alt: str = "") -> Picture:
    """Acknowledged against stored, one bar a run: what was kept, lost, unasked and damaged.

    Args:
        audits: label -> audit, drawn from top to bottom; "before" and "after", say.
        title: above the figure.
        alt: alternative text; by default it says for each label whether the audit holds.

    Raises:
        ValueError: if there is no audit.
    """
    if not audits:
        raise ValueError("there is no audit to draw: give at least one label with its audit")
    figure, axes = _figure(height=1.3 + 0.5 * len(audits))
    parts = ("stored", "lost", "unacknowledged", "damaged")
    widest = max(sum(getattr(audit, part) for part in parts) for audit in audits.values()) or 1
    room = 1.03
    for lane, audit in enumerate(audits.values()):
        left, narrow = 0, []
        for part in parts:
            count = getattr(audit, part)
            axes.barh(lane, count, left=left, height=0.6, **_fill(part))
            left += count
            if count > widest / 20:
                _number(axes, left - count / 2, lane, count)
            elif count:
                narrow.append(f"{count} {part}")
        if narrow:
            room = 1.3
        axes.annotate(
            ", ".join(narrow), (left, lane), (6, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, widest * room)
    axes.set_yticks(range(len(audits)), list(audits))
    axes.set_ylim(len(audits) - 0.5, -0.5)
    axes.set_xlabel("units of work")
    present = [p for p in parts if any(getattr(audit, p) for audit in audits.values())]
    _finish(figure, axes, title, present)
    verdicts = "; ".join(
        f"{label}, {'every promise kept' if audit.holds else 'work lost or damaged'}"
        for label, audit in audits.items()
    )
    return Picture(figure, alt or _titled(title, f"Bars of units of work: {verdicts}."))


def error_bars(errors: Any, title: str = "", *, alt: str = "") -> Picture:
    """How often each error was seen: one bar a message, the most frequent on top.

    Args:
        errors: a data frame with columns ``error``, ``message`` and ``count``, as
            `LoadResult.errors` and `History.errors` return.
        title: above the figure.
        alt: alternative text; by default without the numbers.
    """
    counts: dict[str, int] = {}
    for error, message, count in zip(
        errors["error"], errors["message"], errors["count"], strict=True
    ):
        label = _wrap(f"{error}: {message}")
        counts[label] = counts.get(label, 0) + int(count)
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    lines = sum(1 + label.count("\n") for label, _ in ordered)
    figure, axes = _figure(height=1.1 + 0.34 * max(lines, 2))
    for lane, (_, count) in enumerate(ordered):
        axes.barh(lane, count, height=0.6, **_fill("error"))
        axes.plot(count, lane, linestyle="none", **_mark("error"))
        axes.annotate(str(count), (count, lane), (9, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(ordered)), [label for label, _ in ordered], fontsize=8)
    axes.set_ylim(max(len(ordered), 1) - 0.5, -0.5)
    axes.set_xlim(0, max([count for _, count in ordered], default=1) * 1.15)
    axes.set_xlabel("times raised")
    _finish(figure, axes, title, [])
    return Picture(figure, alt or _titled(title, "Bars: how often each error message was raised."))


def schedule_bars(
    counts: Mapping[str, tuple[int, int]], title: str = "", *, alt: str = ""
) -> Picture:
    """How many schedules programs have, on a logarithmic scale, and the runs that count them.

    Args:
        counts: label -> schedules and runs, drawn from top to bottom.
        title: above the figure.
        alt: alternative text; by default it gives the numbers.

    Raises:
        ValueError: if there is nothing to draw, or a number is less than 1.
    """
    if not counts or any(number < 1 for pair in counts.values() for number in pair):
        raise ValueError("give at least one label with two numbers, both 1 or more")
    figure, axes = _figure(height=1.4 + 0.5 * len(counts))
    for lane, pair in enumerate(counts.values()):
        for offset, kind, number in zip((-0.19, 0.19), ("schedules", "runs"), pair, strict=True):
            axes.barh(lane + offset, number, height=0.36, **_fill(kind))
            axes.annotate(
                f"{number:,}", (number, lane + offset), (4, 0),
                textcoords="offset points", va="center", fontsize=9,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(1, 6 * max(number for pair in counts.values() for number in pair))
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xlabel("logarithmic")
    _finish(figure, axes, title, ["schedules", "runs"])
    numbers = "; ".join(f"{label}: {all_} and {few}" for label, (all_, few) in counts.items())
    return Picture(figure, alt or _titled(title, f"Bars of schedules and runs: {numbers}."))


def machine(
    threads: Mapping[str, str],
    connections: Mapping[str, str],
    file: str,
    title: str = "",
    *,
    alt: str = "",
) -> Picture:
    """The picture behind every experiment: thread -> connection -> transaction -> lock on the file.

    Args:
        threads: thread name -> name of the connection it uses.
        connections: connection name -> the state of its one transaction, in a few words.
        file: the lock on the database file, in a few words.
        title: above the figure.
        alt: alternative text; by default the whole picture in words.

    Raises:
        ValueError: if a thread uses a connection that is not in `connections`.
    """
    missing = sorted(set(threads.values()) - set(connections))
    if missing:
        raise ValueError(f"threads use connections that are not drawn: {', '.join(missing)}")
    rows = max(len(threads), len(connections))
    figure, axes = _figure(height=0.9 + 0.8 * rows)
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(rows, -0.45)
    left = {name: _spread(i, len(threads), rows) for i, name in enumerate(threads)}
    middle = {name: _spread(i, len(connections), rows) for i, name in enumerate(connections)}
    for x, text in ((0.9, "thread"), (4.35, "connection and its transaction"), (8.65, "file")):
        axes.text(x, -0.3, text, ha="center", color="#555555", fontsize=9)
    for name, y in left.items():
        _box(axes, 0.9, y, 1.3, name, PALETTE["read"])
    for name, y in middle.items():
        _box(axes, 4.35, y, 3.3, f"{name}\n{connections[name]}", PALETTE["transaction"])
        _arrow(axes, (6.05, y), (7.35, rows / 2))
    for name, connection in threads.items():
        _arrow(axes, (1.6, left[name]), (2.65, middle[connection]))
    _box(axes, 8.65, rows / 2, 2.5, f"database file\n{file}", PALETTE["other"])
    _finish(figure, axes, title, [])
    uses = ", ".join(f"{thread} uses {connection}" for thread, connection in threads.items())
    states = ", ".join(f"{name} has {state}" for name, state in connections.items())
    return Picture(figure, alt or _titled(title, f"{uses}; {states}; the file: {file}."))


# -- drawing -----------------------------------------------------------------------------


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, height), layout="constrained")
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes, title: str, kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if title:
        axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Line2D([], [], linestyle="none", label=_LABELS[kind], **_mark(kind))
        if PALETTE[kind].marker
        else Patch(label=_LABELS[kind], **_fill(kind))
        for kind in kinds
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)


def _fill(kind: str) -> dict[str, Any]:
    style = PALETTE[kind]
    return {
        "facecolor": style.color,
        "hatch": style.hatch,
        "edgecolor": "white" if style.hatch else style.color,
        "linewidth": 0,
    }


def _mark(kind: str) -> dict[str, Any]:
    style = PALETTE[kind]
    return {
        "marker": style.marker,
        "color": style.color,
        "markersize": 9,
        "markeredgecolor": "white",
    }


def _window(history: History) -> tuple[float, float]:
    workers = [call for call in history if call.thread != "MainThread"] or list(history)
    start = min(call.started for call in workers) / 1e6
    end = max(call.ended for call in workers) / 1e6
    margin = (end - start) * 0.01 or 0.01
    failed = next((call for call in workers if call.error), None)
    if end - start <= 20:
        return start - margin, end + margin
    middle = failed.ended / 1e6 if failed else start + 6
    return max(start, middle - 6), middle + 6


def _draw_lane(axes: Axes, lane: int, calls: Sequence[Call]) -> None:
    for kind in dict.fromkeys(kind_of(call) for call in calls):
        spans = [
            (call.started / 1e6, max(call.milliseconds, 0.005))
            for call in calls
            if kind_of(call) == kind
        ]
        axes.broken_barh(spans, (lane - 0.3, 0.6), **_fill(kind))
    failures = [call.ended / 1e6 for call in calls if call.error]
    axes.plot(failures, [lane] * len(failures), linestyle="none", zorder=3, **_mark("error"))


def _number(axes: Axes, x: float, y: float, count: int) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.9}
    axes.text(x, y, str(count), ha="center", va="center", fontsize=9, bbox=box)


def _spread(index: int, count: int, rows: int) -> float:
    return (index + 0.5) * rows / count


def _box(axes: Axes, x: float, y: float, width: float, text: str, style: Style) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.27),
            width,
            0.54,
            boxstyle="round,pad=0.06",
            facecolor="white",
            edgecolor=style.color,
            linewidth=2,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.4)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="#555555")
    )


def _wrap(text: str, width: int = 44) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:3])


def _titled(title: str, text: str) -> str:
    return f"{title}. {text}" if title else text
