"""Pictures: they show what happened, in colours and marks that everyone can tell apart."""

import itertools
from contextlib import closing

import pytest
from matplotlib import colors

from helpers.display import figures
from helpers.display.pictures import PALETTE
from helpers.history import Call, CallError, History
from helpers.workloads import Audit

MS = 1_000_000


def call(thread, sql, start, end, error=None, operation="execute"):
    return Call(thread, 1, operation, sql, (), start * MS, end * MS, None, error)


@pytest.fixture
def history():
    history = History()
    locked = CallError("OperationalError", "database is locked", "SQLITE_BUSY")
    for entry in [
        call("MainThread", "", 0, 1, operation="connect"),
        call("T2", "SELECT 1", 2, 3),
        call("T1", "UPDATE t SET a = 1", 2, 4),
        call("T1", "COMMIT", 4, 6, operation="commit"),
        call("T2", "UPDATE t SET a = 2", 4, 7, error=locked),
    ]:
        history.add(entry)
    return history


def linear(rgb):
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]


#: Machado, Oliveira and Fernandes 2009, severity 1.0: what a colour looks like without one cone.
BLINDNESS = {
    "normal": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
    "protanopia": [
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ],
    "deuteranopia": [
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ],
    "tritanopia": [
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ],
}


@pytest.mark.parametrize("matrix", BLINDNESS.values(), ids=BLINDNESS)
@pytest.mark.parametrize(
    "together",
    [("read", "write", "transaction", "error"), ("stored", "lost", "unacknowledged", "damaged")],
)
def test_kinds_drawn_together_differ_under_every_colour_blindness(together, matrix):
    def seen(kind):
        rgb = linear(colors.to_rgb(PALETTE[kind].color))
        return [sum(a * b for a, b in zip(row, rgb, strict=True)) for row in matrix]

    for one, two in itertools.combinations(together, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen(one), seen(two), strict=True)) ** 0.5
        assert distance > 0.1, (one, two)


@pytest.mark.parametrize(
    "together",
    [
        ("read", "write", "transaction", "other", "error"),
        ("stored", "lost", "unacknowledged", "damaged"),
    ],
)
def test_kinds_drawn_together_have_a_second_cue(together):
    cues = [(PALETTE[kind].hatch, PALETTE[kind].marker) for kind in together]
    assert len(set(cues)) == len(cues)


def test_the_timeline_has_a_lane_per_thread_and_a_cross_per_error(history):
    picture = figures.timeline(history, "Two writers")
    (axes,) = picture.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["T1", "T2"]
    crosses = [line for line in axes.lines if len(line.get_xdata())]
    assert [(list(c.get_xdata()), list(c.get_ydata())) for c in crosses] == [([7.0], [1])]
    assert sum(len(c.get_paths()) for c in axes.collections) == 4
    legend = [text.get_text() for text in picture.figure.legends[0].texts]
    assert "the call raised an error" in legend
    assert picture.alt == (
        "Two writers. Timeline of 2 threads: one lane a thread, one bar a SQL call, "
        "a cross where a call raised an error."
    )


def test_a_long_history_is_shown_around_its_first_error(history):
    for start in range(10, 400, 2):
        history.add(call("T1", "SELECT 1", start, start + 1))
    (axes,) = figures.timeline(history).figure.axes
    left, right = axes.get_xlim()
    assert left <= 7 <= right
    assert right - left <= 12.01


def test_the_window_can_be_chosen_and_must_run_forwards(history):
    (axes,) = figures.timeline(history, window=(2, 5)).figure.axes
    assert axes.get_xlim() == (2, 5)
    with pytest.raises(ValueError, match="window must run forwards, not from 5 to 2"):
        figures.timeline(history, window=(5, 2))


def test_an_empty_history_says_what_to_do():
    with pytest.raises(ValueError, match="run the experiment first"):
        figures.timeline(History())


def test_the_audit_bars_show_every_part_and_say_whether_it_holds():
    picture = figures.audit_bars({"before": Audit(100, 60, 3), "after": Audit(100, 100)})
    (axes,) = picture.figure.axes
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == [60, 40, 3, 0, 100, 0, 0, 0]
    texts = [text.get_text() for text in axes.texts]
    assert {"60", "40", "3 unacknowledged", "100"} <= set(texts)
    assert "before, work lost or damaged; after, every promise kept" in picture.alt


def test_the_audit_bars_need_an_audit():
    with pytest.raises(ValueError, match="at least one label"):
        figures.audit_bars({})


def test_the_error_bars_add_equal_messages_and_put_the_most_frequent_on_top(history):
    for _ in range(2):
        history.add(call("T3", "COMMIT", 8, 9, error=CallError("SystemError", "returned NULL", "")))
    (axes,) = figures.error_bars(history.errors()).figure.axes
    assert [patch.get_width() for patch in axes.patches] == [2, 1]
    assert axes.get_yticklabels()[0].get_text() == "SystemError: returned NULL"


def test_no_errors_make_an_empty_picture_and_not_an_exception():
    assert figures.error_bars(History().errors()).png().startswith(b"\x89PNG")


def test_schedule_bars_draw_both_numbers_and_say_them():
    picture = figures.schedule_bars({"two threads": (70, 8), "three": (31830, 87)}, "Growth")
    (axes,) = picture.figure.axes
    assert [patch.get_width() for patch in axes.patches] == [70, 8, 31830, 87]
    assert axes.get_xscale() == "log"
    assert "two threads: 70 and 8; three: 31830 and 87" in picture.alt
    assert picture.png().startswith(b"\x89PNG")


@pytest.mark.parametrize("counts", [{}, {"none": (0, 1)}])
def test_schedule_bars_need_numbers(counts):
    with pytest.raises(ValueError, match="1 or more"):
        figures.schedule_bars(counts)


def test_the_machine_says_the_whole_picture_in_words():
    picture = figures.machine(
        {"T1": "connection 1", "T2": "connection 1"},
        {"connection 1": "one transaction"},
        "RESERVED",
    )
    assert picture.alt == (
        "T1 uses connection 1, T2 uses connection 1; connection 1 has one transaction; "
        "the file: RESERVED."
    )
    with pytest.raises(ValueError, match="not drawn: connection 2"):
        figures.machine({"T1": "connection 2"}, {"connection 1": "idle"}, "UNLOCKED")


def test_a_picture_is_shown_as_png_with_its_text(history, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw, metadata=None: shown.append((data, metadata))
    )
    picture = figures.timeline(history)
    picture._ipython_display_()
    (image, metadata), (caption, _) = shown
    assert image["image/png"].startswith(b"\x89PNG")
    assert image["text/plain"] == picture.alt
    assert metadata == {"image/png": {"alt": picture.alt}}
    assert caption["text/markdown"] == f"*{picture.alt}*"


@pytest.mark.parametrize(
    ("sql", "operation", "kind"),
    [
        ("select 1", "execute", "read"),
        ("", "fetchall", "read"),
        ("  insert into t values (1)", "execute", "write"),
        ("BEGIN IMMEDIATE", "execute", "transaction"),
        ("COMMIT", "commit", "transaction"),
        ("", "close", "other"),
        ("PRAGMA journal_mode=WAL", "execute", "other"),
    ],
)
def test_calls_are_told_apart(sql, operation, kind):
    assert figures.kind_of(call("T1", sql, 0, 1, operation=operation)) == kind


def test_pictures_of_a_real_history():
    history = History()
    with closing(history.connect(":memory:")) as connection:
        connection.execute("SELECT 1").fetchone()
    assert figures.timeline(history).png().startswith(b"\x89PNG")
