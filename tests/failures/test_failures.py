"""Every failure happens where it is claimed to, and does not when its cure is in place."""

import contextlib
import functools
import importlib.util
import os
import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers import failures
from helpers.commands import survey
from helpers.failures import ALWAYS, CHILD, FAILURES, HERE, NEVER, OFTEN, Build, Report, registry
from helpers.load import sandbox

BUILD = failures.this_build()
#: Children at the same time: they load the machine for each other.
CHILDREN = 4
#: Tries for what is left to chance: each succeeds more often than not.
TRIES = 6


def those(frequency, where=None):
    return [
        name
        for name, entry in FAILURES.items()
        if entry.happens(BUILD) == frequency and where in (None, entry.where)
    ]


@pytest.fixture(scope="module")
def children():
    """Reports of all recipes that need a child process, with and without their cure."""
    jobs = [(name, False) for name in those(ALWAYS, CHILD) + those(NEVER, CHILD)]
    jobs += [(name, True) for name in those(ALWAYS, CHILD)]
    with ThreadPoolExecutor(CHILDREN) as pool:
        reports = pool.map(lambda job: failures.run(job[0], fixed=job[1]), jobs)
        return dict(zip(jobs, reports, strict=True))


@pytest.mark.parametrize("name", those(ALWAYS, HERE))
def test_a_safe_failure_happens_here_every_time(name, nothing_left):
    for _ in range(2):
        report = failures.here(name)
        assert report.happened, report
        assert report.outcome in ("raised", "silent")


@pytest.mark.parametrize("name", those(ALWAYS, HERE))
def test_a_safe_failure_does_not_happen_with_its_cure(name, nothing_left):
    assert not failures.here(name, fixed=True).happened


@pytest.mark.parametrize("name", those(ALWAYS, CHILD))
def test_a_dangerous_failure_happens_in_a_child(name, children):
    assert children[name, False].happened, children[name, False]


@pytest.mark.parametrize("name", those(ALWAYS, CHILD))
def test_a_dangerous_failure_does_not_happen_with_its_cure(name, children):
    report = told(children, name, True)
    assert report.outcome == "did not happen", report


@pytest.mark.parametrize("name", those(NEVER, CHILD))
def test_what_is_said_never_to_happen_here_does_not(name, children):
    report = told(children, name, False)
    assert not report.happened, report


def told(children, name, fixed):
    """The report; of one that was too late beside the others a second one, alone."""
    report = children[name, fixed]
    late = report.outcome == "hung" and (fixed or not report.happened)
    return failures.run(name, fixed=fixed) if late else report


# -- the look-up knows each of them ---------------------------------------------------------

#: What a recipe does not say: there it is as usual.
USUAL = {"timeout": "more than 0", "autocommit": "not False", "file_replaced": "no"}
USUAL |= {"disk": "local", "since": "the start", "shared": "yes"}
LEFT_OPEN = ("failed", "changed nothing", "ended")
#: Its text is that of the other thread's error, which is what it is about.
SOMEBODY_ELSES = "b-swapped-error"


@functools.cache
def here(name):
    return failures.here(name)


def shown(children, name):
    """What a certain failure shows on this Python."""
    return told(children, name, False) if FAILURES[name].where == CHILD else here(name)


def answered(report):
    """What the user of a recipe's program could answer."""
    answers = USUAL | report.answers
    if answers.get("at") == "PRAGMA":
        seen = "at start"
    elif answers.get("waited") == "at once":
        seen = "at once"
    else:
        seen = "until restart" if answers.get("holder") in LEFT_OPEN else "under load"
    return {"seen": seen} | answers


def first(text, **answers):
    matches = failures.diagnose(text, **answers).matches
    return matches[0].entry if matches else None


@pytest.mark.parametrize("name", those(ALWAYS))
def test_a_failure_of_this_python_is_diagnosed(name, children):
    report = shown(children, name)
    answers = USUAL | report.answers
    if report.errorname:
        answers["errorname"] = report.errorname
    text = report.traceback or report.text
    if name == SOMEBODY_ELSES:
        assert first(text, **answers).id in ("unique", "no-such-table", "memory-no-such-table")
    else:
        assert name in first(text, **answers).failures, text


@pytest.mark.parametrize("name", those(ALWAYS))
def test_the_questions_lead_to_the_cause(name, children):
    """Without error name (as before Python 3.11), asked one question after the other."""
    report, answers = shown(children, name), {}
    text = re.sub(r" \[SQLITE_\w+\]", "", report.text)
    while question := failures.diagnose(text, **answers).question:
        assert question.key not in answers
        if question.key not in answered(report):
            break
        answers[question.key] = answered(report)[question.key]
    if name != SOMEBODY_ELSES:
        assert name in first(text, **answers).failures, answers


# -- what is left to chance, and what is not run ---------------------------------------------


@pytest.mark.parametrize("name", ["b-load-commit", "b-load-no-more-rows", "d-crash-cursor-load"])
def test_what_is_left_to_chance_happens_in_a_few_tries(name):
    assert FAILURES[name].happens(BUILD) == OFTEN
    assert any(failures.run(name).happened for _ in range(TRIES))


def test_a_cure_for_what_is_left_to_chance_holds():
    assert failures.run("b-load-commit", fixed=True).outcome == "did not happen"


def test_two_libraries_meet_where_there_are_two():
    report = failures.run("j-two-libraries")
    # Windows' locks belong to a handle, not to a process.
    expected = os.name == "posix" and importlib.util.find_spec("apsw") is not None
    assert report.happened == expected, report
    assert not failures.run("j-two-libraries", fixed=True).happened


def test_every_group_of_the_course_has_its_failures():
    assert {entry.group for entry in FAILURES.values()} == set("ABCDEFGHIJ")
    for name, entry in FAILURES.items():
        assert re.fullmatch(r"[a-j](-[a-z0-9]+)+", name)
        assert entry.expects.endswith(".")
        assert entry.fix.endswith((".", ")"))


def test_what_can_end_the_process_is_not_run_in_it():
    with pytest.raises(ValueError, match="d-crash-cursor must not run in this process"):
        failures.here("d-crash-cursor")


def test_an_unknown_failure_is_named():
    with pytest.raises(KeyError, match="unknown failure 'x'"):
        failures.run("x")


def test_a_crash_and_a_hang_are_outcomes_and_leave_no_file(tmp_path, monkeypatch, children):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failures.run("d-crash-close").kind in ("SIGSEGV", "SIGBUS", "SIGABRT")
    assert list(tmp_path.iterdir()) == []
    assert children["d-hang-create-function", False].outcome == "hung"


def test_a_crash_does_not_count_where_it_is_not_what_is_claimed():
    entry = FAILURES["a-execute"]
    assert registry._judge(entry, -11, "", "") == Report("a-execute", False, "crashed", "SIGSEGV")
    assert not registry._judge(entry, None, "", "").happened


def test_a_recipe_that_breaks_is_not_a_failure_that_happens():
    report = registry._judge(FAILURES["a-execute"], 1, "", "Traceback ...\nValueError: no")
    assert (report.happened, report.outcome, report.detail) == (False, "broken", "ValueError: no")


# -- the survey ----------------------------------------------------------------------------


def test_the_survey_counts_outcomes():
    raised = Report("f-timeout", True, "raised", "OperationalError", "database is locked", "X")
    not_seen = Report("f-timeout", False, "did not happen")
    rows = survey.count([raised, not_seen, raised], Build((3, 13, 0), (3, 50, 1), False))
    assert [(row["outcome"], row["message"], row["trials"], row["count"]) for row in rows] == [
        ("raised", "OperationalError: database is locked [X]", "3", "2"),
        ("did not happen", "", "3", "1"),
    ]
    assert (rows[0]["python"], rows[0]["sqlite"], rows[0]["gil"]) == ("3.13.0", "3.50.1", "no")


def test_the_survey_writes_what_it_measured_and_keeps_the_rest(tmp_path):
    path = tmp_path / "failures.csv"
    new = survey.survey(trials=2, only=["a-execute"])
    old = [
        {**new[0], "count": "1", "message": "older"},
        {**new[0], "python": "3.6.15", "message": "kept"},
    ]
    survey.write(survey.merge(old, new), path)
    assert [(row["message"], row["count"]) for row in survey.read(path)] == [
        ("kept", "2"),
        (new[0]["message"], "2"),
    ]


def test_the_survey_asks_for_the_build():
    assert survey.build_of(sys.executable) == BUILD


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([sys.executable, "--trials", "0"], "--trials must be at least 1"),
        ([sys.executable, "--only", "x"], "unknown failure 'x'"),
        (["no-such-python"], "cannot start 'no-such-python': "),
    ],
)
def test_a_wrong_command_line_is_told(arguments, reason, tmp_path, capsys):
    from helpers.__main__ import main

    assert main(["survey", *arguments, "--output", str(tmp_path / "x.csv")]) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# -- the table of the repository -----------------------------------------------------------

ROWS = survey.read()


def build(row):
    versions = [tuple(int(part) for part in row[name].split(".")) for name in ("python", "sqlite")]
    return Build(*versions, row["gil"] == "yes")


def test_the_table_covers_the_pythons():
    minor = {row["python"].rpartition(".")[0] for row in ROWS}
    assert minor >= {f"3.{number}" for number in range(6, 14)}
    assert {row["gil"] for row in ROWS} == {"yes", "no"}


def test_the_table_tells_of_no_machine():
    for row in ROWS:
        assert list(row) == survey.COLUMNS
        assert not re.search(r"thread id \d|0x[0-9a-f]{4}|/tmp|/home|/root", row["message"]), row


def test_what_is_claimed_is_what_was_measured(monkeypatch):
    # The table is of a POSIX system; what is claimed may depend on the system.
    monkeypatch.setattr(os, "name", "posix")
    wrong = []
    for name in FAILURES:
        for version in {build(row) for row in ROWS}:
            rows = [row for row in ROWS if row["failure"] == name and build(row) == version]
            claim = FAILURES[name].happens(version)
            seen = sum(int(row["count"]) for row in rows if happened(name, row))
            trials = int(rows[0]["trials"]) if rows else 0
            fits = {ALWAYS: seen == trials > 0, NEVER: seen == 0 < trials, OFTEN: trials > 0}
            if not fits.get(claim, not rows):
                wrong.append((name, version, claim, f"{seen} of {trials}"))
    assert wrong == []


def happened(name, row):
    report = {"d-crash": "crashed", "d-hang": "hung"}
    wanted = [end for prefix, end in report.items() if name.startswith(prefix)]
    return row["outcome"] in (wanted or ("raised", "silent"))


def test_shares_are_counted_per_python():
    rows = survey.count([Report("a-execute", True, "raised")] * 2, Build((3, 6, 1), (3, 9), True))
    rows += survey.count([Report("a-cursor", True, "silent")], Build((3, 13, 0), (3, 9), False))
    table = survey.shares(rows)
    assert list(table.columns) == ["3.6.1", "3.13.0t"]
    assert table.loc["a-execute"].tolist() == ["2 of 2", "-"]
    assert table.loc["a-cursor"].tolist() == ["-", "1 of 1"]


def test_this_build_is_this_process():
    assert BUILD.python == tuple(sys.version_info[:3])
    assert BUILD.sqlite == sqlite3.sqlite_version_info


# -- what the notebooks say beside the recipes -----------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_of_a_transaction_larger_than_the_cache_a_close_after_fork_stores_a_part(tmp_path):
    """Notebook 15 says so of a child that closes the connection it has inherited."""

    def closed_by_the_child(path):
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 5")  # pages: the rest goes to the file early
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v, padding)")
        rows = [(number, "x" * 900) for number in range(400)]
        connection.executemany("INSERT INTO t VALUES (?, 0, ?)", rows)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE t SET v = 1")
        child = os.fork()
        if child == 0:
            connection.close()
            os._exit(0)
        os.waitpid(child, 0)
        with contextlib.suppress(sqlite3.Error):
            connection.execute("COMMIT")
        connection.close()
        with contextlib.closing(sqlite3.connect(path)) as after:
            return after.execute("SELECT count(*) FROM t WHERE v = 1").fetchone()[0]

    assert 0 < sandbox.call(closed_by_the_child, str(tmp_path / "spilled.db")).get() < 400
