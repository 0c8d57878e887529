"""The teaching guide: its plans add up, the explorer counts as it does, its wrong answers exist."""

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest

from helpers.exercises import cases, progress
from helpers.explorer import Program, explore

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = ROOT / "notebooks" / "teaching.md"
TEXT = GUIDE.read_text(encoding="utf-8")
#: Where the answers are, and which notebook's they are.
sys.path.append(str(ROOT / "tests" / "exercises"))
LABELLED = {"02": cases.ERRORS, "05": cases.LOCKED}
PART = re.compile(r"\[(\d\d)\]\((\S+)\), (core path|exercise|all of it)")


def rows(text):
    """The cells of each row of the tables in a text, their heads left out."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(heading):
    return re.split(r"^#{2,3} ", TEXT.partition(f" {heading}\n")[2], maxsplit=1, flags=re.M)[0]


def stated(name, part):
    """The minutes that the first cell of a notebook states."""
    first = nbformat.read(ROOT / "notebooks" / name, as_version=4).cells[0].source
    if part == "all of it":
        return int(rules.TIME.search(first)["minutes"])
    return int(dict(rules.PART.findall(first))[part])


def test_links_lead_somewhere():
    links, _ = rules.links_and_images(TEXT)
    assert len(links) > 50
    assert [reason for link in links if (reason := rules.broken(link, GUIDE))] == []


@pytest.mark.parametrize(
    ("plan", "days", "total"), [("90 minutes", 1, 90), ("Half a day", 1, 210), ("Two days", 2, 330)]
)
def test_a_plan_has_the_notebooks_minutes_and_adds_up(plan, days, total):
    tables = section(plan).split("\n\n| minutes")
    lists = [rows(f"| minutes{table}") for table in tables if "|---" in table]
    assert len(lists) == days
    for day in lists:
        *parts, (together, _) = day
        assert together == f"**{sum(int(minutes) for minutes, _ in parts)}**" == f"**{total}**"
        for minutes, what in parts:
            if what.startswith("["):
                number, name, part = PART.fullmatch(what).groups()
                assert name.startswith(f"{number}_")
                assert (what, int(minutes)) == (what, stated(name, part))
    assert "**Cut first**" in section(plan)


def test_the_plan_for_90_minutes_is_that_of_notebook_00():
    start = nbformat.read(ROOT / "notebooks" / progress.START, as_version=4)
    (goal,) = re.findall(
        r"^\| 90 minutes \| (.*) \|$", "\n".join(c.source for c in start.cells), re.M
    )
    planned = [
        link for link, _ in re.findall(r"\((\d\d_\w+\.ipynb)\), (core path)", section("90 minutes"))
    ]
    assert re.findall(r"\((\S+)\)", goal) == planned


def volunteer(begin=""):
    def adds_one(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if begin:
                connection.execute(begin)
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
            connection.execute("UPDATE counter SET value = ?", (value + 1,))
            if begin:
                connection.execute("COMMIT")

    return adds_one


def orders(people, begin=""):
    """In how many orders of how many an increment is lost."""
    job = volunteer(begin)
    program = Program("counter", [job] * people, lambda end: end.value == people)
    found = explore(program, show=False)
    return found.failures, found.schedules


def test_the_openers_counts_are_the_explorers():
    assert orders(2) == (4, 6)
    assert orders(3) == (84, 90)
    assert orders(2, "BEGIN IMMEDIATE")[0] == 0
    assert "in **4 of 6**" in section("An opener without computers")
    assert "in **84 of 90** orders" in section("An opener without computers")


def wrong_answers():
    return [
        pytest.param(number, *rest, id=f"{number}-{rest[0]}")
        for link, *rest in rows(section("Wrong answers, and what to say"))
        for number in re.findall(r"^\[(\d\d)\]", link)
    ]


@pytest.mark.parametrize(("number", "name", "says", "answer"), wrong_answers())
def test_a_wrong_answer_is_one_of_the_banks_and_judged_in_these_words(number, name, says, answer):
    from test_bank import EXERCISES

    assert len(answer.split()) >= 3
    if number in LABELLED:
        labels = dict.fromkeys(range(1, len(LABELLED[number].cases) + 1), name)
        verdict = LABELLED[number].check(labels)
        assert not verdict.solved
        assert says in str(verdict)
    else:
        assert EXERCISES[number].answers.WRONG[name][1].strip() == says


def test_every_exercise_has_two_wrong_answers_or_more():
    numbers = [number for number, *_ in (answer.values for answer in wrong_answers())]
    assert {number for number in numbers if numbers.count(number) > 1} == set(progress.ASKED)


def test_the_guide_is_found():
    assert "notebooks/teaching.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(teaching.md)" in (ROOT / "notebooks" / progress.START).read_text(encoding="utf-8")
