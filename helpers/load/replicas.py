"""Three copies of one SQLite database, kept alike by dqlite: what if the leader is killed?

dqlite replicates SQLite through the consensus protocol Raft. `dqlite-demo`, of Debian's package
``go-dqlite``, is a small program with a node of dqlite in it and a table of keys and values:
PUT stores a value and answers ``done`` once a majority of the nodes has it, GET reads it.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.load.sessions import MEASURED, RECORD, RECORDED

#: Seconds: for a node to start, for an election, for one answer.
START, ELECTION, ANSWER = 30.0, 60.0, 20.0
#: How many values are stored before the leader is killed, and after that.
VALUES = 20
#: Seconds that a node that has lost its majority is given to answer.
MINORITY = 2.0
_PROGRAMS = ("dqlite", "dqlite-demo", "setpriv")


def missing() -> str:
    """What is missing to run nodes of dqlite, with the command that adds it; "" if nothing is."""
    if all(shutil.which(program) for program in _PROGRAMS):
        return ""
    return "dqlite-demo missing: on Debian, apt-get install go-dqlite"


@dataclass(frozen=True)
class Failover:
    """What was seen of three nodes of which two were killed, one after the other.

    Attributes:
        before: values acknowledged before the leader was killed.
        after: values acknowledged by the two others, once they had a leader.
        lost: values acknowledged that the third node, asked at the end, did not have.
        same_leader: whether no other node had become the leader.
        alone: whether a node acknowledged a value when two of three were dead.
        seconds: from the kill to the next acknowledged value.
        source: whether it was measured here, or recorded, and then what is missing.
    """

    before: int
    after: int
    lost: int
    same_leader: bool
    alone: bool
    seconds: float
    source: str = MEASURED


class Node:
    """One node: a process, with an address for HTTP and one for the other nodes."""

    def __init__(self, folder: Path, join: str) -> None:
        self.http, self.address = _free_address(), _free_address()
        data = folder / self.address.replace(":", "-")
        data.mkdir()
        command = ["dqlite-demo", "--api", self.http, "--db", self.address, "--dir", str(data)]
        # If this process is killed, the kernel kills the node.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command, *(["--join", join] if join else [])],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def put(self, key: str, value: str, seconds: float = ANSWER) -> bool:
        """Whether the node has acknowledged the value; False says that nobody knows."""
        return self._ask(key, value.encode(), seconds) == "done"

    def get(self, key: str) -> str:
        """The value of a key; if there is no answer, ""."""
        return self._ask(key, None, ANSWER)

    def kill(self) -> None:
        """End the process as a power failure would: it is asked nothing (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def _ask(self, key: str, body: bytes | None, seconds: float) -> str:
        method = "PUT" if body else "GET"
        request = urllib.request.Request(f"http://{self.http}/{key}", data=body, method=method)
        with suppress(OSError), urllib.request.urlopen(request, timeout=seconds) as answer:
            text: str = answer.read().decode().strip()
            return text
        return ""


@contextmanager
def cluster() -> Iterator[list[Node]]:
    """Three nodes of dqlite on this machine, each with a vote, for a `with` block.

    Raises:
        FileNotFoundError: if a program is missing; see `missing`.
        TimeoutError: if the nodes do not find each other.
    """
    if problem := missing():
        raise FileNotFoundError(problem)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dqlite-")))
        nodes: list[Node] = []
        for _ in range(3):
            nodes.append(Node(folder, nodes[0].address if nodes else ""))
            stack.callback(nodes[-1].kill)
            _until(lambda: leader(nodes) is not None, "a node does not start")
        _until(lambda: _shell(nodes, ".cluster").count("voter") == 3, "a node has no vote")
        _until(lambda: all(node.put("first", "stored") for node in nodes), "no node acknowledges")
        yield nodes


def leader(nodes: list[Node]) -> Node | None:
    """The node that takes the writes at present."""
    address = _shell(nodes, ".leader")
    return next((node for node in nodes if node.address == address), None)


def kill_the_leader() -> Failover:
    """Store values, kill the leader, store more, look for all; then kill another node."""
    with cluster() as nodes:
        first = leader(nodes)
        assert first is not None
        writer, reader = (node for node in nodes if node is not first)
        told = [key for key in map("a{}".format, range(VALUES)) if writer.put(key, "stored")]
        before = len(told)
        first.kill()
        killed, seconds, number = time.monotonic(), 0.0, 0
        while len(told) < before + VALUES and time.monotonic() - killed < ELECTION:
            number += 1
            if writer.put(f"b{number}", "stored"):
                told.append(f"b{number}")
                seconds = seconds or time.monotonic() - killed
        lost = sum(reader.get(key) != "stored" for key in told)
        same = leader(nodes) in (first, None)
        reader.kill()
        alone = writer.put("c", "stored", MINORITY)
    return Failover(before, len(told) - before, lost, same, alone, round(seconds, 1))


def failover() -> Failover:
    """`kill_the_leader` where dqlite is installed; elsewhere what `data/make_servers.py` kept."""
    if problem := missing():
        record = json.loads(RECORD.read_text(encoding="utf-8"))["failover"]
        return Failover(**{**record, "source": f"{RECORDED} ({problem})"})
    return kill_the_leader()


def _shell(nodes: list[Node], command: str) -> str:
    """What dqlite's shell answers, "" if nothing: no leader can be found."""
    servers = ",".join(node.address for node in nodes)
    with suppress(subprocess.SubprocessError):
        return subprocess.run(
            ["dqlite", "-s", servers, "demo", command],
            capture_output=True, text=True, timeout=5, check=True,
        ).stdout.strip()  # fmt: skip
    return ""


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline, pause = time.monotonic() + START, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {START:.0f} seconds")
        pause.wait(0.1)
