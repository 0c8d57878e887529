"""Fixtures that tests of several rooms need; a module asks for them by name."""

import tempfile
import threading

import pytest


@pytest.fixture
def no_thread_left():
    """Every thread that the test has started has ended."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def nothing_left(no_thread_left, tmp_path, monkeypatch):
    """No thread, and no temporary file: they are made in the folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []
