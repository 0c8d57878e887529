"""Real messages from public threads: the cause that the thread found, first or after a question.

``real_errors.jsonl`` has one a line: the message with names and paths taken out, the thread, the
causes that count as right (several where the thread leaves it open), and `facts`: what the
reporter could answer, by the keys of `QUESTIONS`. Causes were written down before any was run.
`part`: "tuned" was looked at while the look-up was built, "kept" was not, "review" was collected
by somebody else.
"""

import json
import re
from pathlib import Path

import pytest

from helpers.failures import QUESTIONS, diagnose, symptoms

PARTS = ("tuned", "kept", "review")
IDS = {entry.id for entry in symptoms.entries()}


def read():
    path = Path(__file__).with_name("real_errors.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


REPORTS = read()


def answered(report):
    """The diagnosis, after its one question where that is needed and the reporter knows."""
    diagnosis = diagnose(report["text"])
    if right(diagnosis, report) or not diagnosis.question:
        return diagnosis
    key = diagnosis.question.key
    known = {key: report["facts"][key]} if key in report["facts"] else {}
    return diagnose(report["text"], **known)


def right(diagnosis, report):
    return bool(diagnosis) and diagnosis.matches[0].entry.id in report["cause"]


def test_every_report_is_complete_and_names_nobody():
    assert len({report["id"] for report in REPORTS}) == len(REPORTS)
    assert len({report["source"] for report in REPORTS}) >= len(REPORTS) - 2
    assert sum(report["part"] != "review" for report in REPORTS) >= 60
    for report in REPORTS:
        assert report["part"] in PARTS
        assert report["source"].startswith("https://")
        assert report["text"].strip()
        assert set(report["cause"]) <= IDS, report["id"]
        for key, answer in report["facts"].items():
            assert answer in QUESTIONS[key].options, report["id"]
        homes = re.findall(r"(?:/home/|/[Uu]sers/|[Uu]sers\\+)([^/\\]+)", report["text"])
        assert set(homes) <= {"me", "runneradmin", "appveyor"}, report["id"]
        assert not re.search(r"[\w.]+@[\w-]+\.\w", report["text"]), report["id"]
        assert not re.search(r"/(opt|root|work|farm)/", report["text"]), report["id"]


@pytest.mark.parametrize("part", PARTS)
def test_nine_of_ten_are_right(part):
    reports = [report for report in REPORTS if report["part"] == part]
    wrong = [report["id"] for report in reports if not right(answered(report), report)]
    assert len(wrong) <= 0.1 * len(reports), wrong


def test_what_is_wrong_is_said_with_doubt():
    for report in REPORTS:
        for diagnosis in (diagnose(report["text"]), answered(report)):
            if not right(diagnosis, report):
                assert diagnosis.confidence != symptoms.ONE, report["id"]


def test_a_shared_text_lists_the_cause_among_the_others():
    for report in REPORTS:
        assert {m.entry.id for m in diagnose(report["text"]).matches} & set(report["cause"])
