"""What `autocommit` does, as stored and as this Python does it."""

import sys

import pytest

from helpers import databases
from helpers.failures import transaction_control


def test_this_python_agrees_with_the_stored_table():
    assert transaction_control.differences() == []


def test_the_table_answers_every_question_for_every_regime():
    table = transaction_control.table()
    assert list(table.index) == list(transaction_control.PROBES)
    assert list(table.columns) == [regime.name for regime in transaction_control.REGIMES]
    assert (table != "").all().all()


def test_a_difference_is_named(monkeypatch):
    probes = {
        **transaction_control.PROBES,
        "rollback() takes an UPDATE back": lambda connect: "perhaps",
    }
    monkeypatch.setattr(transaction_control, "PROBES", probes)
    found = transaction_control.differences()
    assert "rollback() takes an UPDATE back, default: perhaps, not yes" in found


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the attribute is new in 3.12")
def test_writing_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(transaction_control, "FILE", tmp_path / "autocommit.csv")
    transaction_control.write()
    assert transaction_control.FILE.read_bytes() == (databases.DATA / "autocommit.csv").read_bytes()


def test_writing_needs_all_regimes(monkeypatch, tmp_path):
    monkeypatch.setattr(transaction_control, "FILE", tmp_path / "autocommit.csv")
    monkeypatch.setattr(transaction_control.sys, "version_info", (3, 11, 7))
    with pytest.raises(RuntimeError, match="autocommit=True, autocommit=False"):
        transaction_control.write()
    assert not transaction_control.FILE.exists()
