"""The promises of every strategy, of the package and of each file alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import protocol
import pytest

from helpers import strategies
from helpers.strategies import OutcomeUnknown, PerThread, Pool, TransactionLock, Writer

RIGHT = (TransactionLock, PerThread, Pool, Writer)
FILES = {strategy: Path(sys.modules[strategy.__module__].__file__) for strategy in RIGHT}
#: Lines with documentation.
AT_MOST = {TransactionLock: 125, PerThread: 150, Pool: 150, Writer: 277}

every_strategy = pytest.mark.parametrize("make", RIGHT, ids=lambda make: make.__name__)


@every_strategy
@pytest.mark.parametrize("check", protocol.CHECKS, ids=lambda check: check.__name__)
def test_promise(make, check, tmp_path):
    check(make, protocol.create(str(tmp_path / "shop.db")))


@every_strategy
def test_a_file_alone_in_a_folder_keeps_every_promise(make, tmp_path):
    copy = shutil.copy(FILES[make], tmp_path)
    command = [sys.executable, "-I", "-W", "error::ResourceWarning", protocol.__file__]
    done = subprocess.run(
        [*command, copy, make.__name__], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == f"{len(protocol.CHECKS)} checks: {make.__name__} alone keeps them all\n"
    assert done.stderr == ""


@every_strategy
def test_a_file_is_small_and_needs_the_standard_library_only(make):
    text = FILES[make].read_text()
    assert len(text.splitlines()) <= AT_MOST[make]
    assert "helpers" not in text
    imported = {
        line.split()[1] for line in text.splitlines() if line.startswith(("import", "from"))
    }
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)


def test_what_the_files_have_in_common_is_the_same_in_each():
    """They are to be copied one by one, so they cannot share it."""
    common = {
        strategy: FILES[strategy].read_text().partition("\ndef _transact(")[2]
        for strategy in (TransactionLock, PerThread, Pool)
    }
    assert common[PerThread]
    assert len(set(common.values())) == 1


def test_one_class_says_that_the_outcome_is_unknown():
    assert all(sys.modules[s.__module__].OutcomeUnknown is OutcomeUnknown for s in RIGHT)


@pytest.mark.parametrize("first", RIGHT, ids=lambda make: make.__name__)
@pytest.mark.parametrize("second", RIGHT, ids=lambda make: make.__name__)
def test_a_second_strategy_on_the_same_file_is_refused_inside_a_unit(first, second, tmp_path):
    protocol.nested_use_is_refused_at_once_and_the_outer_unit_goes_on(
        Mixed(first, second), protocol.create(str(tmp_path / "shop.db"))
    )


class Mixed:
    """Makes the one strategy and then the other."""

    def __init__(self, *makes):
        self.makes = iter(makes)

    def __call__(self, path):
        return next(self.makes)(path)


@pytest.mark.parametrize("make", [PerThread, Pool, Writer], ids=lambda make: make.__name__)
@pytest.mark.parametrize("path", [":memory:", "file:shop?mode=memory&cache=shared", b":memory:"])
def test_a_database_that_each_connection_has_for_itself_is_refused(make, path):
    with pytest.raises(ValueError, match="give a file"):
        make(path)


def test_every_name_that_is_exported_is_there():
    assert all(hasattr(strategies, name) for name in strategies.__all__)
