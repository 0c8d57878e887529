"""Run it where it may crash: a child process with a time limit and a memory limit.

A segmentation fault, an abort, a hang or an exhausted memory in the child comes back as
a `SandboxResult` to look at; the notebook's kernel is never at risk. Functions and
arguments travel by cloudpickle, so what you wrote in a notebook cell can be run here.

The child's side is `helpers.load.child`. What it prints goes to standard error, whose tail is kept.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any, Literal

import cloudpickle

from helpers.display.progress import Progress, bar
from helpers.history import CallError
from helpers.load import threads as load
from helpers.load.child import LENGTH, report
from helpers.workloads import Audit, Workload

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["returned", "raised", "crashed", "hung", "out of memory", "stopped"]

#: Default memory limit of a child, in bytes of address space (Linux only).
MEMORY = 4 << 30

#: Columns of `table`.
TABLE_COLUMNS = [
    "ended", "errors", "acknowledged", "stored", "lost", "unacknowledged", "damaged",
]  # fmt: skip

_ROOT = Path(__file__).resolve().parent.parent.parent
_CHILD = "from helpers.load import child; child.main()"
_MEANINGS = {
    "SIGSEGV": "segmentation fault: it touched memory it does not own",
    "SIGBUS": "bus error: it touched memory that is not there",
    "SIGABRT": "abort: a library found its own memory damaged and gave up",
    "SIGKILL": "killed from outside, as the system does when memory runs out",
    "SIGFPE": "arithmetic error in machine code",
    "SIGILL": "illegal machine instruction",
}
_WINDOWS_FAULTS = {0xC0000005: "SIGSEGV", 0xC0000374: "SIGABRT", 0xC0000409: "SIGABRT"}


class SandboxError(RuntimeError):
    """Raised by `SandboxResult.get` when the child did not return a value."""


@dataclass(frozen=True)
class SandboxResult:
    """How a child process ended.

    Attributes:
        kind: ``"returned"``, ``"raised"``, ``"crashed"``, ``"hung"``, ``"out of memory"`` or
            ``"stopped"``.
        value: what the function returned, if it did.
        error: what it raised, if it did.
        signal: name of the signal that ended a crashed child, such as ``"SIGSEGV"``.
        seconds: wall time, from the start of the process.
        stderr: the last lines the child wrote, with Python's fault report after a crash.
    """

    kind: Kind
    value: Any = None
    error: CallError | None = None
    signal: str = ""
    seconds: float = 0.0
    stderr: str = field(default="", repr=False)

    def get(self) -> Any:
        """The value, if the function returned one.

        Raises:
            SandboxError: otherwise, saying what happened instead.
        """
        if self.kind != "returned":
            raise SandboxError(str(self))
        return self.value

    def __str__(self) -> str:
        if self.kind == "crashed":
            meaning = _MEANINGS.get(self.signal, "the process ended without a result")
            return f"the process crashed with {self.signal} ({meaning})"
        if self.kind == "hung":
            return "the process hung: it was ended at the time limit"
        if self.kind == "stopped":
            return "the process was stopped"
        if self.error is not None:
            ended = "ran out of memory" if self.kind == "out of memory" else "raised"
            return f"the process {ended}: {self.error.kind}: {self.error.message}".rstrip(": ")
        return "the process returned a value"


def call(
    function: Callable[..., Any],
    /,
    *arguments: Any,
    seconds: float = 30.0,
    memory: int | None = MEMORY,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    **keywords: Any,
) -> SandboxResult:
    """Run ``function(*arguments, **keywords)`` in a child process.

    Args:
        function: any function that cloudpickle can carry; its result must be picklable.
        *arguments: passed on to it.
        **keywords: passed on to it.
        seconds: time limit; a child past it is ended and the result says ``"hung"``.
        memory: limit on the child's address space in bytes, None for none. Linux only.
        progress: called with each number that the child passes to `child.report`.
        stop: once it is set, the child is ended and the result says ``"stopped"``.

    Raises:
        ValueError: if `seconds` is not more than 0.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be more than 0, not {seconds!r}")
    job = pickle.dumps((sys.path, memory, cloudpickle.dumps((function, arguments, keywords))))
    # A child that crashes cannot tidy up, so its temporary files live in a folder of ours.
    with tempfile.TemporaryDirectory(
        prefix="sqlite-under-threads-", ignore_cleanup_errors=True
    ) as folder:
        return _run(job, folder, seconds, progress, stop or threading.Event())


def run_load(
    workload: Workload,
    strategy: load.StrategyFactory,
    *,
    seconds: float = 20.0,
    progress: bool = False,
    **options: Any,
) -> SandboxResult:
    """`load.run` in a child process; the value of the result is a `load.LoadResult`.

    Takes the arguments of `load.run`. A thread that hangs while the others can still run
    is reported by the load result; a process that stands still as a whole, by this one.
    """
    total = workload.units * options.get("threads", 5)
    with bar(total, "in a child process", progress) as shown:
        return call(
            _load_here,
            workload,
            strategy,
            {**options, "seconds": seconds},
            seconds=seconds + load.GRACE + 10,
            progress=shown,
        )


def table(results: Iterable[SandboxResult]) -> pd.DataFrame:
    """One row per `run_load`: how it ended, its audit in units of work, its errors.

    A run that crashed or hung has no audit; its counts are 0.
    """
    import pandas as pd

    rows = []
    for result in results:
        run: load.LoadResult | None = result.value if result.kind == "returned" else None
        audit = (run and run.audit) or Audit(0, 0)
        rows.append(
            (
                "a thread hung" if run and run.hung else result.kind,
                len(run.failures) if run else 0,
                audit.acknowledged,
                audit.stored,
                audit.lost,
                audit.unacknowledged,
                audit.damaged,
            )
        )
    table = pd.DataFrame(rows, columns=TABLE_COLUMNS, index=range(1, len(rows) + 1))
    return table.rename_axis("run")


def errors(results: Iterable[SandboxResult]) -> pd.DataFrame:
    """The errors of several runs together, as `LoadResult.errors` gives them for one."""
    runs = [result.value for result in results if result.kind == "returned"]
    return load.failure_table(failure for run in runs for failure in run.failures)


def _load_here(
    workload: Workload, strategy: load.StrategyFactory, options: dict[str, Any]
) -> load.LoadResult:
    return load.run(workload, strategy, progress=report, may_crash=True, **options)


def _run(
    job: bytes, folder: str, seconds: float, progress: Progress | None, stop: threading.Event
) -> SandboxResult:
    began = perf_counter()
    child = _start(folder)
    messages: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
    tail: list[bytes] = []
    readers = [
        threading.Thread(target=_read_messages, args=(child.stdout, messages), daemon=True),
        threading.Thread(target=_read_tail, args=(child.stderr, tail), daemon=True),
    ]
    try:
        for reader in readers:
            reader.start()
        _send(child, job)
        ending = _follow(messages, began + seconds, progress, stop)
    finally:
        _end(child)
        for reader in readers:
            reader.join()
        _close(child)
    return _judge(ending, child.returncode, perf_counter() - began, b"".join(tail))


def _start(folder: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-X", "utf8", "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": folder, "TEMP": folder, "TMP": folder},
        start_new_session=os.name == "posix",
    )


def _send(child: subprocess.Popen[bytes], job: bytes) -> None:
    assert child.stdin is not None
    # If it died before it read its job, its exit status tells how. On Windows the error is EINVAL.
    with contextlib.suppress(OSError):
        child.stdin.write(job)
        child.stdin.close()


def _follow(
    messages: queue.SimpleQueue[tuple[str, Any] | None],
    deadline: float,
    progress: Progress | None,
    stop: threading.Event,
) -> tuple[str, Any] | None:
    """The child's last message, None if it ended without one, ("hung", None) at the deadline."""
    while not stop.is_set():
        left = max(0.0, deadline - perf_counter())
        try:
            message = messages.get(timeout=min(left, 0.1))
        except queue.Empty:
            if not left:
                return ("hung", None)
            continue
        if message is None or message[0] != "progress":
            return message
        if progress is not None:
            progress(message[1])
    return ("stopped", None)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Make sure that the child, and what it started, has ended."""
    try:
        child.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        kill(child)
        child.wait()


def kill(child: subprocess.Popen[Any]) -> None:
    """End a child that leads a session of its own, and what it started (only it on Windows)."""
    if os.name == "posix":
        # macOS refuses where only zombies are left.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()


def _close(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None and not stream.closed:
            # What was left to send has no reader any more.
            with contextlib.suppress(OSError):
                stream.close()


def _read_messages(stream: IO[bytes], messages: queue.SimpleQueue[tuple[str, Any] | None]) -> None:
    while len(head := stream.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        body = stream.read(length)
        if len(body) < length:
            break
        messages.put(pickle.loads(body))
    messages.put(None)


def _read_tail(stream: IO[bytes], tail: list[bytes], lines: int = 60) -> None:
    for line in stream:
        tail.append(line)
        del tail[:-lines]


def _judge(
    ending: tuple[str, Any] | None, status: int, seconds: float, tail: bytes
) -> SandboxResult:
    stderr = tail.decode("utf-8", "replace")
    kind, content = ending or ("crashed", None)
    if kind == "returned":
        return SandboxResult("returned", content, seconds=seconds, stderr=stderr)
    if kind == "raised":
        assert isinstance(content, CallError)
        out_of_memory = content.kind == "MemoryError"
        return SandboxResult(
            "out of memory" if out_of_memory else "raised",
            error=content,
            seconds=seconds,
            stderr=stderr,
        )
    if kind in ("hung", "stopped"):
        ended: Kind = "hung" if kind == "hung" else "stopped"
        return SandboxResult(ended, seconds=seconds, stderr=stderr)
    return SandboxResult("crashed", signal=signal_name(status), seconds=seconds, stderr=stderr)


def signal_name(status: int) -> str:
    """What ended a process: ``"SIGSEGV"``, also for Windows' code of it, or ``"exit status 7"``."""
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return _WINDOWS_FAULTS.get(status & 0xFFFFFFFF, f"exit status {status}")
