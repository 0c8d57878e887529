"""One strategy and one mix of work, measured in a child process."""

import threading

import pytest

from helpers.load import peers, trials
from helpers.load.trials import Measured, Trial
from helpers.strategies import FAST, Settings
from helpers.workloads import Audit, Mix

pytestmark = pytest.mark.usefixtures("nothing_left")

TOGETHER = Mix(inside=0.002)


@pytest.mark.parametrize("strategy", trials.RIGHT)
def test_a_repair_keeps_what_it_acknowledges(strategy):
    run = Trial(strategy, TOGETHER, threads=4).run(0.2)
    assert (run.ended, run.verdict, run.errors) == ("to the end", "kept", {})
    assert run.threads == ("T1", "T2", "T3", "T4")
    assert sum(run.acknowledged.values()) == run.audit.acknowledged > 0
    assert 0.002 <= run.median <= run.high <= run.longest
    assert run.units_per_second <= 500


def test_a_lock_for_each_statement_loses_most_of_it():
    run = Trial("StatementLock", TOGETHER).run(0.2)
    assert run.verdict == "broken"
    assert run.audit.lost > run.audit.acknowledged / 2


def test_the_shared_connection_breaks_in_the_child_only():
    assert Trial("SharedConnection", TOGETHER).run(0.2).verdict == "broken"


@pytest.mark.parametrize("strategy", ["PerThread", "Writer"])
def test_processes_share_the_file_and_nothing_else(strategy):
    run = Trial(strategy, TOGETHER, threads=2, processes=2).run(0.3)
    assert run.verdict == "kept"
    assert run.threads == ("T1", "T2", "T3", "T4")
    assert all(run.acknowledged.values())


@pytest.mark.parametrize(("journal_mode", "synchronous"), [("delete", "off"), ("memory", "normal")])
def test_every_journal_mode_can_be_tried(journal_mode, synchronous):
    settings = Settings(journal_mode, synchronous)
    assert Trial("TransactionLock", Mix(1, 1), settings, threads=2).run(0.1).verdict == "kept"


def test_without_patience_threads_see_errors():
    run = Trial("PerThread", TOGETHER, Settings("wal", "NORMAL", busy_timeout=0)).run(0.2)
    assert run.verdict == "broken"
    assert list(run.errors) == ["OperationalError: database is locked"]
    assert run.audit.lost == 0


@pytest.mark.parametrize("name", peers.LIBRARY)
def test_a_library_keeps_what_it_takes_or_refuses_it(name):
    single = Trial(name, Mix(insert=True), threads=2).run(0.2)
    assert single.verdict == "kept"
    assert single.audit.acknowledged > 0
    takes_functions = name == "SQLAlchemy's pool"
    assert Trial(name, Mix(1, 1), threads=2).run(0.1).verdict == (
        "kept" if takes_functions else "refused"
    )


def test_a_long_reader_does_not_count_for_fairness_and_holds_up_one_connection():
    work = Mix(insert=True, long_read=0.1)
    locked, own = (Trial(name, work, threads=4).run(0.4) for name in ("TransactionLock", "Pool"))
    assert locked.median > 0.05 > own.median
    assert min(locked.smallest_share, own.smallest_share) > 0.5


def test_a_run_can_be_stopped_and_tells_how_far_it_is():
    stop, seen = threading.Event(), []

    def told(done):
        seen.append(done)
        stop.set()

    run = Trial("Pool", TOGETHER).run(20, told, stop)
    assert (run.ended, run.verdict, run.audit) == ("stopped", "broken", None)
    assert 0 <= seen[0] < 20_000


def test_what_cannot_be_made_is_told():
    run = Trial("PerThread", Mix(), Settings("wal", "FULL"), threads=1).run(0.05)
    assert run.ended == "to the end"
    crashed = Measured("SIGSEGV")
    assert (crashed.verdict, crashed.units_per_second, crashed.longest) == ("broken", 0.0, 0.0)
    assert crashed.numbers()["ended"] == "SIGSEGV"


@pytest.mark.slow  # notebook 16 shows it
def test_the_matrix_has_every_workload_and_a_verdict_for_each_strategy():
    found = trials.matrix(["Pool", "Writer"], seconds=0.1)
    assert list(found) == list(trials.WORKLOADS)
    each = [(work, *entry) for work, row in found.items() for entry in row.items()]
    assert [entry for entry in each if entry[-1].verdict != "kept"] == []
    table = trials.verdicts(found, ["Pool"])
    assert list(table.index) == ["Pool"]
    assert set(table.loc["Pool"]) == {"kept"}


def test_a_verdict_needs_a_whole_audit_and_no_error():
    assert Measured("to the end", audit=Audit(3, 3)).verdict == "kept"
    assert Measured("to the end", audit=Audit(3, 2)).verdict == "broken"
    assert (
        Measured("to the end", audit=Audit(3, 3), errors={"ValueError: no": 1}).verdict == "broken"
    )
    assert Measured("to the end", errors={"Refused: it takes": 2}).verdict == "refused"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "Magic"}, "there is no strategy 'Magic' here: use one of TransactionLock"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"processes": 0}, "processes must be at least 1, not 0"),
    ],
)
def test_a_bad_argument_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        Trial(**{"strategy": "Pool", "workload": Mix(), "settings": FAST, **change})
