import pytest

from helpers import load, workloads
from helpers.history import CallError, History
from helpers.load import comparison, sandbox
from helpers.load.sandbox import SandboxResult
from helpers.strategies import SharedConnection
from helpers.workloads import Audit


def result(**changes):
    audit = changes.pop("audit", Audit(10, 10))
    given = {
        "workload": "W", "strategy": "S", "threads": ("T1", "T2"), "audit": audit, "failures": (),
        "acknowledged": {"T1": 5, "T2": 5}, "longest_wait": {"T1": 0.01, "T2": 0.25}, "hung": {},
        "seconds": 0.5, "history": History(),
    }  # fmt: skip
    return load.LoadResult(**{**given, **changes})


def test_runs_are_added_up():
    table = comparison.table({"good": [result(), result()], "bad": [result(audit=Audit(10, 7))]})
    assert list(table.loc["good"]) == [2, 0, "to the end", 20, 0, 0, 0, 20, 250]
    assert list(table.loc["bad"]) == [1, 1, "to the end", 10, 3, 0, 0, 20, 250]
    assert table.index.name == "variant"


def test_what_crashed_or_hung_is_said_and_counts_as_broken():
    hung = result(audit=None, hung={"T1": "lock.acquire()"})
    runs = [SandboxResult("crashed", signal="SIGSEGV"), SandboxResult("hung"), hung]
    runs.append(SandboxResult("returned", result()))
    table = comparison.table({"shared": runs})
    row = table.loc["shared"]
    assert (row["runs"], row["of which broken"]) == (4, 3)
    assert row["ended"] == "1 × SIGSEGV, 1 × hung, 1 × a thread hung"
    assert row["acknowledged"] == 10


def test_a_unit_that_gave_up_on_purpose_is_no_error():
    gave_up = load.UnitError("T1", 3, CallError("Cancelled", "called off", ""), "")
    failed = load.UnitError("T1", 3, CallError("ValueError", "no", ""), "")
    assert not comparison.is_broken(result(failures=(gave_up,)))
    assert comparison.is_broken(result(failures=(gave_up, failed)))
    table = comparison.table({"both": [result(failures=(gave_up, failed), audit=Audit(10, 10, 2))]})
    assert list(table.loc["both", ["leaked", "errors"]]) == [2, 1]


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ValueError, match="there are no runs of shared"):
        comparison.table({"shared": []})


def test_a_real_run():
    found = sandbox.run_load(workloads.AppendLetter(2), SharedConnection, threads=1)
    assert not comparison.is_broken(found)
