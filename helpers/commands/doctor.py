"""Check this installation, and name the command that fixes what is missing.

``python -m helpers doctor`` prints one line per check and ends with status 1 when
something is missing; a warning alone leaves it at 0. ``table()`` shows the same in a
notebook. Only the standard library is needed, so that it can report that the rest is
missing; an older Python than the course supports can run it too.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import databases
from helpers.commands.installing import (
    NEW_ENVIRONMENT,
    ROOT,
    group_installation,
    in_conda,
    installation,
    requirements,
)

if TYPE_CHECKING:
    import pandas as pd

OK, WARNING, MISSING = "ok", "warning", "missing"

OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 37, 0)

#: What each value of the compile option THREADSAFE means, and the value of
#: ``sqlite3.threadsafety`` that belongs to it (https://www.sqlite.org/threadsafe.html;
#: https://docs.python.org/3/library/sqlite3.html#sqlite3.threadsafety).
THREADING_MODES = {0: ("single-thread", 0), 1: ("serialized", 3), 2: ("multi-thread", 1)}

#: Where the WAL-reset bug was repaired: per release branch, then for good
#: (https://www.sqlite.org/wal.html#walresetbug).
WAL_RESET_BACKPORTS = {(3, 44): 6, (3, 50): 7}
WAL_RESET_FIRST, WAL_RESET_FIXED = (3, 7, 0), (3, 51, 3)
WITHDRAWN_SQLITE = (3, 52, 0)

WIDGET_EXTENSION = "@jupyter-widgets/jupyterlab-manager"


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Args:
        name: what was looked at.
        status: `OK`, `WARNING` or `MISSING`.
        found: what there is, in words.
        fix: the commands (or steps) that fix it, a line each; empty when nothing needs fixing.
    """

    name: str
    status: str
    found: str
    fix: str = ""


def checks(root: Path = ROOT) -> list[Check]:
    """Everything the course needs, in the order in which it should be fixed."""
    return [
        check_python(),
        check_sqlite(),
        check_wal_reset_bug(),
        check_threading_mode(),
        # A warning at most: all databases of the course are in the temporary folder.
        check_wal("WAL in the course folder", root, WARNING),
        check_wal("WAL in the temporary folder", Path(tempfile.gettempdir())),
        *check_packages(root),
        check_frameworks(root),
        check_widgets(),
        check_kernel(),
    ]


def table(root: Path = ROOT) -> pd.DataFrame:
    """The checks as a table, columns ``check``, ``status``, ``found``, ``fix``."""
    import pandas as pd

    rows = [
        (check.name, check.status, check.found, check.fix.replace("\n", ", then "))
        for check in checks(root)
    ]
    return pd.DataFrame(rows, columns=["check", "status", "found", "fix"])


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    """Whether Python is new enough: 3.11 gave `sqlite3` its error names and its mode."""
    found = f"Python {_dotted(version)} ({platform.python_implementation()})"
    if version < OLDEST_PYTHON:
        return Check("Python", MISSING, f"{found}; needs 3.11 or newer", NEW_ENVIRONMENT)
    return Check("Python", OK, found)


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Check:
    """Whether the SQLite library that Python uses is new enough (3.37: STRICT tables)."""
    found = f"SQLite {_dotted(version)}"
    if version < OLDEST_SQLITE:
        return Check("SQLite", MISSING, f"{found}; needs 3.37 or newer", newer_sqlite())
    return Check("SQLite", OK, found)


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can corrupt a WAL database in the rare race found in March 2026.

    Affected are 3.7.0 to 3.51.2, except 3.44.6 and 3.50.7 and what follows them in
    their branches.
    """
    backport = WAL_RESET_BACKPORTS.get((version[0], version[1]))
    if backport is not None:
        return version[2] < backport
    return WAL_RESET_FIRST <= version < WAL_RESET_FIXED


def check_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Check:
    """A warning at most: the race is rare, and the course's databases are throw-away."""
    name = "WAL-reset bug"
    if version == WITHDRAWN_SQLITE:
        return Check(name, WARNING, "SQLite 3.52.0 was withdrawn", newer_sqlite())
    if has_wal_reset_bug(version):
        found = (
            f"SQLite {_dotted(version)} has it: a checkpoint that races with a commit can, rarely, "
            "damage a WAL database; harmless to the course, not to your application"
        )
        return Check(name, WARNING, found, newer_sqlite())
    return Check(name, OK, f"SQLite {_dotted(version)} does not have it")


def compiled_threading_mode() -> int | None:
    """SQLite's compile option THREADSAFE (0, 1 or 2); None if the library does not say."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for (option,) in connection.execute("PRAGMA compile_options"):
            name, _, value = option.partition("=")
            if name == "THREADSAFE":
                return int(value)
    return None


def check_threading_mode() -> Check:
    """SQLite's own word on threads (THREADSAFE) beside Python's (`sqlite3.threadsafety`)."""
    name, stated = "threading mode", sqlite3.threadsafety
    compiled = compiled_threading_mode()
    if compiled not in THREADING_MODES:
        found = f"SQLite does not say; sqlite3.threadsafety = {stated}"
        return Check(name, WARNING, found, newer_sqlite())
    mode, expected = THREADING_MODES[compiled]
    found = f"{mode} (THREADSAFE={compiled}), sqlite3.threadsafety = {stated}"
    if stated != expected:
        found += (
            f", though {mode} should be {expected}: before Python 3.11 the number is always 1, "
            "and elsewhere it was replaced; believe THREADSAFE"
        )
    if compiled == 0:
        return Check(name, MISSING, f"{found}; no second thread may use SQLite", newer_sqlite())
    if compiled == 2:
        found += (
            "; a connection shared between threads crashes Python, also where notebooks 01 to 03 "
            "show errors and hangs"
        )
        return Check(name, WARNING, found, newer_sqlite())
    return Check(name, OK if stated == expected else WARNING, found, _fix_mode(stated, expected))


def _fix_mode(stated: int, expected: int) -> str:
    return "" if stated == expected else NEW_ENVIRONMENT


def check_wal(name: str, folder: Path, otherwise: str = MISSING) -> Check:
    """Whether a database in `folder` can use write-ahead logging (network disks often cannot).

    Args:
        name: the name of the check.
        folder: where to try.
        otherwise: the status if it cannot.
    """
    try:
        supported = databases.wal_supported(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        fix = f"make {folder} writable, or copy the course to a folder of yours"
        return Check(name, otherwise, f"no database can be made in {folder} ({reason})", fix)
    if not supported:
        fix = f"copy the course from {folder} to a local disk, or set TMPDIR to a folder on one"
        return Check(name, otherwise, f"the file system of {folder} refuses WAL", fix)
    return Check(name, OK, "supported")


def need(extra: str, root: Path = ROOT) -> None:
    """Do nothing if the packages of an optional group are installed in the right versions.

    The first cell of a notebook that uses them calls this.

    Raises:
        ModuleNotFoundError: naming what is missing and the command that adds it.
        KeyError: if `pyproject.toml` has no such group.
    """
    found = [check_package(*wanted) for wanted in requirements(root, extra)]
    missing = [f"{check.name} ({check.found})" for check in found if check.status == MISSING]
    if missing:
        raise ModuleNotFoundError(
            f"this notebook needs {', '.join(missing)}. In the course folder, run:  "
            f"{group_installation(extra)}  and restart the kernel."
        )


def check_frameworks(root: Path = ROOT) -> Check:
    """Whether notebooks 11 to 15 can run; the rest of the course does without."""
    name = "frameworks"
    try:
        need("web", root)
    except ModuleNotFoundError as error:
        if error.name == "tomllib":
            return Check(name, WARNING, "cannot be read by this Python", NEW_ENVIRONMENT)
        found = "notebooks 11 to 15 cannot run: packages of the group web are missing"
        return Check(name, WARNING, found, group_installation("web"))
    except OSError:
        fix = 'run the doctor in the course folder, after: pip install -e ".[test]"'
        return Check(name, WARNING, f"there is no pyproject.toml in {root}", fix)
    return Check(name, OK, "all packages of the group web, for notebooks 11 to 15")


def check_packages(root: Path = ROOT) -> list[Check]:
    """One check per package of `pyproject.toml`: its version against its range."""
    try:
        wanted = requirements(root)
    except ModuleNotFoundError:
        return [Check("packages", MISSING, "cannot be read by this Python", NEW_ENVIRONMENT)]
    except OSError:
        fix = 'run the doctor in the course folder, after: pip install -e ".[test]"'
        return [Check("packages", MISSING, f"there is no pyproject.toml in {root}", fix)]
    return [check_package(name, wanted_range) for name, wanted_range in wanted]


def check_package(name: str, wanted_range: str) -> Check:
    """Whether a package is installed in a version that its range allows."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = f"not installed; needs {wanted_range}"
        return Check(name, MISSING, found, installation(f"{name}{wanted_range}"))
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        found = f"{version}, not compared: packaging is missing"
        return Check(name, WARNING, found, installation("packaging"))
    if not SpecifierSet(wanted_range).contains(version, prereleases=True):
        found = f"{version}; needs {wanted_range}"
        return Check(name, MISSING, found, installation(f"{name}{wanted_range}"))
    return Check(name, OK, f"{version} ({wanted_range})")


def check_widgets() -> Check:
    """Whether sliders and buttons will render: the package, and JupyterLab's extension for it."""
    name = "widgets"
    if importlib.util.find_spec("ipywidgets") is None:
        return Check(name, MISSING, "ipywidgets is not installed", installation("ipywidgets"))
    try:
        page = lab_page()
    except ImportError:
        return Check(name, MISSING, "JupyterLab is not installed", installation("jupyterlab"))
    extensions = [extension["name"] for extension in page.get("federated_extensions", [])]
    if WIDGET_EXTENSION not in extensions:
        fix = installation("jupyterlab_widgets", again=True)
        return Check(name, MISSING, f"JupyterLab does not see {WIDGET_EXTENSION}", fix)
    disabled = page.get("disabledExtensions", [])
    if any(entry.split(":")[0] == WIDGET_EXTENSION for entry in disabled):
        fix = f"jupyter labextension enable {WIDGET_EXTENSION}"
        return Check(name, MISSING, f"{WIDGET_EXTENSION} is disabled", fix)
    return Check(name, OK, f"{WIDGET_EXTENSION} is installed and enabled")


def lab_page() -> dict[str, Any]:
    """What JupyterLab's page will load: keys ``federated_extensions``, ``disabledExtensions``.

    Raises:
        ImportError: if JupyterLab is not installed.
    """
    from jupyter_core.paths import jupyter_path
    from jupyterlab_server.config import get_page_config

    page: dict[str, Any] = get_page_config(jupyter_path("labextensions"))
    return page


def check_kernel() -> Check:
    """Whether the notebooks' kernel, ``python3``, is this very Python.

    Another one is a warning: it may have all that the course needs.
    """
    name, fix = "kernel", "python -m ipykernel install --sys-prefix"
    try:
        command = kernel_command()
    except ImportError:
        return Check(name, MISSING, "ipykernel is not installed", installation("ipykernel"))
    except LookupError:
        return Check(name, MISSING, "there is no kernel named python3", fix)
    # A bare name is replaced by Jupyter with its own interpreter.
    if os.path.isabs(command) and not _same_environment(command):
        return Check(name, WARNING, f"python3 starts another Python: {command}", fix)
    return Check(name, OK, "python3 is this Python")


def kernel_command() -> str:
    """The program that the kernel ``python3`` starts.

    Raises:
        ImportError: if Jupyter's client or `ipykernel` is not installed.
        LookupError: if there is no such kernel.
    """
    import ipykernel  # noqa: F401
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return str(KernelSpecManager().get_kernel_spec("python3").argv[0])
    except NoSuchKernel as error:
        raise LookupError("python3") from error


def _same_environment(command: str) -> bool:
    # Not resolved: a virtual environment's interpreter is often a link to another one.
    return os.path.normcase(Path(command).parent) == os.path.normcase(Path(sys.executable).parent)


def newer_sqlite() -> str:
    """The command that brings a newer SQLite: it comes with Python, or from conda."""
    if in_conda():
        return installation(f"sqlite>={_dotted(WAL_RESET_FIXED)}")
    return NEW_ENVIRONMENT


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def lines(found: list[Check]) -> Iterator[str]:
    """The report as text: a line per check, the command that fixes it below it, a closing line."""
    width = max(len(check.name) for check in found)
    for check in found:
        yield f"{check.status:8} {check.name:{width}}  {check.found}"
        for command in check.fix.splitlines():
            yield f"{'':8} {'':{width}}  fix: {command}"
    counts = {status: sum(c.status == status for c in found) for status in (WARNING, MISSING)}
    ready = "not ready" if counts[MISSING] else "ready"
    plural = "" if counts[WARNING] == 1 else "s"
    yield f"{ready}: {counts[MISSING]} missing, {counts[WARNING]} warning{plural}"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """No arguments: the doctor looks at the Python that runs it."""


def main(_arguments: argparse.Namespace) -> int:
    """Print the report; returns 1 when something is missing, else 0."""
    found = checks()
    for line in lines(found):
        print(line)
    return int(any(check.status == MISSING for check in found))
