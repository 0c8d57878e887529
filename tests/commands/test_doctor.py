"""Every branch of the doctor, each with what it must say and the command it must name."""

import ast
import importlib.metadata
import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import __main__ as command_line
from helpers import databases
from helpers.commands import doctor, installing
from helpers.commands.doctor import MISSING, OK, WARNING

ROOT = Path(__file__).resolve().parent.parent.parent


class FakeConnection:
    """Answers `PRAGMA compile_options` as a library built otherwise would."""

    def __init__(self, *options):
        self.options = options

    def execute(self, sql):
        assert sql == "PRAGMA compile_options"
        return [(option,) for option in self.options]

    def close(self):
        pass


@pytest.fixture
def compiled_as(monkeypatch):
    def pretend(*options, threadsafety):
        monkeypatch.setattr(sqlite3, "connect", lambda _path: FakeConnection(*options))
        monkeypatch.setattr(sqlite3, "threadsafety", threadsafety)

    return pretend


@pytest.fixture
def without(monkeypatch):
    """Make packages unfindable, for `import`, `find_spec` and `version` alike."""
    find, version = importlib.util.find_spec, importlib.metadata.version

    def pretend(*names):
        def absent(name):
            if name in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        for name in names:
            for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
                monkeypatch.setitem(sys.modules, module, None)
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name in names else find(name)
        )
        monkeypatch.setattr(importlib.metadata, "version", absent)

    return pretend


@pytest.fixture
def in_conda(monkeypatch, tmp_path):
    (tmp_path / "conda-meta").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))


def test_python():
    assert doctor.check_python().status == OK
    old = doctor.check_python((3, 10, 13))
    assert (old.status, "3.10.13" in old.found, "uv venv" in old.fix) == (MISSING, True, True)
    assert doctor.check_python((3, 11, 0)).status == OK


def test_sqlite():
    assert doctor.check_sqlite((3, 37, 0)).status == OK
    old = doctor.check_sqlite((3, 36, 9))
    assert old.status == MISSING
    assert "needs 3.37" in old.found
    assert old.fix


@pytest.mark.parametrize(
    "version",
    ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.49.2", "3.50.6", "3.51.0", "3.51.2", "3.43.9"],
)
def test_wal_reset_bug_is_a_warning(version):
    check = doctor.check_wal_reset_bug(tuple(map(int, version.split("."))))
    assert check.status == WARNING
    assert version in check.found
    assert check.fix


@pytest.mark.parametrize("version", ["3.6.23", "3.44.6", "3.50.7", "3.50.9", "3.51.3", "3.53.0"])
def test_versions_without_the_wal_reset_bug(version):
    check = doctor.check_wal_reset_bug(tuple(map(int, version.split("."))))
    assert (check.status, check.fix) == (OK, "")


def test_withdrawn_sqlite_is_a_warning():
    check = doctor.check_wal_reset_bug((3, 52, 0))
    assert check.status == WARNING
    assert "withdrawn" in check.found


@pytest.mark.parametrize(
    ("option", "threadsafety", "status", "words"),
    [
        ("THREADSAFE=1", 3, OK, "serialized (THREADSAFE=1)"),
        ("THREADSAFE=1", 1, WARNING, "believe THREADSAFE"),
        ("THREADSAFE=2", 1, WARNING, "multi-thread (THREADSAFE=2)"),
        ("THREADSAFE=2", 1, WARNING, "where notebooks 01 to 03 show errors"),
        ("THREADSAFE=0", 0, MISSING, "single-thread (THREADSAFE=0)"),
        ("COMPILER=gcc", 3, WARNING, "SQLite does not say"),
    ],
)
def test_threading_mode(compiled_as, option, threadsafety, status, words):
    compiled_as("ENABLE_FTS5", option, "THREADSAFE_NOT=9", threadsafety=threadsafety)
    check = doctor.check_threading_mode()
    assert check.status == status
    assert words in check.found
    assert bool(check.fix) == (status != OK)


def test_threading_mode_of_this_library_is_read():
    assert doctor.compiled_threading_mode() in (0, 1, 2)


def test_wal_supported(tmp_path):
    assert doctor.check_wal("WAL", tmp_path).status == OK
    assert list(tmp_path.iterdir()) == []


def test_wal_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(databases, "wal_supported", lambda folder: False)
    check = doctor.check_wal("WAL", tmp_path)
    assert check.status == MISSING
    assert "refuses WAL" in check.found
    assert "local disk" in check.fix


def test_wal_where_no_file_can_be_made(tmp_path):
    check = doctor.check_wal("WAL", tmp_path / "not there")
    assert check.status == MISSING
    assert "no database can be made" in check.found
    assert "writable" in check.fix


def test_a_read_only_course_folder_is_a_warning(monkeypatch):
    def refuse(folder):
        if Path(folder) == ROOT:
            raise PermissionError(13, "Permission denied")
        return True

    monkeypatch.setattr(databases, "wal_supported", refuse)
    course, temporary = [check for check in doctor.checks() if check.name.startswith("WAL in")]
    assert (course.status, temporary.status) == (WARNING, OK)
    assert "writable" in course.fix


def test_packages_are_those_of_pyproject():
    checks = doctor.check_packages()
    assert "ipywidgets" in [check.name for check in checks]
    assert [check.name for check in checks if check.status != OK] == []


def test_frameworks_are_here():
    assert doctor.need("web") is None
    assert doctor.check_frameworks().status == OK


def test_a_missing_framework_is_named_with_the_command_that_adds_it(without):
    without("flask", "waitress", "pip")
    with pytest.raises(ModuleNotFoundError, match=r"flask .not installed.*waitress") as missing:
        doctor.need("web")
    assert 'uv pip install -e ".[web]"' in str(missing.value)
    check = doctor.check_frameworks()
    assert (check.status, "notebooks 11 to 15" in check.found) == (WARNING, True)
    assert check.fix == 'uv pip install -e ".[web]"'


def test_frameworks_in_conda(in_conda, without):
    without("flask")
    assert doctor.check_frameworks().fix == "conda env update -f environment.yml"


def test_frameworks_without_the_course_folder(tmp_path):
    check = doctor.check_frameworks(tmp_path)
    assert (check.status, "no pyproject.toml" in check.found) == (WARNING, True)


def test_a_group_that_does_not_exist():
    with pytest.raises(KeyError, match="no-such-group"):
        doctor.need("no-such-group")


def test_missing_package(without):
    without("pandas")
    check = doctor.check_package("pandas", ">=2.2,<4")
    assert check.status == MISSING
    assert 'install "pandas>=2.2,<4"' in check.fix


@pytest.mark.parametrize(
    ("version", "status"),
    [("2.1.9", MISSING), ("2.2", OK), ("3.9", OK), ("4.0", MISSING), ("3.9rc1", OK)],
)
def test_package_version_against_its_range(monkeypatch, version, status):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    check = doctor.check_package("pandas", ">=2.2,<4")
    assert check.status == status
    assert version in check.found


def test_packages_without_packaging(without):
    without("packaging")
    assert doctor.check_package("packaging", ">=24,<27").status == MISSING
    check = doctor.check_package("pandas", ">=2.2,<4")
    assert check.status == WARNING
    assert "not compared" in check.found
    assert "packaging" in check.fix


def test_folder_without_pyproject(tmp_path):
    (check,) = doctor.check_packages(tmp_path)
    assert check.status == MISSING
    assert "no pyproject.toml" in check.found


def test_packages_on_a_python_without_tomllib(monkeypatch):
    monkeypatch.setitem(sys.modules, "tomllib", None)
    (check,) = doctor.check_packages()
    assert check.status == MISSING
    assert "uv venv" in check.fix


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("pandas>=2.2.3,<4", ("pandas", ">=2.2.3,<4")),
        ("pandas >=2.2, <4", ("pandas", ">=2.2,<4")),
        ("pandas<4,>=2", ("pandas", "<4,>=2")),
        ("pandas", ("pandas", "")),
    ],
)
def test_requirement_lines(tmp_path, line, parts):
    (tmp_path / "pyproject.toml").write_text(f'[project]\ndependencies = ["{line}"]\n')
    assert installing.requirements(tmp_path) == [parts]


def test_widgets_here():
    assert doctor.check_widgets().status == OK


def test_widgets_without_ipywidgets(without):
    without("ipywidgets")
    check = doctor.check_widgets()
    assert check.status == MISSING
    assert 'install "ipywidgets"' in check.fix


def test_widgets_without_jupyterlab(without):
    without("jupyterlab_server")
    check = doctor.check_widgets()
    assert check.status == MISSING
    assert 'install "jupyterlab"' in check.fix


@pytest.mark.parametrize(
    ("page", "fix"),
    [
        ({"federated_extensions": []}, "jupyterlab_widgets"),
        (
            {
                "federated_extensions": [{"name": doctor.WIDGET_EXTENSION}],
                "disabledExtensions": [f"{doctor.WIDGET_EXTENSION}:plugin"],
            },
            "jupyter labextension enable",
        ),
    ],
)
def test_widgets_not_seen_or_disabled(monkeypatch, page, fix):
    monkeypatch.setattr(doctor, "lab_page", lambda: page)
    check = doctor.check_widgets()
    assert check.status == MISSING
    assert fix in check.fix


def test_kernel_here():
    assert doctor.check_kernel().status == OK


def test_kernel_without_ipykernel(without):
    without("ipykernel")
    check = doctor.check_kernel()
    assert check.status == MISSING
    assert 'install "ipykernel"' in check.fix


def test_kernel_unknown(monkeypatch):
    def unknown():
        raise LookupError("python3")

    monkeypatch.setattr(doctor, "kernel_command", unknown)
    check = doctor.check_kernel()
    assert check.status == MISSING
    assert "ipykernel install" in check.fix


def test_kernel_name_that_jupyter_does_not_know(monkeypatch, tmp_path):
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    def refuse(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", refuse)
    with pytest.raises(LookupError, match="python3"):
        doctor.kernel_command()


@pytest.mark.parametrize(("command", "status"), [(sys.executable, OK), ("python", OK)])
def test_kernel_of_this_python(monkeypatch, command, status):
    monkeypatch.setattr(doctor, "kernel_command", lambda: command)
    assert doctor.check_kernel().status == status


def test_kernel_of_another_python(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "kernel_command", lambda: str(tmp_path / "bin" / "python"))
    check = doctor.check_kernel()
    assert check.status == WARNING
    assert "another Python" in check.found


def test_commands_fit_the_environment(monkeypatch, without):
    monkeypatch.setattr(sys, "prefix", "nowhere")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert installing.installation("tqdm>=4") == 'python -m pip install "tqdm>=4"'
    assert "--force-reinstall" in installing.installation("tqdm", again=True)
    without("pip")
    assert installing.installation("tqdm>=4") == 'uv pip install "tqdm>=4"'
    assert "--reinstall" in installing.installation("tqdm", again=True)
    assert "uv venv" in doctor.newer_sqlite()


def test_commands_in_conda(in_conda):
    assert installing.installation("tqdm>=4") == 'conda install -c conda-forge "tqdm>=4"'
    assert "--force-reinstall" in installing.installation("tqdm", again=True)
    assert doctor.newer_sqlite() == 'conda install -c conda-forge "sqlite>=3.51.3"'


def test_report_is_plain_and_names_the_command():
    found = [
        doctor.Check("Python", OK, "3.11"),
        doctor.Check("SQLite", WARNING, "3.40", "newer"),
        doctor.Check("pandas", MISSING, "no", "get pandas\nuse it"),
    ]
    report = "\n".join(doctor.lines(found))
    assert report.isascii()
    assert "fix: get pandas\n" in report
    assert "fix: use it\n" in report
    assert report.endswith("not ready: 1 missing, 1 warning")
    assert "\n".join(doctor.lines(found[:2])).endswith("\nready: 0 missing, 1 warning")


@pytest.mark.parametrize(
    ("statuses", "exit_status"), [([OK, WARNING], 0), ([OK, MISSING], 1), ([OK], 0)]
)
def test_exit_status(monkeypatch, capsys, statuses, exit_status):
    found = [doctor.Check("a thing", status, "as found") for status in statuses]
    monkeypatch.setattr(doctor, "checks", lambda: found)
    assert command_line.main(["doctor"]) == exit_status
    assert "as found" in capsys.readouterr().out


def test_every_problem_here_names_its_command():
    assert [
        check.name for check in doctor.checks() if (check.status != OK) != bool(check.fix)
    ] == []


def test_every_command_works_in_every_shell():
    """Windows PowerShell 5.1 knows no ``&&``."""
    commands = [command for check in doctor.checks() for command in check.fix.splitlines()]
    assert not [command for command in [*commands, installing.NEW_ENVIRONMENT] if "&" in command]


def test_table(monkeypatch):
    two = doctor.Check("SQLite", WARNING, "3.40", "one\ntwo")
    monkeypatch.setattr(doctor, "check_sqlite", lambda: two)
    table = doctor.table()
    assert list(table.columns) == ["check", "status", "found", "fix"]
    assert len(table) == len(doctor.checks())
    assert table["fix"][1] == "one, then two"


def test_an_old_python_can_run_the_doctor():
    for name in (
        "__init__",
        "__main__",
        "commands/__init__",
        "commands/doctor",
        "commands/installing",
        "databases",
    ):
        source = (ROOT / "helpers" / f"{name}.py").read_text(encoding="utf-8")
        ast.parse(source, feature_version=(3, 9))


def test_a_python_with_no_packages_gets_a_report():
    # -S leaves out site-packages: what a newcomer has before the first installation.
    run = subprocess.run(
        [sys.executable, "-S", "-m", "helpers", "doctor"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr == ""
    assert "pandas" in run.stdout
    assert "not ready" in run.stdout
