"""Run it where it may crash: every way in which a process can end is a result."""

import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers import workloads
from helpers.load import sandbox
from helpers.load.child import report
from helpers.strategies import SharedConnection

POSIX = os.name == "posix"


pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_value_comes_back():
    result = sandbox.call(lambda a, *, b: (a + b, os.getpid()), 1, b=2)
    assert result.kind == "returned"
    assert result.value[0] == 3
    assert result.value[1] != os.getpid()
    assert result.get() == result.value


def test_an_exception_comes_back_as_text():
    def fail():
        raise LookupError("nothing here")

    result = sandbox.call(fail)
    assert result.kind == "raised"
    assert result.error == ("LookupError", "nothing here", "")
    assert str(result) == "the process raised: LookupError: nothing here"
    with pytest.raises(sandbox.SandboxError, match="nothing here"):
        result.get()


def test_a_segmentation_fault_comes_back_with_its_name():
    # What ctypes does wrong comes back as an OSError on Windows.
    result = sandbox.call(faulthandler._read_null)
    assert (result.kind, result.signal) == ("crashed", "SIGSEGV")
    assert "segmentation fault" in str(result)
    said = "Fatal Python error: Segmentation fault" if POSIX else "access violation"
    assert said in result.stderr


def test_an_abort_comes_back():
    result = sandbox.call(os.abort)
    assert result.kind == "crashed"
    if POSIX:
        assert result.signal == "SIGABRT"


def test_an_exit_without_a_result_is_a_crash_with_its_status():
    result = sandbox.call(os._exit, 7)
    assert (result.kind, result.signal) == ("crashed", "exit status 7")


@pytest.mark.skipif(not POSIX, reason="SIGKILL is a POSIX signal")
def test_being_killed_from_outside_comes_back():
    result = sandbox.call(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert (result.kind, result.signal) == ("crashed", "SIGKILL")


def test_a_hang_ends_at_the_time_limit():
    result = sandbox.call(lambda: threading.Event().wait(), seconds=1)
    assert result.kind == "hung"
    assert 1 <= result.seconds < 10
    assert "time limit" in str(result)


def test_a_child_is_ended_when_it_is_told_to_stop():
    stop = threading.Event()

    def begun():
        report(1)
        threading.Event().wait()

    result = sandbox.call(begun, seconds=60, progress=lambda _: stop.set(), stop=stop)
    assert result.kind == "stopped"
    assert result.seconds < 30
    assert str(result) == "the process was stopped"


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited on Linux only")
def test_running_out_of_memory_comes_back():
    result = sandbox.call(lambda: len(bytearray(2 << 30)), memory=1 << 30)
    assert result.kind == "out of memory"
    assert "ran out of memory" in str(result)


def test_a_thread_that_never_ends_does_not_hold_the_process():
    def leave_a_thread():
        threading.Thread(target=threading.Event().wait).start()
        return "done"

    assert sandbox.call(leave_a_thread, seconds=20).get() == "done"


def test_what_the_child_prints_does_not_mix_with_the_result():
    def talk():
        print("to stdout")
        print("to stderr", file=sys.stderr)
        return 1

    result = sandbox.call(talk)
    assert result.get() == 1
    assert "to stdout" in result.stderr
    assert "to stderr" in result.stderr


def test_a_result_that_cannot_be_pickled_is_an_error_with_a_reason():
    result = sandbox.call(threading.Lock)
    assert result.kind == "raised"
    assert "pickle" in result.error.message


def test_large_values_and_progress_arrive_whole():
    def count():
        for done in range(5):
            report(done)
        return b"x" * 5_000_000

    seen = []
    assert len(sandbox.call(count, progress=seen.append).get()) == 5_000_000
    assert seen == [0, 1, 2, 3, 4]


def test_temporary_files_of_a_crashed_child_are_removed(tmp_path):
    def leave_a_file():
        import tempfile

        path = Path(tempfile.mkdtemp()) / "left.db"
        path.write_text("x")
        report(str(path))
        os.abort()

    seen = []
    assert sandbox.call(leave_a_file, progress=seen.append).kind == "crashed"
    assert seen
    assert not Path(seen[0]).exists()


@pytest.mark.skipif(not POSIX, reason="process groups are POSIX")
def test_grandchildren_end_with_a_hung_child(tmp_path):
    def start_another():
        import subprocess

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        report(child.pid)
        child.wait()

    seen = []
    assert sandbox.call(start_another, seconds=3, progress=seen.append).kind == "hung"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(seen[0], 0)
        except ProcessLookupError:
            return
    pytest.fail(f"process {seen[0]} is still there")


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_time_limit_must_be_positive(seconds):
    with pytest.raises(ValueError, match=f"seconds must be more than 0, not {seconds}"):
        sandbox.call(int, seconds=seconds)


def test_an_unlocked_shared_connection_breaks_in_the_sandbox():
    work = workloads.Increment(100)
    tries = (
        sandbox.run_load(work, SharedConnection, threads=5, stop_on_error=False) for _ in "12345"
    )
    assert any(result.kind != "returned" or not result.value.ok for result in tries)


def test_a_load_result_comes_back_whole():
    result = sandbox.run_load(workloads.AppendLetter(10), SharedConnection, threads=1).get()
    assert result.ok
    assert result.audit.acknowledged == 10
    assert len(result.history.table()) > 30


def test_a_bad_argument_of_a_load_run_is_named():
    result = sandbox.run_load(workloads.Increment(1), SharedConnection, threads=0)
    assert result.error.message == "threads must be at least 1, not 0"


def test_a_job_that_the_child_cannot_read_is_an_error_with_a_reason(tmp_path, monkeypatch):
    import importlib

    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "fleeting.py").write_text("def work():\n    return 1\n")
    monkeypatch.syspath_prepend(str(folder))
    fleeting = importlib.import_module("fleeting")
    assert sandbox.call(fleeting.work).get() == 1
    (folder / "fleeting.py").unlink()
    result = sandbox.call(fleeting.work)
    assert (result.kind, result.error.kind) == ("raised", "ModuleNotFoundError")
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()
