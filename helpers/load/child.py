"""What runs in the child process of `sandbox`: one job, and how it ended.

It reads a pickled job from standard input and writes length-prefixed pickles to what was its
standard output: progress, then the result. What the job prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
from typing import IO, Any

import cloudpickle

from helpers.history import CallError

#: Before each message: its length in bytes.
LENGTH = struct.Struct("<Q")

_channel: IO[bytes] | None = None


def main() -> None:
    """Read one job from standard input, run it, and write how it ended."""
    global _channel
    _channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What the function prints must not mix with the messages.
    # What the parent can import, the child can: tests and notebooks bring modules of their own.
    sys.path, memory, job = pickle.loads(sys.stdin.buffer.read())
    without_traces()
    limit_memory(memory)
    try:
        function, arguments, keywords = pickle.loads(job)
        _write(_channel, ("returned", function(*arguments, **keywords)))
    except BaseException as error:
        _write(_channel, ("raised", CallError.of(error)))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that hang must not keep the process; nothing here needs an orderly exit.
    os._exit(0)


def report(done: int) -> None:
    """Tell the parent process how many units are done; does nothing outside a sandbox."""
    if _channel is not None:
        _write(_channel, ("progress", done))


def _write(channel: IO[bytes], message: tuple[str, Any]) -> None:
    body = cloudpickle.dumps(message)
    channel.write(LENGTH.pack(len(body)) + body)
    channel.flush()


def without_traces() -> None:
    """A crash of this process leaves no core file, and on Windows opens no dialog."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(memory: int | None) -> None:
    """Limit this process's address space, in bytes; Linux only."""
    # macOS refuses a limit below the size of the address space, which is always huge there.
    if sys.platform != "linux" or memory is None:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
