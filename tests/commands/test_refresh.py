"""Refreshing a notebook: what is stored, what is taken out, when it is left as it was."""

import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import __main__ as command_line
from helpers.commands import refresh

CELLS = [
    "import sqlite3\nimport threading\n\nimport ipywidgets\n\nfrom helpers import databases",
    "connection = sqlite3.connect(':memory:')\nconnection",
    "ipywidgets.IntSlider(value=3)",
    "print('one')\nprint('two')",
    "seen = []\n\n\ndef use():\n    try:\n        connection.execute('SELECT 1')\n"
    "    except sqlite3.Error as error:\n        seen.append(error)\n\n\n"
    "thread = threading.Thread(target=use)\nthread.start()\nthread.join()\nprint(seen[0])",
    "databases.fresh('no such sample')",
]


def write(path, sources=CELLS, tags=("raises-exception",)):
    """A notebook whose last cell has `tags`."""
    notebook = new_notebook(cells=[new_markdown_cell("# A title")])
    notebook.cells += [new_code_cell(source, metadata={"scrolled": True}) for source in sources]
    notebook.cells[-1].metadata.tags = list(tags)
    notebook.metadata = {"widgets": {"state": {}}, "language_info": {"version": "3.99"}}
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("refreshed") / "one.ipynb")
    assert refresh.refresh(path) == len(CELLS)
    return path


@pytest.fixture(scope="module")
def cells(refreshed):
    return [cell for cell in nbformat.read(refreshed, 4).cells if cell.cell_type == "code"]


def test_counts_run_from_one(cells):
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5, 6]


def test_metadata_is_the_same_everywhere(refreshed, cells):
    assert nbformat.read(refreshed, 4).metadata == refresh.METADATA
    assert [dict(cell.metadata) for cell in cells[:-1]] == [{}] * 5
    assert cells[-1].metadata == {"tags": ["raises-exception"]}


def test_addresses_and_thread_ids_are_replaced(cells):
    assert "at 0x<address>>" in cells[1].outputs[0].data["text/plain"]
    assert "thread id <number> and this is thread id <number>" in cells[4].outputs[0].text


def test_widgets_keep_their_text_only(cells):
    (output,) = cells[2].outputs
    assert dict(output.data) == {"text/plain": "IntSlider(value=3)"}


def test_printed_lines_are_one_output(cells):
    assert [output.text for output in cells[3].outputs] == ["one\ntwo\n"]


def test_traceback_tells_nothing_of_the_machine(cells):
    (output,) = cells[-1].outputs
    traceback = "\n".join(output.traceback)
    assert "\x1b" not in traceback
    assert f"helpers{os.sep}databases.py" in traceback
    assert str(refresh.ROOT) not in traceback
    assert sys.prefix not in traceback


def test_a_second_run_changes_nothing(refreshed):
    before = refreshed.read_bytes()
    refresh.refresh(refreshed)
    assert refreshed.read_bytes() == before


def test_what_is_stored_passes_nbval_strict(nbval_strict, refreshed):
    assert nbval_strict(refreshed) == "6 passed"


@pytest.fixture
def nbval_strict(tmp_path):
    """Run nbval strict on one file, in a process of its own; returns the closing words."""

    def run(path):
        command = [
            sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--nbval",
            "--nbval-current-env", f"--nbval-sanitize-with={refresh.SANITIZE}",
            f"--rootdir={path.parent}", "-p", "no:cacheprovider", path,
        ]  # fmt: skip
        output = subprocess.run(
            command, cwd=path.parent, capture_output=True, text=True, timeout=120, check=False
        ).stdout
        return output.strip().splitlines()[-1].split(" in ")[0].split(", ")[0]

    return run


@pytest.mark.parametrize(
    ("source", "tags", "message"),
    [
        ("1 / 0", (), "code cell 1 raised: ZeroDivisionError: division by zero"),
        ("1 / 1", ("raises-exception",), "code cell 1 is tagged raises-exception but did not"),
        ("import os\nos._exit(1)", (), "the kernel died"),
        ("import threading\nthreading.Event().wait()", (), "longer than 1 s"),
    ],
)
def test_a_notebook_that_fails_is_left_as_it_was(
    tmp_path, capsys, monkeypatch, source, tags, message
):
    monkeypatch.setattr(refresh, "TIMEOUT", 1 if "wait" in source else 60)
    path = write(tmp_path / "one.ipynb", [source], tags)
    before = path.read_bytes()
    assert command_line.main(["refresh", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["one.ipynb"]


def test_wildcards_and_progress(tmp_path, capsys):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.ipynb", ["1 + 1"], ())
    assert command_line.main(["refresh", str(tmp_path / "*.ipynb")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "a.ipynb: 1 code cells in " in first
    assert "b.ipynb: 1 code cells in " in second


@pytest.mark.parametrize("content", [None, "no JSON"])
def test_no_notebook(tmp_path, capsys, content):
    path = tmp_path / "one.ipynb"
    if content is not None:
        path.write_text(content)
    assert command_line.main(["refresh", str(path)]) == 1
    assert "left as it was" in capsys.readouterr().err


BAR = """\
from helpers.display import progress

with progress.bar(3, "steps", show={show}) as update:
    update(3)
2 + 2"""


def test_a_progress_bar_is_neither_stored_nor_compared(tmp_path, nbval_strict):
    path = write(tmp_path / "one.ipynb", [BAR.format(show=True)], ())
    assert refresh.refresh(path) == 1
    (cell,) = (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    assert [output.data for output in cell.outputs] == [{"text/plain": "4"}]
    assert nbval_strict(path) == "1 passed"
    cell.source = BAR.format(show=False)
    nbformat.write(new_notebook(cells=[cell]), path)
    assert nbval_strict(path) == "1 passed"
