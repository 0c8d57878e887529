"""Fixtures that tests of several rooms need; a module asks for them by name."""

import os
import tempfile
import threading

import pytest

# Started from a notebook, a test run must not take itself for that notebook's reader.
os.environ.pop("JPY_SESSION_NAME", None)


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
