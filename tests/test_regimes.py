"""What `autocommit` does, as stored and as this Python does it."""

import sys

import pytest

from helpers import regimes


def test_this_python_agrees_with_the_stored_table():
    assert regimes.differences() == []


def test_the_table_answers_every_question_for_every_regime():
    table = regimes.table()
    assert list(table.index) == list(regimes.PROBES)
    assert list(table.columns) == [regime.name for regime in regimes.REGIMES]
    assert (table != "").all().all()


def test_a_difference_is_named(monkeypatch):
    probes = {**regimes.PROBES, "rollback() takes an UPDATE back": lambda connect: "perhaps"}
    monkeypatch.setattr(regimes, "PROBES", probes)
    found = regimes.differences()
    assert "rollback() takes an UPDATE back, default: perhaps, not yes" in found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the attribute is new in 3.12")
def test_writing_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(regimes, "FILE", tmp_path / "autocommit.csv")
    regimes.write()
    assert regimes.FILE.read_bytes() == (regimes.databases.DATA / "autocommit.csv").read_bytes()


def test_writing_needs_all_regimes(monkeypatch, tmp_path):
    monkeypatch.setattr(regimes, "FILE", tmp_path / "autocommit.csv")
    monkeypatch.setattr(regimes.sys, "version_info", (3, 11, 7))
    with pytest.raises(RuntimeError, match="autocommit=True, autocommit=False"):
        regimes.write()
    assert not regimes.FILE.exists()
