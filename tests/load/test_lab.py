"""The lab without a browser: what its widgets say becomes a trial, and runs become a table."""

import asyncio
import csv
import io
import re

import pytest

from helpers.load import Lab
from helpers.strategies import Settings

pytestmark = pytest.mark.usefixtures("nothing_left")


def lab_with(**chosen):
    lab = Lab()
    for name, value in {"seconds": 0.2, "threads": 2, **chosen}.items():
        lab.choices[name].value = value
    return lab


def test_the_widgets_describe_a_trial():
    lab = lab_with(
        strategy="Writer", insert=True, mix=(4, 1), inside=2.0, processes=3, journal="delete",
        synchronous="full", timeout=0.5,
    )  # fmt: skip
    trial = lab.trial
    assert (trial.strategy, trial.threads, trial.processes) == ("Writer", 2, 3)
    assert trial.settings == Settings("delete", "full", 0.5)
    assert (trial.workload.mix, trial.workload.inside, trial.workload.insert) == (
        (4, 1),
        0.002,
        True,
    )


def test_runs_are_kept_drawn_and_exported():
    lab = lab_with()
    lab.start()
    lab.choices["strategy"].value = "StatementLock"
    lab.choices["threads"].value = 8
    lab.start()
    rows = list(csv.DictReader(io.StringIO(lab.csv())))
    assert [row["strategy"] for row in rows] == ["TransactionLock", "StatementLock"]
    assert rows[0]["lost"] == "0"
    assert int(rows[1]["lost"]) > 0
    assert rows[0]["reads:writes"] == "0:1"
    alternatives = re.findall(r'<img [^>]*alt="([^"]+)"', lab._pictures.value)
    assert len(alternatives) == 2
    assert "2 · StatementLock" in alternatives[0]
    assert 'download="runs.csv"' in lab._file.value
    assert repr(lab).endswith("Runs so far: 2.")
    lab.clear()
    assert lab.runs.empty
    assert lab._table.value == lab._file.value == lab._pictures.value == ""


def test_in_an_event_loop_only_the_loop_changes_widgets():
    async def run_and_stop():
        lab = lab_with(seconds=20.0)
        lab.start()
        assert lab._run.disabled
        assert not lab._halt.disabled
        lab.start()  # while one is under way, a second does not begin
        while not lab._bar.value:
            await asyncio.sleep(0.02)
        lab.stop()
        lab.wait()
        shown = lab._status.value  # the thread has ended, and has changed nothing
        await asyncio.sleep(0)
        return lab, shown

    lab, shown = asyncio.run(run_and_stop())
    assert "Running" in shown
    assert "Stopped: nothing was measured" in lab._status.value
    assert lab._halt.disabled
    assert not lab._run.disabled
    assert lab.runs.empty


def test_what_cannot_be_run_is_said():
    lab = lab_with()
    lab.choices["mix"].options = [("none", (0, 0))]
    lab.start()
    assert "This cannot be run: give reads and writes" in lab._status.value
    assert not lab._run.disabled


def test_the_text_is_the_same_in_every_run():
    bundle = Lab()._repr_mimebundle_()
    assert bundle["text/plain"].endswith("Runs so far: 0.")
    assert "application/vnd.jupyter.widget-view+json" in bundle
