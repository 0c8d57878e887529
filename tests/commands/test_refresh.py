"""Refreshing a notebook: what is stored, what is taken out, when it is left as it was."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import __main__ as command_line
from helpers.commands import changes, refresh

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
    assert refresh.refresh(path).cells == len(CELLS)
    return path


@pytest.fixture(scope="module")
def cells(refreshed):
    return [cell for cell in nbformat.read(refreshed, 4).cells if cell.cell_type == "code"]


def test_counts_run_from_one(cells):
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5, 6]


def test_metadata_is_the_same_everywhere(refreshed, cells):
    stored = nbformat.read(refreshed, 4).metadata
    assert re.fullmatch("[0-9a-f]{16}", stored.pop("sqlite_under_threads").pop("code"))
    assert stored == refresh.METADATA
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
    before, written = refreshed.read_bytes(), refreshed.stat().st_mtime_ns
    assert refresh.refresh(refreshed).changes == []
    assert (refreshed.read_bytes(), refreshed.stat().st_mtime_ns) == (before, written)


@pytest.mark.slow
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
        pytest.param(
            "1 / 1",
            ("raises-exception",),
            "code cell 1 is tagged raises-exception but did not",
            marks=pytest.mark.slow,
        ),
        pytest.param("import os\nos._exit(1)", (), "the kernel died", marks=pytest.mark.slow),
        pytest.param(
            "import threading\nthreading.Event().wait()",
            (),
            "longer than 1 s",
            marks=pytest.mark.slow,
        ),
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


COUNTED = "  code cell 1: 1 output line added, other HTML, another number"


@pytest.mark.slow
def test_wildcards_and_progress(tmp_path, capsys):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.ipynb", ["1 + 1"], ())
    assert command_line.main(["refresh", str(tmp_path / "*.ipynb")]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"(\w.ipynb: 1 code cells) in [\d.]+ s, changed:\n(.*)\n(.*)\n", said) == [
        (f"{name}.ipynb: 1 code cells", COUNTED, "    + 2") for name in "ab"
    ]
    assert command_line.main(["refresh", str(tmp_path / "a.ipynb")]) == 0
    assert capsys.readouterr().out.endswith(" s, nothing changed\n")


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


@pytest.mark.slow
def test_a_progress_bar_is_neither_stored_nor_compared(tmp_path, nbval_strict):
    path = write(tmp_path / "one.ipynb", [BAR.format(show=True)], ())
    assert refresh.refresh(path).cells == 1
    (cell,) = (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    assert [output.data for output in cell.outputs] == [{"text/plain": "4"}]
    assert nbval_strict(path) == "1 passed"
    cell.source = BAR.format(show=False)
    nbformat.write(new_notebook(cells=[cell]), path)
    assert nbval_strict(path) == "1 passed"


#: What differs in every run: a picture, the output of a cell that is not compared.
VARIES = [
    "import os\n\nfrom IPython.display import Image, display\n\n"
    "display({'image/png': os.urandom(30), 'text/plain': 'A picture of noise'}, raw=True)",
    "os.urandom(30).hex()",
]


@pytest.mark.slow
def test_what_is_not_compared_is_kept_for_the_same_code(tmp_path):
    path = write(tmp_path / "one.ipynb", VARIES, ("nbval-ignore-output",))
    assert len(refresh.refresh(path).changes) > 2
    before = path.read_bytes()
    assert refresh.refresh(path).changes == []
    assert path.read_bytes() == before
    changed = refresh.refresh(path, redraw=True).changes
    assert changed[:2] == ["code cell 1: another picture", "code cell 2: 1 output line changed"]
    notebook = nbformat.read(path, 4)
    notebook.cells[2].source += "  # of other code"
    nbformat.write(notebook, path)
    assert refresh.refresh(path).changes[0] == "code cell 1: another picture"


def stored(output, code="the same"):
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[output])])
    notebook.metadata[changes.KEY] = {changes.DIGEST: code}
    return notebook


def picture(pixels, text="A picture of noise"):
    return new_output("display_data", {"image/png": pixels, "text/plain": text})


def raised(line, name="ValueError"):
    return new_output("error", ename=name, evalue="no", traceback=[line])


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (stored(picture("old")), stored(picture("new")), True),
        (stored(picture("old", "A picture of silence")), stored(picture("new")), False),
        (stored(picture("old"), "other"), stored(picture("new")), False),
        (stored(raised("old")), stored(raised("new")), True),
        (stored(raised("old", "KeyError")), stored(raised("new")), False),
        (stored(new_output("stream", text="old")), stored(new_output("stream", text="new")), False),
        (stored(new_output("stream", text="old")), stored(picture("new")), False),
    ],
)
def test_only_what_nbval_does_not_compare_is_kept(old, new, kept):
    changes.keep(old, new)
    assert (old.cells[0].outputs == new.cells[0].outputs) == kept


def test_the_digest_is_that_of_the_cells_and_of_what_they_import(tmp_path):
    (tmp_path / "helpers" / "load").mkdir(parents=True)
    module = tmp_path / "helpers" / "load" / "threads.py"
    notebook = new_notebook(cells=[new_code_cell("1")])
    digests = []
    for code in ("a = 1\n", "a = 2\n"):
        module.write_text(code)
        digests.append(changes.digest(notebook, tmp_path))
    module.write_bytes(b"a = 2\r\n")
    assert changes.digest(notebook, tmp_path) == digests[1]
    notebook.cells[0].source = "2"
    assert len({*digests, changes.digest(notebook, tmp_path)}) == 3


def lines(*texts):
    return new_notebook(
        cells=[
            new_code_cell("x", outputs=[new_output("stream", text="".join(f"{x}\n" for x in text))])
            for text in texts
        ]
    )


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("abc", "abc", []),
        ("abc", "axc", ["code cell 1: 1 output line changed", "  - b", "  + x"]),
        ("abc", "ac", ["code cell 1: 1 output line removed", "  - b"]),
        ("a", "abc", ["code cell 1: 2 output lines added", "  + b", "  + c"]),
        (
            "abcdefg",
            "",
            [
                "code cell 1: 7 output lines removed",
                *[f"  - {x}" for x in "abcdef"], "  … and 1 more",
            ],
        ),
        (
            "ab",
            "xyz",
            [
                "code cell 1: 2 output lines changed, 1 output line added",
                "  - a", "  - b", "  + x", "  + y", "  + z",
            ],
        ),
    ],
)  # fmt: skip
def test_what_changed_is_told_in_words(before, after, told):
    assert changes.told(lines("same", before), lines("same", after)) == [
        line.replace("cell 1", "cell 2") for line in told
    ]


COURSE = refresh.ROOT / "notebooks"
#: With figures of load runs, widgets, timings, servers.
AGAIN = ("00_start_here", "03_threading_modes", "04_lost_updates", "12_flask", "16_which_fix")


@pytest.mark.slow
@pytest.mark.parametrize("name", AGAIN)
def test_a_notebook_of_the_course_refreshed_again_is_the_same_byte_for_byte(name, tmp_path):
    copy = shutil.copytree(COURSE, tmp_path / "notebooks") / f"{name}.ipynb"
    # As if what is stored were of the present code, down to the last comment in `helpers`.
    notebook = nbformat.read(copy, as_version=4)
    code = changes.digest(notebook, refresh.ROOT)
    notebook.metadata[changes.KEY] = {changes.DIGEST: code}
    copy.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")
    once = copy.read_bytes()
    assert refresh.refresh(copy).changes == []
    assert copy.read_bytes() == once
