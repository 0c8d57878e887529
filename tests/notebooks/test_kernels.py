"""A kernel that dies at its start does not make a notebook red; one that cannot start does."""

import os
import runpy
from pathlib import Path

import pytest
from nbval import kernel

CONFTEST = Path(__file__).resolve().parent.parent.parent / "notebooks" / "conftest.py"


@pytest.fixture
def deaths(monkeypatch):
    """How often kernels are still to die."""
    left = []

    def start(*_arguments, **_options):
        if left:
            raise RuntimeError(left.pop())
        return "manager", "client"

    monkeypatch.setattr(kernel, "start_new_kernel", start)
    runpy.run_path(str(CONFTEST))
    return left


@pytest.fixture
def stderr():
    """What nbval opens for the kernel; nobody else closes it."""
    with open(os.devnull, "w") as file:
        yield file
        assert file.closed


def test_a_kernel_that_dies_at_its_start_is_started_again(deaths, stderr):
    deaths.append("Kernel died before replying to kernel_info")
    assert kernel.start_new_kernel(kernel_name="python3", stderr=stderr) == ("manager", "client")


def test_a_kernel_that_dies_twice_is_an_error(deaths, stderr):
    deaths.extend(["Kernel died before replying to kernel_info"] * 2)
    with pytest.raises(RuntimeError, match="Kernel died"):
        kernel.start_new_kernel(kernel_name="python3", stderr=stderr)
